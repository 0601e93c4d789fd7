"""Figures in tables."""


def with_quartiles(figure: dict, digits: int = 2) -> str:
    """Such as "2.31 (2.25-2.40)"; without the quartiles where they are the median, as for a ratio to itself."""
    low, high = figure["quartiles"]
    if low == high:
        return f"{figure['median']:.{digits}f}"
    return f"{figure['median']:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"

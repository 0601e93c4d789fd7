"""How figures that vary are written down."""

import statistics


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles, to four digits."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": rounded(median), "quartiles": [rounded(low), rounded(high)]}


def rounded(value: float) -> float:
    """To four significant digits."""
    return float(f"{value:.4g}")

"""Which sizes are too large for kernels that count within a sample in 32 bits."""

from collections.abc import Mapping


def too_large(sizes: Mapping[str, int], kernels: str) -> str | None:
    """None if all numbers of elements are below 2^31; otherwise one sentence about the first that is not.

    Args:
        sizes: numbers of elements by what they are of.
        kernels: whose kernels these are.
    """
    for what, size in sizes.items():
        if size >= 2**31:
            return f"{what} is too large for the {kernels} kernels, which count within a sample in 32 bits"
    return None

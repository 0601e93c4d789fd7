"""Which implementations of the operator are usable here, and for those that are not, why not."""

NAMES = ("cuda", "cpu", "triton", "reference")


def backends() -> dict[str, str]:
    """Says in words, for every backend name, "usable" or why it is not; "cuda" on the current CUDA device.

    "auto" takes the first one in this order that takes the input's type and runs on its device.
    """
    from strf_cuda.backends.choice import why_not  # imports torch

    return {name: why_not(name) or "usable" for name in NAMES}

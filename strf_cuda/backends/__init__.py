"""Which implementations of the operator are usable here, and for those that are not, why not."""

NAMES = ("cuda", "cpu", "triton", "reference")


def backends() -> dict[str, str]:
    """Says in words, for every backend name, "usable" or why it is not.

    "auto" takes the first usable one in this order that serves the input's device.
    """
    missing = "not part of this version of strf_cuda; use reference"
    return {"cuda": missing, "cpu": missing, "triton": missing, "reference": "usable"}

"""Which implementations of the operator are usable here, and for those that are not, why not."""

NAMES = ("cuda", "cpu", "triton", "reference")


def backends() -> dict[str, str]:
    """Says in words, for every backend name, "usable" or why it is not.

    "auto" takes the first usable one in this order that serves the input's device and type.
    """
    from strf_cuda.backends import library  # imports torch

    return {
        "cuda": "the CUDA kernels are not part of this version of strf_cuda; reference serves CUDA tensors",
        "cpu": library.REASON or "usable",
        "triton": "not part of this version of strf_cuda; reference serves CUDA tensors",
        "reference": "usable",
    }

"""Spatio-Temporal Representation Factorization (STRF, ICCV 2021) for video person re-identification.

    strf_cuda.STRF                    the unit, for any 3D CNN
    strf_cuda.factorized_attention    the operator inside it
    strf_cuda.backends                what computes it here
    strf_cuda.from_pretrained         a trained model, from a checkpoint, a folder or the Hugging Face hub
    strf_cuda.save_pretrained         a trained model as a folder to give away
    strf_cuda.models, .data, .metrics models, data sets and protocols

Names are loaded when first used, so that a command's --help does not wait for torch.
"""

import importlib

# Bound here and now: importing the package of the same name later must not take the function's place.
from strf_cuda.backends import backends

__version__ = "0.1.0"

_HOMES = {
    "STRF": "strf_cuda.modules",
    "factorized_attention": "strf_cuda.functional",
    "InputError": "strf_cuda.errors",
    "from_pretrained": "strf_cuda.pretrained",
    "save_pretrained": "strf_cuda.pretrained",
}
__all__ = [
    "STRF",
    "InputError",
    "__version__",
    "backends",
    "factorized_attention",
    "from_pretrained",
    "save_pretrained",
]


def __getattr__(name: str):
    if name in ("models", "data", "metrics", "functional", "modules"):
        return importlib.import_module(f"strf_cuda.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'strf_cuda' has no attribute {name!r}")

"""FAISS (Johnson, Douze and Jégou, IEEE Transactions on Big Data 2021), loaded when a compressed gallery needs it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from strf_cuda.errors import InputError


def load_faiss() -> ModuleType:
    """The package.

    Raises:
        InputError: it is not installed.
    """
    if "faiss" not in sys.modules:
        # FAISS brings an OpenMP library of its own, whose threads wait for each other by spinning; beside those of
        # torch or of other programs that costs several times the work itself. Read when it is loaded.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        import faiss
    except ImportError:
        raise InputError('compressed galleries need FAISS: pip install "strf_cuda[search]"') from None
    return faiss


@contextmanager
def threads_of_faiss(threads: int | None) -> Iterator[None]:
    """Lets FAISS compute in so many threads, and as before afterwards; None changes nothing."""
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)

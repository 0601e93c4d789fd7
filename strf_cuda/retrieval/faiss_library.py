"""FAISS (Johnson, Douze and Jégou, IEEE Transactions on Big Data 2021), loaded when a compressed gallery needs it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

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


def read_trained(path: Path) -> Any:
    """An index that `write_trained` wrote. FAISS itself opens files with names in UTF-8 alone.

    Raises:
        OSError, RuntimeError: the file cannot be read, or holds no index.
    """
    return load_faiss().deserialize_index(np.frombuffer(path.read_bytes(), np.uint8))


def write_trained(index: Any, path: Path) -> None:
    """Writes an index."""
    path.write_bytes(load_faiss().serialize_index(index).data)


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

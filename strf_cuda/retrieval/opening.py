"""Opens whatever can be searched: an embeddings file, or the folder of a compressed gallery."""

from pathlib import Path

from strf_cuda.errors import InputError
from strf_cuda.retrieval.exact import ExactGallery
from strf_cuda.retrieval.gallery import Gallery


def open_gallery(path: str | Path) -> Gallery:
    """The gallery of an embeddings file (`strf_cuda.extract`).

    Raises:
        InputError: the file is missing, damaged or holds something else.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise InputError(f"{path} is a folder: give an embeddings file of strf_cuda.extract")
    return ExactGallery.open(path)

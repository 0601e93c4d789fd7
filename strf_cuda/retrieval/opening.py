"""Opens whatever can be searched: an embeddings file, or the folder of a compressed gallery."""

from pathlib import Path

from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.retrieval.compressed import CompressedGallery
from strf_cuda.retrieval.exact import ExactGallery
from strf_cuda.retrieval.gallery import Gallery
from strf_cuda.retrieval.index_folder import is_index_folder


def open_gallery(path: str | Path) -> Gallery:
    """The gallery of an embeddings file (`strf_cuda.extract`), or of a folder that `strf_cuda.index` built.

    Raises:
        InputError: it is missing, damaged or something else, or a folder without FAISS to search it.
    """
    path = expanded(path)
    if is_index_folder(path):
        return CompressedGallery.open(path)
    if path.is_dir():
        raise InputError(f"{path} is neither an embeddings file of strf_cuda.extract nor a gallery of strf_cuda.index")
    return ExactGallery.open(path)

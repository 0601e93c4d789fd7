"""Search for people among embedded tracklets."""

from strf_cuda.retrieval.compressed import CompressedGallery
from strf_cuda.retrieval.exact import ExactGallery
from strf_cuda.retrieval.gallery import Gallery, Matches, Selection
from strf_cuda.retrieval.opening import open_gallery

__all__ = ["CompressedGallery", "ExactGallery", "Gallery", "Matches", "Selection", "open_gallery"]

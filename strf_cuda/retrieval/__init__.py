"""Search for people among embedded tracklets."""

from strf_cuda.retrieval.exact import ExactGallery
from strf_cuda.retrieval.gallery import Gallery, Matches, Selection
from strf_cuda.retrieval.opening import open_gallery

__all__ = ["ExactGallery", "Gallery", "Matches", "Selection", "open_gallery"]

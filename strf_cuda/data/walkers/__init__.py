"""Walkers: the built-in data set of synthetic walking people, written in the MARS layout."""

from strf_cuda.data.walkers.config import SIZES, SizeName, WalkersConfig
from strf_cuda.data.walkers.write import make_walkers

__all__ = ["SIZES", "SizeName", "WalkersConfig", "make_walkers"]

"""Tracklets, data sets, clips and their loading. Knows nothing of models."""

from strf_cuda.data.duke import DukeMTMCVideoReID
from strf_cuda.data.folder import TrackletFolder
from strf_cuda.data.ilids import ILIDSVID
from strf_cuda.data.mars import MARS
from strf_cuda.data.packed import PackedDataset
from strf_cuda.data.prid import PRID2011
from strf_cuda.data.registry import open_dataset
from strf_cuda.data.table import TrackletTable
from strf_cuda.data.tracklets import Tracklet, TrackletDataset

__all__ = [
    "ILIDSVID",
    "MARS",
    "PRID2011",
    "DukeMTMCVideoReID",
    "PackedDataset",
    "Tracklet",
    "TrackletDataset",
    "TrackletFolder",
    "TrackletTable",
    "open_dataset",
]

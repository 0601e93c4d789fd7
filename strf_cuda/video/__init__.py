"""Tracklets cut out of videos along the boxes of any tracker, and the times at which they were seen."""

from strf_cuda.video.config import CutConfig
from strf_cuda.video.cutting import Cut, cut_tracklets
from strf_cuda.video.sidecar import read_sidecar

__all__ = ["Cut", "CutConfig", "cut_tracklets", "read_sidecar"]

"""A look at the data before any run begins: a fault is told once, and built-in sets are drawn by one process."""

from collections.abc import Sequence

from strf_cuda.config import TrainConfig
from strf_cuda.data import open_dataset
from strf_cuda.data.tracklets import TrackletDataset
from strf_cuda.devices import check_device
from strf_cuda.evaluation import check_testable


def open_for_runs(config: TrainConfig, splits: Sequence[int | None]) -> TrackletDataset:
    """The data set with its first split.

    Raises:
        InputError: as `open_dataset`, or a device that is not there.
    """
    check_device(config.device)
    dataset = open_dataset(config.data.name, config.data.root, splits[0])
    check_testable(dataset)
    return dataset

"""A training run's settings, with what a command was given in their place. Nothing here imports torch."""

import dataclasses
from typing import Any

from strf_cuda.config import DataConfig


def data_settings(
    trained: DataConfig, *, name: str | None, root: str | None, split: int | None, workers: int | None = None
) -> DataConfig:
    """The run's data set unless another is given: a name that is not the run's brings a root and split of its own."""
    if name is not None and name != trained.name:
        trained = dataclasses.replace(trained, root=None, split=None)
    return dataclasses.replace(trained, **given(name=name, root=root, split=split, workers=workers))


def other_split_notes(data: DataConfig, trained: DataConfig) -> list[str]:
    """A note where the model knows people whom it is tested on: splits divide the same people differently."""
    split, known = data.split or 0, trained.split or 0
    if data.name != trained.name or split == known:
        return []
    return [
        f"the model was trained on split {known}, which trains on people that split {split} tests on: these figures "
        "are too high"
    ]


def given(**options: Any) -> dict[str, Any]:
    """Those options that are not None, as a user gave them."""
    return {name: value for name, value in options.items() if value is not None}

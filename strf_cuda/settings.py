"""A training run's settings, with what a command was given in their place. Nothing here imports torch."""

import dataclasses
from typing import Any

from strf_cuda.config import DataConfig, EvaluationOptions, ProtocolConfig, TrainConfig
from strf_cuda.errors import InputError


def data_settings(
    trained: DataConfig, *, name: str | None, root: str | None, split: int | None, workers: int | None = None
) -> DataConfig:
    """The run's data set unless another is given: a name that is not the run's brings a root and split of its own."""
    if name is not None and name != trained.name:
        trained = dataclasses.replace(trained, root=None, split=None)
    return dataclasses.replace(trained, **given(name=name, root=root, split=split, workers=workers))


def check_at_least(options: Any, **least: float) -> None:
    """Raises an `InputError` for an option that is less than its least value; what is no number is passed over."""
    for name, smallest in least.items():
        value = getattr(options, name)
        if isinstance(value, int | float) and value < smallest:
            raise InputError(f"{name} is {value}, but it must be {smallest} or more")


def check_evaluation(options: EvaluationOptions) -> None:
    """Raises an `InputError` for a number that no evaluation can use."""
    check_at_least(options, batch=1, frames=1, stride=1, rerank_k1=1, rerank_k2=1, workers=0)
    if options.rerank_lambda is not None and not 0 <= options.rerank_lambda <= 1:
        raise InputError(f"rerank_lambda is {options.rerank_lambda}, but it must be between 0 and 1")


def evaluation_settings(options: EvaluationOptions, trained: TrainConfig) -> tuple[DataConfig, ProtocolConfig]:
    """The run's data and protocol, with what was given in its place.

    Raises:
        InputError: an option of re-ranking without re-ranking.
    """
    data = data_settings(
        trained.data, name=options.data, root=options.root, split=options.split, workers=options.workers
    )
    protocol = dataclasses.replace(
        trained.evaluation,
        shuffle_frames=options.shuffle_frames,
        **given(
            batch=options.batch,
            frames=options.frames,
            stride=options.stride,
            flip=options.flip,
            rerank=options.rerank,
            rerank_k1=options.rerank_k1,
            rerank_k2=options.rerank_k2,
            rerank_lambda=options.rerank_lambda,
            average_precision=options.average_precision,
        ),
    )
    for name in ("rerank_k1", "rerank_k2", "rerank_lambda"):
        if getattr(options, name) is not None and not protocol.rerank:
            raise InputError(f"{name} is {getattr(options, name)}, but there is no re-ranking without --rerank")
    return data, protocol


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

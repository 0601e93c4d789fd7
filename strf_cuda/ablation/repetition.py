"""Which runs one configuration stands for: seeds, official splits, and the devices that they are spread over."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from strf_cuda.cli import from_dict, to_dict
from strf_cuda.config import RepeatConfig, TrainConfig
from strf_cuda.errors import InputError

SPLITS = 10  # of the data sets that have official splits


def check_repetition(config: RepeatConfig) -> None:
    """Raises an `InputError` for seeds, splits or devices that cannot be used."""
    if isinstance(config.seeds, int) and config.seeds < 1:
        raise InputError(f"seeds is {config.seeds}, but at least one is needed")
    for name, values in (("seeds", seeds_of(config)), ("splits", splits_of(config))):
        if not values or len(set(values)) < len(values):
            raise InputError(f"{name} is {list(values)}, but it must name at least one and none twice")
    for seed in seeds_of(config):
        if seed < 0:
            raise InputError(f"seeds holds {seed}, but a seed is 0 or more")
    if config.splits is not None:
        if config.data.split is not None:
            raise InputError(f"data.split is {config.data.split}, but --splits is given too: leave one of them out")
        for split in splits_of(config):
            if split not in range(SPLITS):
                raise InputError(f"splits holds {split}, but official splits are numbered 0 to {SPLITS - 1}")
    if config.seed != 0:
        raise InputError(f"seed is {config.seed}, but the seeds of these runs are --seeds: --seeds '[{config.seed}]'")
    if config.resume:
        raise InputError("--resume is not needed here: the same command again continues stopped runs by itself")
    _check_devices(config)


def _check_devices(config: RepeatConfig) -> None:
    if config.parallel < 1:
        raise InputError(f"parallel is {config.parallel}, but it must be at least 1")
    if config.gpus is None:
        return
    if config.parallel > 1:
        raise InputError("--parallel and --gpus exclude each other: as many runs as GPUs are named run at a time")
    if config.device == "cpu" or config.devices > 1:
        raise InputError("--gpus gives every run one GPU: leave out --device and --devices")
    if not all(_gpu_names(config.gpus)):
        raise InputError(f"gpus is {config.gpus!r}, but it must be numbers with commas between them, such as 0,1")


def seeds_of(config: RepeatConfig) -> tuple[int, ...]:
    return tuple(range(config.seeds)) if isinstance(config.seeds, int) else config.seeds


def splits_of(config: RepeatConfig) -> tuple[int | None, ...]:
    """The splits, None standing for the only one of a data set."""
    if config.splits is None:
        return (config.data.split,)
    return tuple(range(SPLITS)) if config.splits == "all" else config.splits


def base_config(config: RepeatConfig) -> TrainConfig:
    """The training configuration that the runs share."""
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    shared["out"] = None
    if config.gpus is not None:
        shared["device"] = "gpu"
    return TrainConfig(**shared)


def changed(config: TrainConfig, options: Mapping[str, Any]) -> TrainConfig:
    """A copy with other values of options, by dotted name."""
    tree = to_dict(config)
    for name, value in options.items():
        *groups, last = name.split(".")
        place = tree
        for group in groups:
            place = place[group]
        place[last] = list(value) if isinstance(value, tuple) else value
    return from_dict(TrainConfig, tree, "the options of a row")


def run_name(seed: int, split: int | None) -> str:
    """The folder of a run among those of its configuration."""
    return f"seed-{seed}" + ("" if split is None else f"-split-{split}")


def environments(config: RepeatConfig) -> list[dict[str, str]]:
    """What is set for the processes that run at the same time, one entry for each."""
    if config.gpus is not None:
        return [{"CUDA_VISIBLE_DEVICES": name} for name in _gpu_names(config.gpus)]
    if config.parallel == 1:
        return [{}]
    threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    return [{"OMP_NUM_THREADS": str(max(1, threads // config.parallel))}] * config.parallel


def _gpu_names(gpus: str) -> list[str]:
    return [name.strip() for name in gpus.strip("[] ").split(",")]

"""Writes a set of walkers to disk in the layout of MARS, all of it or nothing.

bbox_train/PID/*.jpg, bbox_test/PID/*.jpg    frames such as 0001C1T0001F001.jpg; junk in 00-1, distractors in 0000
info/train_name.txt, test_name.txt           their names, a line each
info/tracks_train_info.mat, tracks_test_info.mat, query_IDX.mat
info/challenges.csv                          split, row (from 1) in its tracks info, challenge, look-alike group
info/walkers.json                            the parameters, by which a finished set is recognised
"""

import csv
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from strf_cuda.data.parallel import map_in_processes
from strf_cuda.data.walkers.config import GENERATOR_VERSION, SPLITS, WalkersConfig
from strf_cuda.data.walkers.plan import TrackletPlan, plan_queries, plan_split
from strf_cuda.data.walkers.render import save_tracklet
from strf_cuda.errors import InputError

PARAMETERS_FILE = Path("info/walkers.json")

# MAT-files begin with 116 bytes of text, in which scipy would put the time of writing.
_MAT_HEADER = b"MATLAB 5.0 MAT-file, strf_cuda walkers".ljust(116)

_TRACKLETS_A_TASK = 4


def make_walkers(
    root: str | Path, config: WalkersConfig | None = None, *, workers: int = 1, progress: bool = True
) -> Path:
    """Makes a set of walkers at `root`, or finds that it is there already.

    The bytes depend on `config` alone (and on the versions of numpy and Pillow), not on `workers`. The set is written
    beside `root` and renamed at the end, so that `root` never holds a part of it.

    Args:
        root: the set's folder; it must not exist, be empty, or hold a set of the same parameters.
        config: the parameters, by default those of the small built-in set.
        workers: processes that draw. With more than one, a script that calls this needs the usual
            `if __name__ == "__main__"`.
        progress: show a bar on the standard error stream, where that is a terminal.

    Returns:
        `root` as a path.

    Raises:
        InputError: impossible parameters, a folder that holds something else, or a disk that cannot be written to.
    """
    root, config = Path(root), config or WalkersConfig()
    config.check()
    if workers < 1:
        raise InputError(f"workers is {workers}, but at least 1 process must draw the walkers")
    if _is_finished(root, config):
        return root
    with _beside(root) as folder:
        _write_set(folder, config, workers, progress)
        try:
            folder.rename(root)
        except OSError:
            # Another process may have made the same set in the meantime; anything else is the reported error.
            if not _is_finished(root, config):
                raise
    return root


def _is_finished(root: Path, config: WalkersConfig) -> bool:
    """Whether `root` holds this very set; raises `InputError` when it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        record = json.loads((root / PARAMETERS_FILE).read_text(encoding="utf-8"))
        parameters, version, frames = record["parameters"], record["generator"], record["frames"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{root} exists and holds no walkers: give a new folder, nothing is overwritten") from None
    if version != GENERATOR_VERSION:
        raise InputError(
            f"{root} holds walkers of generator version {version}, but this is version {GENERATOR_VERSION}: give a new "
            "folder or remove this one"
        )
    if parameters != asdict(config):
        wanted = asdict(config)
        differing = [name for name in wanted if parameters.get(name) != wanted[name]]
        listed = ", ".join(f"{name} {parameters.get(name)} instead of {wanted[name]}" for name in differing)
        raise InputError(f"{root} holds walkers of other parameters ({listed}): give a new folder or remove this one")
    for split in SPLITS:
        found = sum(1 for _ in (root / f"bbox_{split}").glob("*/*.jpg"))
        if found != frames[split]:
            raise InputError(
                f"{root} has {found} of {frames[split]} frames in bbox_{split}: remove it, and it is made anew"
            )
    return True


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    """A new folder next to `root` that is gone afterwards unless it was renamed."""
    folder = root.parent / f".{root.name}.{os.getpid()}-{secrets.token_hex(4)}.partial"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise InputError(f"cannot write walkers to {root}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_set(folder: Path, config: WalkersConfig, workers: int, progress: bool) -> None:
    plans = {split: plan_split(config, split) for split in SPLITS}
    everything = [plan for split in SPLITS for plan in plans[split]]
    for split in SPLITS:
        for name in sorted({plan.folder for plan in plans[split]}):
            (folder / f"bbox_{split}" / name).mkdir(parents=True)
    total = sum(plan.num_frames for plan in everything)
    with tqdm(total=total, unit="frame", desc="drawing walkers", disable=None if progress else True) as bar:
        save = partial(save_tracklet, folder, config)
        for drawn in map_in_processes(save, everything, workers, _TRACKLETS_A_TASK):
            bar.update(drawn)
    _write_info(folder / "info", config, plans)


def _write_info(info: Path, config: WalkersConfig, plans: dict[str, list[TrackletPlan]]) -> None:
    info.mkdir()
    for split in SPLITS:
        names = [plan.frame_name(frame) for plan in plans[split] for frame in range(plan.num_frames)]
        (info / f"{split}_name.txt").write_text("".join(f"{name}\n" for name in names), encoding="ascii", newline="\n")
        lengths = np.array([plan.num_frames for plan in plans[split]])
        last = np.cumsum(lengths)
        identity = np.array([(plan.person_id, plan.camera) for plan in plans[split]])
        rows = np.column_stack([last - lengths + 1, last, identity])
        _write_mat(info / f"tracks_{split}_info.mat", f"track_{split}_info", rows)
    queries = np.array(plan_queries(config, plans["test"])) + 1
    _write_mat(info / "query_IDX.mat", "query_IDX", queries[None])
    with open(info / "challenges.csv", "w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "row", "challenge", "group"])
        for split in SPLITS:
            for row, plan in enumerate(plans[split], start=1):
                writer.writerow([split, row, plan.challenge, "" if plan.group is None else plan.group])
    record = {
        "generator": GENERATOR_VERSION,
        "parameters": asdict(config),
        "frames": {split: sum(plan.num_frames for plan in plans[split]) for split in SPLITS},
    }
    (info / PARAMETERS_FILE.name).write_text(json.dumps(record, indent=2) + "\n", encoding="ascii", newline="\n")


def _write_mat(path: Path, name: str, values: np.ndarray) -> None:
    from scipy.io import savemat  # here, because the drawing processes import this module and do not need it

    buffer = io.BytesIO()
    savemat(buffer, {name: values.astype(np.int32)})
    path.write_bytes(_MAT_HEADER + buffer.getvalue()[len(_MAT_HEADER) :])

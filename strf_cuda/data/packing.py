"""Packs a data set into the format of `strf_cuda.data.packed`.

Stopped at any moment and started again, packing goes on with the next unfinished shard and ends in the same bytes: what
goes where is decided before the first frame is read, shards are renamed into place when they are on the disk, and the
index comes last.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.data.indexing import and_more, encode_names
from strf_cuda.data.packed import FORMAT, INDEX, LISTS, UNFINISHED, VERSION, read_index
from strf_cuda.data.tracklets import Tracklet, TrackletDataset
from strf_cuda.errors import InputError
from strf_cuda.files import expanded, remove_unfinished, replacing, writable_folder

SHARD_BYTES = 256_000_000
_BLOCK = tarfile.BLOCKSIZE
_READERS = 16  # threads, since a file on a server takes its time to arrive, however small it is
_AT_ONCE = 512  # frames held in memory

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Plan:
    """All that is decided before a frame is read.

    Attributes:
        paths: of the frames, in the order in which they are packed, each once.
        arrays: of the index, apart from where frames lie and what their checksums are; `frame_length` and, for this
            run alone, `frame_time` (nanoseconds of the last change).
        description: of the index, apart from the shards.
        shards: the first frame of every shard, and the number of frames.
    """

    paths: list[str]
    arrays: dict[str, np.ndarray]
    description: dict[str, Any]
    shards: list[int]

    def frames(self, shard: int) -> range:
        return range(self.shards[shard], self.shards[shard + 1])

    def lengths(self, shard: int) -> np.ndarray:
        """Bytes of each of its frames."""
        return self.arrays["frame_length"][self.shards[shard] : self.shards[shard + 1]]


def shard_name(shard: int) -> str:
    return f"shard-{shard:05d}.tar"


def make_plan(datasets: Sequence[TrackletDataset], root: str | os.PathLike, shard_bytes: int = SHARD_BYTES) -> Plan:
    """Decides what goes where.

    Args:
        datasets: every split of one data set.
        root: that data set's folder or table; names are relative to the folder.
        shard_bytes: a shard is finished with the frame that reaches this size.

    Raises:
        InputError: a frame is missing.
    """
    root = expanded(root)
    prefix = os.path.join(root if root.is_dir() else root.parent, "")
    places: dict[str, int] = {}
    rows: list[Tracklet] = []
    frames: list[int] = []
    lists = {}
    for number, dataset in enumerate(datasets):
        known: dict[int, int] = {}
        for name in LISTS:
            for tracklet in getattr(dataset, name):
                if id(tracklet) not in known:
                    known[id(tracklet)] = len(rows)
                    rows.append(tracklet)
                    frames += [places.setdefault(path, len(places)) for path in tracklet.paths]
            own = [known[id(tracklet)] for tracklet in getattr(dataset, name)]
            lists[f"split_{number}_{name}"] = np.array(own, np.int64)
    paths = list(places)
    lengths, times = _sizes_and_times(paths)
    challenges = sorted({row.challenge for row in rows if row.challenge is not None})
    arrays = {
        "frame_name": encode_names([path.removeprefix(prefix) for path in paths]),
        "frame_length": lengths,
        "frame_time": times,
        "tracklet_start": np.cumsum([0, *map(len, rows)], dtype=np.int64),
        "tracklet_frame": np.array(frames, np.int64),
        "tracklet_person": np.array([row.person_id for row in rows], np.int64),
        "tracklet_camera": np.array([row.camera_id for row in rows], np.int64),
        "tracklet_challenge": np.array(
            [-1 if row.challenge is None else challenges.index(row.challenge) for row in rows], np.int64
        ),
        "tracklet_group": np.array([row.group or 0 for row in rows], np.int64),
        "tracklet_has_group": np.array([row.group is not None for row in rows], bool),
        **lists,
    }
    description = {
        "format": FORMAT,
        "version": VERSION,
        "challenges": challenges,
        "splits": [_describe(dataset) for dataset in datasets],
    }
    return Plan(paths, arrays, description, _shard_starts(lengths, shard_bytes))


def pack(plan: Plan, out: str | os.PathLike, progress: Progress = lambda amount: None) -> bool:
    """Writes the packed copy, or what is left of it.

    Args:
        progress: called with the bytes of the frames that have been dealt with since the last call.

    Returns:
        Whether there was anything to do.

    Raises:
        InputError: the folder holds something else, the disk has too little space, or the source has changed.
    """
    out = writable_folder(expanded(out))
    if (out / INDEX).exists():
        _check_complete(out, plan)
        (out / UNFINISHED).unlink(missing_ok=True)
        return False
    _begin_or_continue(out, plan)
    unfinished = [shard for shard in range(len(plan.shards) - 1) if not (out / shard_name(shard)).exists()]
    index = sum(array.nbytes for array in plan.arrays.values())
    _check_space(out, index + sum(_shard_bytes(plan.lengths(shard)) for shard in unfinished))

    shards, offsets, checksums = [], [], []
    for shard in range(len(plan.shards) - 1):
        path = out / shard_name(shard)
        if shard in unfinished:
            remove_unfinished(path)
            with replacing(path) as temporary:
                _write_shard(temporary, plan, shard, progress)
        else:
            progress(int(plan.lengths(shard).sum()))
        read = read_shard(path)
        expected = plan.frames(shard)
        if [name for name, _, _ in read.frames] != plan.arrays["frame_name"][expected.start : expected.stop].tolist():
            raise InputError(f"{path} does not hold the frames that it must: delete it and start again")
        offsets += [offset for _, offset, _ in read.frames]
        checksums += [checksum for _, _, checksum in read.frames]
        shards.append({"file": path.name, "bytes": read.bytes, "sha256": read.sha256, "frames": len(read.frames)})

    numbers = np.repeat(np.arange(len(shards)), [shard["frames"] for shard in shards])
    arrays = {name: array for name, array in plan.arrays.items() if name != "frame_time"} | {
        "frame_shard": numbers.astype(np.int32),
        "frame_offset": np.array(offsets, np.int64),
        "frame_checksum": np.array(checksums, np.uint32),
    }
    remove_unfinished(out / INDEX)
    _save(out / INDEX, arrays, {**plan.description, "shards": shards})
    (out / UNFINISHED).unlink()
    return True


@dataclass(frozen=True)
class ShardContent:
    """What a shard's file holds: for each frame its encoded name, the place of its first byte and its CRC-32."""

    frames: list[tuple[bytes, int, int]]
    bytes: int
    sha256: str


def read_shard(path: Path) -> ShardContent:
    """Reads a whole shard.

    Raises:
        InputError: it cannot be read, or is no tar file.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            frames = []
            with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
                for member in tar:
                    file.seek(member.offset_data)
                    checksum = zlib.crc32(file.read(member.size))
                    frames.append((os.fsencode(member.name), member.offset_data, checksum))
                    tar.members.clear()  # or it keeps an object for each
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it and start again") from None
    return ShardContent(frames, length, digest)


def verify(root: str | os.PathLike, progress: Progress = lambda amount: None) -> list[str]:
    """Compares every shard with its SHA-256 and every frame of a differing one with its checksum.

    Returns:
        A sentence for each damaged shard.

    Raises:
        InputError: the folder is no packed copy, or its index is damaged.
    """
    root = expanded(root)
    arrays = read_index(root)
    faults = []
    for number, shard in enumerate(json.loads(arrays["description"].tobytes())["shards"]):
        fault = _shard_fault(root / shard["file"], shard, arrays, np.flatnonzero(arrays["frame_shard"] == number))
        if fault:
            faults.append(fault)
        progress(shard["bytes"])
    return faults


def _shard_fault(path: Path, shard: dict[str, Any], arrays: dict[str, np.ndarray], frames: np.ndarray) -> str | None:
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == shard["sha256"]:
                return None
            damaged = []
            for frame in frames.tolist():
                file.seek(arrays["frame_offset"][frame])
                if zlib.crc32(file.read(arrays["frame_length"][frame])) != arrays["frame_checksum"][frame]:
                    damaged.append(os.fsdecode(bytes(arrays["frame_name"][frame])))
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if not damaged:
        return f"{path} differs from what was packed between its frames, which are all as they were"
    return f"{path} is damaged: frame {damaged[0]}{and_more(len(damaged))} of its {len(frames):,} frames"


def _describe(dataset: TrackletDataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "notes": dataset.notes,
        "person_names": {str(person): name for person, name in dataset.person_names.items()},
        "camera_names": {str(camera): name for camera, name in dataset.camera_names.items()},
        "junk": dataset.junk,
    }


def _sizes_and_times(paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    def look(path: str) -> tuple[int, int]:
        try:
            status = os.stat(path)
        except OSError as error:
            raise InputError(f"frame {path} cannot be read: {error.strerror}") from None
        return status.st_size, status.st_mtime_ns

    with ThreadPoolExecutor(_READERS) as pool:
        found = np.array(list(pool.map(look, paths, chunksize=256)), np.int64).reshape(-1, 2)
    return np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1])


def _tar_bytes(lengths: np.ndarray) -> np.ndarray:
    return _BLOCK + -(-lengths // _BLOCK) * _BLOCK


def _shard_bytes(lengths: np.ndarray) -> int:
    """Of a shard's file with frames of these lengths, where no name is longer than 100 bytes."""
    return -(-(int(_tar_bytes(lengths).sum()) + 2 * _BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _shard_starts(lengths: np.ndarray, shard_bytes: int) -> list[int]:
    starts, filled = [0], 0
    for frame, length in enumerate(_tar_bytes(lengths).tolist()):
        filled += length
        if filled >= shard_bytes:
            starts.append(frame + 1)
            filled = 0
    return starts if starts[-1] == len(lengths) else [*starts, len(lengths)]


def _begin_or_continue(out: Path, plan: Plan) -> None:
    """Writes down what is to be packed, or checks that it is what was begun."""
    path = out / UNFINISHED
    remove_unfinished(path)
    if not path.exists():
        others = sorted(os.listdir(out))
        if others:
            raise InputError(f"{out} holds {others[0]}{and_more(len(others))}: give a new or empty folder")
        _save(path, plan.arrays | {"shard_start": np.array(plan.shards)}, plan.description)
        return
    with np.load(path, allow_pickle=False) as begun:
        _check_same(plan, {name: begun[name] for name in begun.files}, f"the packing into {out} began")
        if begun["shard_start"].tolist() != plan.shards:
            raise InputError(f"{out} was begun with shards of another size: delete it and start again")


def _check_complete(out: Path, plan: Plan) -> None:
    """The packed copy that is there is one of this data set as it is now."""
    arrays = read_index(out)
    description = json.loads(arrays["description"].tobytes())
    del description["shards"]
    arrays["description"] = _json_array(description)
    _check_same(plan, arrays, f"it was packed into {out}")


def _check_same(plan: Plan, before: dict[str, np.ndarray], since: str) -> None:
    ours = plan.arrays | {"description": _json_array(plan.description)}
    shared = [name for name in ours if name in before or name != "frame_time"]
    if all(name in before and np.array_equal(ours[name], before[name]) for name in shared):
        return
    advice = "give another folder, or delete that one and pack again"
    if np.array_equal(ours["frame_name"], before["frame_name"]):
        for name in ("frame_length", "frame_time"):
            changed = np.flatnonzero(ours[name] != before[name]) if name in before else []
            if len(changed):
                path = plan.paths[changed[0]]
                raise InputError(f"frame {path}{and_more(len(changed))} has changed since {since}: {advice}")
    raise InputError(f"the data set is not as it was when {since}: {advice}")


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if free < needed:
        raise InputError(
            f"the packed copy needs {needed / 1e6:,.1f} MB more, but the disk of {out} has {free / 1e6:,.1f} MB left"
        )


def _write_shard(path: Path, plan: Plan, shard: int, progress: Progress) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        for frame, data in _read_frames(plan, plan.frames(shard)):
            member = tarfile.TarInfo(os.fsdecode(bytes(plan.arrays["frame_name"][frame])))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            tar.members.clear()  # or it keeps an object for each
            progress(len(data))


def _read_frames(plan: Plan, frames: range) -> Iterator[tuple[int, bytes]]:
    def read(frame: int) -> bytes:
        path = plan.paths[frame]
        try:
            with open(path, "rb") as file:
                data = file.read()
                now = os.fstat(file.fileno())
        except OSError as error:
            raise InputError(f"frame {path} cannot be read: {error.strerror}") from None
        planned = plan.arrays["frame_length"][frame], plan.arrays["frame_time"][frame]
        if (len(data), now.st_mtime_ns) != planned:
            raise InputError(f"frame {path} has changed since the packing began: start again with an empty folder")
        return data

    with ThreadPoolExecutor(_READERS) as pool:
        for first in range(frames.start, frames.stop, _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, frames.stop))
            yield from zip(some, pool.map(read, some), strict=True)


def _json_array(content: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def _save(path: Path, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        np.savez(temporary, description=_json_array(description), **arrays)

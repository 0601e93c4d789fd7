"""A data set packed into few large files, for file systems where opening a million small ones is what takes the time.

    shard-00000.tar, ...    the original bytes of every frame, in plain tar files under their original relative names
    index.npz               everything else: names, places and checksums of the frames, tracklets, lists, notes

docs/input.md describes every array of the index. `strf_cuda.data.packing` writes this format.
"""

import json
import os
import weakref
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.contents import in_its_place
from strf_cuda.data.indexing import existing_root
from strf_cuda.data.tracklets import Tracklet, TrackletDataset
from strf_cuda.errors import InputError

INDEX = "index.npz"
UNFINISHED = "unfinished.npz"
FORMAT, VERSION = "strf_cuda packed data set", 1
LISTS = ("train", "query", "gallery")
ARRAYS = [
    *(f"frame_{part}" for part in ("name", "shard", "offset", "length", "checksum")),
    *(f"tracklet_{part}" for part in ("start", "frame", "person", "camera", "challenge", "group", "has_group")),
]
_OPEN_FILES = 64  # of the shards in a process, whose limit may be 256


class PackedFrame(str):
    """The original relative path of a frame, which also knows the archive that its bytes are in."""

    __slots__ = ("archive", "number")

    def __new__(cls, archive: "Archive", number: int):
        frame = super().__new__(cls, archive.frame_name(number))
        frame.archive, frame.number = archive, number
        return frame

    def __reduce__(self):
        return PackedFrame, (self.archive, self.number)

    def read(self) -> bytes:
        """The bytes of the original file.

        Raises:
            InputError: they are not what was packed, or the shard cannot be read.
        """
        return self.archive.read(self.number)


class PackedFrames(Sequence[str]):
    """The frames of a tracklet as a sequence of `PackedFrame`; a slice is another `PackedFrames`.

    Args:
        numbers: of the frames in the archive, an integer array in temporal order.
    """

    __slots__ = ("archive", "numbers")

    def __init__(self, archive: "Archive", numbers: np.ndarray):
        self.archive = archive
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return PackedFrames(self.archive, self.numbers[index])
        return PackedFrame(self.archive, int(self.numbers[index]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedFrames):
            return NotImplemented
        return self.archive.root == other.archive.root and np.array_equal(self.numbers, other.numbers)

    def __hash__(self) -> int:
        return hash((self.archive.root, self.numbers.tobytes()))

    def __reduce__(self):
        return PackedFrames, (self.archive, np.ascontiguousarray(self.numbers))


class Archive:
    """The frames of a packed data set.

    Its index is a handful of arrays, which worker processes share with their parent. Files are read with pread, which
    has no position, so processes may share descriptors too. Pickled, it is a path, opened once in each process.

    Raises:
        InputError: the index or a shard is missing, damaged or of another length.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = existing_root(root, "packed").resolve()
        self.arrays = read_index(self.root)
        self.description: dict[str, Any] = json.loads(self.arrays["description"].tobytes())
        self._files: OrderedDict[int, int] = OrderedDict()
        weakref.finalize(self, _close, self._files)
        self._shards = [self.root / shard["file"] for shard in self.description["shards"]]
        for path, shard in zip(self._shards, self.description["shards"], strict=True):
            size = path.stat().st_size if path.is_file() else None
            if size != shard["bytes"]:
                state = "does not exist" if size is None else f"has {size:,} bytes instead of {shard['bytes']:,}"
                instead = in_its_place(path)
                advice = f"it is {instead}" if instead else "copy it again or pack the data set again"
                raise InputError(f"{path} {state}: {advice}")

    def __reduce__(self):
        return _unpickled, (str(self.root),)

    def frame_name(self, number: int) -> str:
        """The original path of a frame, relative to the data set's root if it lay within."""
        return os.fsdecode(bytes(self.arrays["frame_name"][number]))

    def read(self, number: int) -> bytes:
        """The checked bytes of a frame.

        Raises:
            InputError: the shard cannot be read, or the checksum differs.
        """
        arrays = self.arrays
        shard = int(arrays["frame_shard"][number])
        try:
            data = os.pread(self._descriptor(shard), arrays["frame_length"][number], arrays["frame_offset"][number])
        except OSError as error:
            raise InputError(f"{self._shards[shard]} cannot be read: {error.strerror}") from error
        if zlib.crc32(data) != arrays["frame_checksum"][number]:
            raise InputError(
                f"frame {self.frame_name(number)} in {self._shards[shard]} is damaged (its checksum differs from the "
                "index's): copy the shard again or pack the data set again"
            )
        return data

    def _descriptor(self, shard: int) -> int:
        if shard not in self._files:
            while len(self._files) >= _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            self._files[shard] = os.open(self._shards[shard], os.O_RDONLY | os.O_CLOEXEC)
        return self._files[shard]


def _close(files: OrderedDict[int, int]) -> None:
    for descriptor in files.values():
        os.close(descriptor)


@cache
def _unpickled(root: str) -> Archive:
    """The archive of a folder in a process that was started without its parent's memory."""
    return Archive(root)


class PackedDataset(TrackletDataset):
    """A data set read from its packed copy: lists, numbers and notes are those of the original, to the bit.

    Args:
        root: the folder that `python -m strf_cuda.pack` wrote.
        split: which of the original's splits; None for the first, or where there is one.

    Raises:
        InputError: the folder is no finished packed copy, a file is missing or damaged, or there is no such split.
    """

    def __init__(self, root: str | os.PathLike, split: int | None = None):
        archive = Archive(root)
        splits = archive.description["splits"]
        if split is not None and len(splits) == 1:
            raise InputError(f"split is {split}, but the packed data set {root} has one split only: leave it out")
        if split is not None and split not in range(len(splits)):
            raise InputError(f"split is {split}, but the packed data set {root} has the splits 0 to {len(splits) - 1}")
        number = split or 0
        rows = {name: archive.arrays[f"split_{number}_{name}"].tolist() for name in LISTS}
        # One object for each tracklet, however many lists name it: evaluation embeds each object once.
        tracklets = {row: _tracklet(archive, row) for name in LISTS for row in rows[name]}
        lists = {name: [tracklets[row] for row in rows[name]] for name in LISTS}
        described = splits[number]
        super().__init__(
            described["name"],
            **lists,
            notes=described["notes"],
            person_names={int(person): name for person, name in described["person_names"].items()},
            camera_names={int(camera): name for camera, name in described["camera_names"].items()},
            junk=described["junk"],
        )


def read_index(root: Path) -> dict[str, np.ndarray]:
    """The arrays of the index, whose checksums the zip file holds.

    Raises:
        InputError: there is no index, or it is damaged or of another version.
    """
    path = root / INDEX
    if not path.exists():
        if (root / UNFINISHED).exists():
            raise InputError(f"{root} is an unfinished packed copy: give the command that began it once more")
        raise InputError(f"{root} has no {INDEX}: give a folder that python -m strf_cuda.pack wrote")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        description = json.loads(arrays["description"].tobytes())
        found = description["format"], description["version"]
        splits = range(len(description["splits"]))
        missing = ({*ARRAYS} | {f"split_{split}_{name}" for split in splits for name in LISTS}) - arrays.keys()
        if missing:
            raise KeyError(f"it lacks {min(missing)}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        if instead := in_its_place(path, or_text=True):
            raise InputError(f"{path} is {instead}") from None
        raise InputError(f"{path} is damaged ({' '.join(str(error).split())}): pack the data set again") from None
    if found != (FORMAT, VERSION):
        raise InputError(f"{path} is of format {found[0]!r}, version {found[1]}, but this software reads {VERSION}")
    return arrays


def _tracklet(archive: Archive, row: int) -> Tracklet:
    arrays = archive.arrays
    first, last = arrays["tracklet_start"][row : row + 2]
    challenge = int(arrays["tracklet_challenge"][row])
    return Tracklet(
        PackedFrames(archive, arrays["tracklet_frame"][first:last]),
        int(arrays["tracklet_person"][row]),
        int(arrays["tracklet_camera"][row]),
        archive.description["challenges"][challenge] if challenge >= 0 else None,
        int(arrays["tracklet_group"][row]) if arrays["tracklet_has_group"][row] else None,
    )

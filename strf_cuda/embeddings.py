"""Embeddings of tracklets in one safetensors file, which is read memory-mapped.

    vectors   float32 [n, F]   of unit length
    persons   int64 [n]        person_id; JUNK_PERSON (-1) where nobody knows who it is
    cameras   int64 [n]
    frames    int64 [n]        frames of each tracklet
    start     float64 [n]      seconds at which the tracklet begins, by its camera's clock; NaN where unknown
    end       float64 [n]
    lists     uint8 [n]        which lists of the data set it is in, a sum of LIST_BITS
    paths     uint8 [bytes]    the paths of all frames, UTF-8, each ended by a zero byte, tracklet after tracklet
    path_ends int64 [n]        where each tracklet's paths end

The description is JSON under the key "strf_cuda" of the file's metadata: the model's fingerprint and source, frame size
and protocol, the data set, names of persons and cameras.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from strf_cuda.contents import in_its_place
from strf_cuda.data.tracklets import LISTS
from strf_cuda.errors import InputError
from strf_cuda.files import replacing

LIST_BITS = {name: 1 << bit for bit, name in enumerate(LISTS)}
FORMAT = 1
_KEY, _KEY_OF_METADATA = "strf_cuda", "__metadata__"
_NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}


@dataclass(frozen=True)
class Embeddings:
    """What an embeddings file holds; see the head of this module for types and shapes.

    Attributes:
        description: "fingerprint" (of the model, `TrainedModel.fingerprint`), "model" (its source), "data" and
            "protocol" (as in the configuration), "dataset" (its name), "person_names", "camera_names".
    """

    vectors: np.ndarray
    persons: np.ndarray
    cameras: np.ndarray
    frames: np.ndarray
    start: np.ndarray
    end: np.ndarray
    lists: np.ndarray
    paths: np.ndarray
    path_ends: np.ndarray
    description: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def fingerprint(self) -> str:
        return self.description["fingerprint"]

    def paths_of(self, row: int) -> list[str]:
        """The frame files of a tracklet, in temporal order."""
        begin = int(self.path_ends[row - 1]) if row else 0
        text = bytes(self.paths[begin : int(self.path_ends[row])])
        return [os.fsdecode(path) for path in text.split(b"\0")[:-1]]


_TYPES = {
    "vectors": "float32",
    "persons": "int64",
    "cameras": "int64",
    "frames": "int64",
    "start": "float64",
    "end": "float64",
    "lists": "uint8",
    "paths": "uint8",
    "path_ends": "int64",
}


def encode_paths(tracklets: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """`paths` and `path_ends` of tracklets given by their frame files."""
    texts = [b"".join(os.fsencode(path) + b"\0" for path in paths) for paths in tracklets]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    return np.frombuffer(b"".join(texts), dtype=np.uint8), ends


def write_embeddings(path: str | Path, embeddings: Embeddings) -> None:
    """Writes the file whole or not at all."""
    with replacing(path) as temporary:
        _write(temporary, [embeddings], embeddings.description)


def join_embeddings(path: str | Path, parts: Sequence[Path], description: dict[str, Any]) -> None:
    """Writes the rows of several embeddings files, one after the other, into one; holds one of them in memory.

    Raises:
        InputError: as `read_embeddings`, and in place of what the system says of a full disk.
    """
    with replacing(path) as temporary:
        _write(temporary, _Files(parts), description)


class _Files(Sequence[Embeddings]):
    """Embeddings files that are opened when they are looked at."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Embeddings:
        return read_embeddings(self._paths[index])


def _write(path: Path, parts: Sequence[Embeddings], description: dict[str, Any]) -> None:
    """The layout of safetensors: 8 bytes of length, a JSON header, the arrays, those of the largest numbers first."""
    shapes = [{name: getattr(part, name).shape for name in _TYPES} for part in parts]
    header: dict[str, Any] = {_KEY_OF_METADATA: {_KEY: json.dumps({"format": FORMAT, **description})}}
    places, end = {}, 0
    for name, kind in sorted(_TYPES.items(), key=lambda item: -np.dtype(item[1]).itemsize):
        shape = [sum(each[name][0] for each in shapes), *shapes[0][name][1:]]
        places[name], end = end, end + math.prod(shape) * np.dtype(kind).itemsize
        header[name] = {"dtype": _NAMES[kind], "shape": shape, "data_offsets": [places[name], end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        start, paths_before = file.tell(), 0
        for part in parts:
            for name, kind in _TYPES.items():
                array = np.asarray(getattr(part, name), dtype=kind)
                if name == "path_ends":
                    array = array + paths_before
                file.seek(start + places[name])
                file.write(np.ascontiguousarray(array).data)
                places[name] += array.nbytes
            paths_before += len(part.paths)


def read_embeddings(path: str | Path) -> Embeddings:
    """Opens an embeddings file; vectors and paths stay on the disk until they are looked at.

    Raises:
        InputError: the file is missing, damaged or holds something else.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            described = (file.metadata() or {}).get(_KEY)
            names = set(file.keys())
    except FileNotFoundError:
        raise InputError(f"there is no embeddings file {path}") from None
    except (OSError, SafetensorError) as error:
        found = in_its_place(path, or_text=True)
        reason = f" but {found}" if found else f", or damaged: {error}"
        raise InputError(f"{path} is no embeddings file{reason}") from None
    if described is None or not names >= set(_TYPES):
        raise InputError(f"{path} is no embeddings file of strf_cuda.extract")
    description = json.loads(described)
    if description.get("format") != FORMAT:
        raise InputError(f"{path} has format {description.get('format')}, but this version reads format {FORMAT}")
    arrays = _mapped(path)
    rows = {len(array) for name, array in arrays.items() if name != "paths"}
    if len(rows) > 1 or arrays["vectors"].ndim != 2 or arrays["path_ends"][-1:].sum() != len(arrays["paths"]):
        raise InputError(f"{path} is damaged: its arrays do not fit together")
    return Embeddings(**arrays, description=description)


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, memory-mapped: 8 bytes of length, a JSON header, then the arrays."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    arrays = {}
    for name, kind in _TYPES.items():
        if header[name]["dtype"] != _NAMES[kind]:
            raise InputError(f"{path} is damaged: its {name} are {header[name]['dtype']}, not {_NAMES[kind]}")
        shape, offset = tuple(header[name]["shape"]), 8 + size + header[name]["data_offsets"][0]
        empty = 0 in shape  # nothing to map
        arrays[name] = np.zeros(shape, kind) if empty else np.memmap(path, kind, "r", offset, shape)
    return arrays

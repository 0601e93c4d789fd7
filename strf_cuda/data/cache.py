"""The index of a data set, kept outside of it, so that a million files need not be listed each time it is opened.

One .npz file, without pickle, for every reader, option and root, in the folder `index` of the cache folder. It holds
the lists and the witnesses (`strf_cuda.data.witnesses`) that they were read from, and serves as long as every one of
these stands as it stood. Otherwise, and whenever anything is wrong with the file, the data set is read. Only a data set
that was read without an error is kept.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda import __version__
from strf_cuda.data.indexing import FramePaths
from strf_cuda.data.tracklets import LISTS, Tracklet, TrackletDataset
from strf_cuda.data.witnesses import Witnesses, gather, state
from strf_cuda.errors import InputError
from strf_cuda.files import expanded, replacing

# Columns of the array of tracklets; the first four say where its frames' names lie among all names.
COLUMNS = ("folder", "offset", "width", "frames", "person", "camera", "challenge", "group")
NONE = np.iinfo(np.int64).min


def cache_folder() -> Path:
    """Where this software keeps what it can make again: $XDG_CACHE_HOME/strf_cuda, or ~/.cache/strf_cuda.

    Raises:
        InputError: there is no home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "strf_cuda"
    except RuntimeError:
        raise InputError("this user has no home folder to keep things in: set XDG_CACHE_HOME to a folder") from None


def open_cached(read: Callable[..., TrackletDataset], root: str | os.PathLike, **options: Any) -> TrackletDataset:
    """`read(root, **options)`, or the same data set from its cached index.

    Args:
        read: a reader whose frames' paths are `FramePaths`, and which reports all that it looks at as witnesses.

    Raises:
        InputError: as the reader.
    """
    base = expanded(root)
    if not base.is_dir():
        base = base.parent
    key = _key(read, root, options)
    try:
        path = cache_folder() / "index" / f"{read.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    except InputError:
        return read(root, **options)
    cached = _load(path, base)
    if cached is not None:
        return cached
    with gather() as witnesses:
        dataset = read(root, **options)
    if witnesses.settled:
        # Without a folder to write to, or without room, everything works, and is read the next time too.
        with contextlib.suppress(InputError):
            _save(path, base, dataset, witnesses)
    return dataset


def _key(read: Callable, root: str | os.PathLike, options: dict[str, Any]) -> str:
    """All that a data set depends on beside the files that its reader looks at.

    Names are taken from both spellings of the root: of a table that is a link, the link's folder and the target count.
    """
    spelled = os.path.abspath(os.path.expanduser(root))
    identity = [__version__, _code(), read.__name__, sorted(options.items()), spelled, os.path.realpath(spelled)]
    return json.dumps(identity)


@cache
def _code() -> str:
    """A digest of this package's modules and data: another version of a reader may read another data set."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent.name != "__pycache__":
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _save(path: Path, base: Path, dataset: TrackletDataset, witnesses: Witnesses) -> None:
    lists = {name: getattr(dataset, name) for name in LISTS}
    # A query is the very tracklet of the gallery where the reader made it so.
    tracklets = list({id(tracklet): tracklet for name in LISTS for tracklet in lists[name]}.values())
    number = {id(tracklet): index for index, tracklet in enumerate(tracklets)}
    names = [np.ascontiguousarray(tracklet.paths.names) for tracklet in tracklets]
    folders = {folder: index for index, folder in enumerate(dict.fromkeys(t.paths.folder for t in tracklets))}
    challenges = {name: index for index, name in enumerate(dict.fromkeys(t.challenge for t in tracklets))}
    offsets = np.cumsum([0] + [array.nbytes for array in names])
    rows = [
        (
            folders[tracklet.paths.folder],
            offset,
            array.itemsize,
            len(array),
            tracklet.person_id,
            tracklet.camera_id,
            challenges[tracklet.challenge],
            NONE if tracklet.group is None else tracklet.group,
        )
        for tracklet, array, offset in zip(tracklets, names, offsets.tolist(), strict=False)
    ]
    header = {
        "name": dataset.name,
        "notes": dataset.notes,
        "person_names": list(dataset.person_names.items()),
        "camera_names": list(dataset.camera_names.items()),
        "junk": dataset.junk,
        "challenges": list(challenges),
        "folders": [_relative(folder, base) for folder in folders],
        "witnesses": [_relative(witness, base) for witness in witnesses.states],
    }
    with replacing(path) as temporary:
        np.savez(
            temporary,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            states=np.array(list(witnesses.states.values()), np.int64).reshape(-1, 3),
            tracklets=np.array(rows, np.int64).reshape(-1, len(COLUMNS)),
            names=np.concatenate([array.view(np.uint8) for array in names] or [np.empty(0, np.uint8)]),
            **{name: np.array([number[id(tracklet)] for tracklet in lists[name]], np.int64) for name in LISTS},
        )


def _load(path: Path, base: Path) -> TrackletDataset | None:
    """The data set, or None where there is no such file, or it is of another state of the data set, or damaged."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            for witness, stood in zip(header["witnesses"], file["states"].tolist(), strict=True):
                if state(os.path.join(base, witness)) != tuple(stood):
                    return None
            return _restored(header, {name: file[name] for name in ("tracklets", "names", *LISTS)}, base)
    except Exception:  # a damaged file makes numpy and zipfile raise almost anything
        return None


def _restored(header: dict[str, Any], arrays: dict[str, np.ndarray], base: Path) -> TrackletDataset:
    folders = [str(base / folder) for folder in header["folders"]]
    names, challenges = arrays["names"], header["challenges"]
    types = {width: np.dtype(f"S{width}") for width in np.unique(arrays["tracklets"][:, COLUMNS.index("width")])}
    tracklets = []
    for folder, offset, width, frames, person, camera, challenge, group in arrays["tracklets"].tolist():
        paths = FramePaths(folders[folder], names[offset : offset + width * frames].view(types[width]))
        tracklets.append(Tracklet(paths, person, camera, challenges[challenge], None if group == NONE else group))
    lists = {name: [tracklets[index] for index in arrays[name].tolist()] for name in LISTS}
    return TrackletDataset(
        header["name"],
        **lists,
        notes=header["notes"],
        person_names=dict(header["person_names"]),
        camera_names=dict(header["camera_names"]),
        junk=header["junk"],
    )


def _relative(path: str, base: Path) -> str:
    """`path` as seen from `base` where it is written as lying below it, else as it is."""
    try:
        return str(Path(path).relative_to(base))
    except ValueError:
        return path

"""Builds the folder of a compressed gallery; stopped at any time, it goes on where it was.

Work goes on in a folder beside the one to be, which is renamed when all is there:

    begun.json      what is built from what, and the finished steps: nothing else is trusted
    trained.faiss   after the training
    codes.npy       uint8 [n, bytes] and owners.npy int32 [n], the list of each row; as far as begun.json says
    persons.npy     and the other labels, likewise

Memory holds a block of vectors, the training sample and, while codes are put in order, 12 bytes a row.
The result is the same in every bit for the same rows, settings and version of FAISS and NumPy with the same number of
threads; with another number, sums are rounded in another order and codes differ slightly.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.errors import InputError
from strf_cuda.files import claimed, expanded, replacing, write_json
from strf_cuda.retrieval.coding import CodeSettings, train
from strf_cuda.retrieval.faiss_library import load_faiss, read_trained, threads_of_faiss, write_trained
from strf_cuda.retrieval.index_folder import (
    DESCRIPTION,
    FORMAT,
    LABELS,
    LISTS,
    ROW_BYTES,
    SIZES,
    TRAINED,
    IndexFolder,
    read_index_folder,
)
from strf_cuda.retrieval.streams import Block, VectorStream

STATE = "begun.json"
KEPT_EVERY = 262_144  # rows, after which what is done is safe on the disk
_COPIED = 1 << 16  # rows at a time


def build_index(
    stream: VectorStream,
    out: str | Path,
    settings: CodeSettings,
    *,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda step: None,
    progress: Callable[[int], None] = lambda rows: None,
) -> IndexFolder:
    """Trains, codes all rows and writes the folder.

    Args:
        stream: gives the rows, once for each sample and once to be coded.
        threads: of FAISS; None for its own choice, all cores.
        tell: called with the name of each step that begins: projection, lists, codes, rows, order.
        progress: called with the number of rows coded since the last call, those of an earlier run first.

    Raises:
        InputError: `out` exists, or what was begun there is something else; no FAISS; rows that cannot be read; a
            disk that is full.
    """
    load_faiss()
    out = expanded(out)
    if out.exists():
        raise InputError(f"{out} exists already: give another folder, or delete it")
    work = out.with_name(f".{out.name}-begun")
    with claimed(work):
        try:
            building = _Building(stream, work, settings, threads, out)
            if not building.state["finished"]:
                building.train(tell)
                tell("rows")
                building.encode(progress)
                tell("order")
                building.write_lists()
                building.finish()
        except OSError as error:
            raise InputError(f"cannot write {work}: {error.strerror or error}") from error
    work.rename(out)
    (out / STATE).unlink()
    return read_index_folder(out)


def note_check(folder: IndexFolder, checked: dict[str, Any]) -> IndexFolder:
    """Writes into the description what was measured of the finished gallery."""
    write_json(folder.path / DESCRIPTION, {**folder.content, "checked": checked})
    return read_index_folder(folder.path)


class _Building:
    """The work on one gallery; each step does nothing where it was done before."""

    def __init__(self, stream: VectorStream, work: Path, settings: CodeSettings, threads: int | None, out: Path):
        self.stream = stream
        self.work = work
        self.settings = settings
        self.threads = threads
        inputs = {
            "format": FORMAT,
            "rows": len(stream),
            "size": stream.size,
            "settings": asdict(settings),
            "identity": stream.identity(),
        }
        self.state = self._found(inputs, out)
        if self.state is None:
            self.state = {"inputs": inputs, "trained": None, "rows": 0, "seconds": {}, "finished": False}
            self._check_space()

    def train(self, tell: Callable[[str], None]) -> None:
        if self.state["trained"] is None:
            began = time.perf_counter()
            index, trained_on = train(
                self.stream.sample, self.stream.size, self.settings, threads=self.threads, tell=tell
            )
            with replacing(self.work / TRAINED) as temporary:
                write_trained(index, temporary)
            self._keep(trained=trained_on, **self._spent("training", began))

    def encode(self, progress: Callable[[int], None]) -> None:
        begin = self.state["rows"]
        progress(begin)
        if begin == len(self.stream):
            return
        began, kept = time.perf_counter(), begin
        arrays = self._arrays(new=begin == 0)
        index = _Coder(self.work / TRAINED)
        with threads_of_faiss(self.threads):
            for block in self.stream.blocks(begin):
                rows = slice(begin, begin + len(block))
                if rows.stop > len(self.stream):
                    raise InputError(f"there are more rows than the {len(self.stream):,} that were announced")
                arrays["owners"][rows], arrays["codes"][rows] = index.encode(block.vectors)
                _note_labels(arrays, rows, block)
                begin = rows.stop
                if begin - kept >= KEPT_EVERY:
                    _flush(arrays)
                    self._keep(rows=begin, **self._spent("rows", began))
                    began, kept = time.perf_counter(), begin
                progress(len(block))
        if begin != len(self.stream):
            raise InputError(f"there are {begin:,} rows, but {len(self.stream):,} were announced")
        _flush(arrays)
        self._keep(rows=begin, **self._spent("rows", began))

    def write_lists(self) -> None:
        began = time.perf_counter()
        owners, codes = (np.load(self.work / f"{name}.npy", mmap_mode="r") for name in ("owners", "codes"))
        order = np.argsort(owners, kind="stable")
        sizes = np.bincount(owners, minlength=self.settings.lists).astype(np.int64)
        codes = np.asarray(codes)
        with replacing(self.work / LISTS) as temporary, temporary.open("wb") as file:
            first = 0
            for size in sizes:
                rows = order[first : first + size]
                for begin in range(0, size, _COPIED):
                    file.write(codes[rows[begin : begin + _COPIED]].data)
                file.write(rows.astype(np.int64).data)
                first += size
        with replacing(self.work / SIZES) as temporary, temporary.open("wb") as file:
            np.save(file, sizes)
        self._keep(**self._spent("order", began))

    def finish(self) -> None:
        """All but the rename."""
        inputs = self.state["inputs"]
        content = {
            "format": FORMAT,
            "rows": inputs["rows"],
            "size": inputs["size"],
            "settings": inputs["settings"],
            "training": self.state["trained"],
            "files": list(self.stream.files),
            "embeddings": self.stream.description,
            "seconds": self.state["seconds"],
            "checked": None,
        }
        write_json(self.work / DESCRIPTION, content)
        self._keep(finished=True)
        for name in ("codes.npy", "owners.npy"):
            (self.work / name).unlink()

    def _found(self, inputs: dict[str, Any], out: Path) -> dict[str, Any] | None:
        """What an earlier run left."""
        try:
            state = json.loads((self.work / STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if state["inputs"] != inputs:
            before, now = state["inputs"], inputs
            what = "settings" if before["identity"] == now["identity"] else "embeddings"
            raise InputError(f"{out} was begun with other {what}: give the same again, or delete {self.work}")
        return state

    def _check_space(self) -> None:
        """A full disk would end the process without a word, as the arrays are mapped."""
        labels = sum(np.dtype(kind).itemsize for kind in LABELS.values())
        needed = len(self.stream) * (2 * self.settings.bytes + ROW_BYTES + np.dtype("int32").itemsize + labels)
        free = shutil.disk_usage(self.work).free
        if free < needed:
            raise InputError(
                f"{self.work.parent} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are needed: free some, or "
                "put the gallery elsewhere"
            )

    def _arrays(self, new: bool) -> dict[str, np.memmap]:
        shapes = {"codes": ("uint8", (len(self.stream), self.settings.bytes)), "owners": ("int32", (len(self.stream),))}
        shapes |= {name: (kind, (len(self.stream),)) for name, kind in LABELS.items()}
        mode = "w+" if new else "r+"
        return {
            name: np.lib.format.open_memmap(self.work / f"{name}.npy", mode, kind, shape)
            if new
            else np.load(self.work / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
            for name, (kind, shape) in shapes.items()
        }

    def _keep(self, **changes: Any) -> None:
        self.state |= changes
        write_json(self.work / STATE, self.state)

    def _spent(self, step: str, began: float) -> dict[str, Any]:
        before = self.state["seconds"]
        return {"seconds": {**before, step: before.get(step, 0.0) + time.perf_counter() - began}}


class _Coder:
    """Lists and codes of vectors, by a trained index."""

    def __init__(self, trained: Path):
        faiss = load_faiss()
        self._pointer = faiss.swig_ptr
        self._index = read_trained(trained)
        self._projection = faiss.downcast_VectorTransform(self._index.chain.at(0))
        self._inverted = faiss.downcast_index(self._index.index)

    def encode(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n], and uint8 [n, bytes]."""
        projected = self._projection.apply(vectors)
        owners = self._inverted.quantizer.search(projected, 1)[1].ravel()
        codes = np.empty((len(vectors), self._inverted.code_size), dtype=np.uint8)
        self._inverted.encode_vectors(len(vectors), *map(self._pointer, (projected, owners, codes)))
        return owners, codes


def _note_labels(arrays: dict[str, np.ndarray], rows: slice, block: Block) -> None:
    for name in LABELS:
        arrays[name][rows] = block.frames if name == "frames" else getattr(block.labels, name)


def _flush(arrays: dict[str, np.memmap]) -> None:
    for array in arrays.values():
        array.flush()

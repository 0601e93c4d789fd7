"""The galleries of bench.search: built, and searched for queries whose nearest rows are known, each in a process of its
own, so that its memory can be read."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.made_up_embeddings import BLOCK, SIZE, Block, Population
from bench.spreads import rounded, spread
from strf_cuda.embeddings import Embeddings, encode_paths, write_embeddings
from strf_cuda.retrieval import CompressedGallery, ExactGallery, Matches, streams
from strf_cuda.retrieval.building import build_index
from strf_cuda.retrieval.coding import choose_settings
from strf_cuda.retrieval.gallery import Labels
from strf_cuda.retrieval.index_folder import read_index_folder
from strf_cuda.retrieval.recall import NEAREST, compare, nearest_of_parts

BATCH = 100
_SINGLE = 100  # queries one at a time
_SINGLE_EXACT = 5
DESCRIPTION = {"fingerprint": "made up"}


@dataclass(frozen=True)
class Task:
    """A gallery of so many rows.

    Attributes:
        folder: where its files are.
        kept: whether its vectors are written to embeddings files, or drawn again whenever they are needed.
        queries: how many.
        threads: of FAISS.
    """

    rows: int
    folder: Path
    kept: bool
    queries: int
    threads: int

    @property
    def population(self) -> Population:
        return Population(seed=0)

    @property
    def files(self) -> list[Path]:
        return [self.folder / f"{number:03d}.safetensors" for number in range(-(-self.rows // BLOCK))]

    @property
    def truth(self) -> Path:
        return self.folder / "truth.npy"

    def index(self, codes: str) -> Path:
        return self.folder / codes

    def asked(self) -> Block:
        return self.population.queries(self.queries, self.rows)

    def blocks(self, begin: int = 0) -> Iterator[Block]:
        """Drawn from the seed; `begin` is the first row of a block."""
        population = self.population
        for first in range(begin, self.rows, BLOCK):
            yield population.block(first // BLOCK, min(BLOCK, self.rows - first))


def alone(work: Callable, *arguments):
    """What `work` returns, called in a fresh process, with "memory_mb", the most that this had for itself.

    Mapped files are not in it: the system keeps of them what there is room for.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, work, *arguments).result()


def _measured(work: Callable, *arguments) -> dict:
    most, ended = [_memory("RssAnon")], threading.Event()

    def watch():
        while not ended.wait(0.05):
            most[0] = max(most[0], _memory("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    result = work(*arguments)
    ended.set()
    watcher.join()
    return {**result, "memory_mb": rounded(most[0])}


def _memory(name: str) -> float:
    """Of this process, in MB, as Linux counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def write_files(task: Task) -> dict:
    """The embeddings files of a gallery that is kept."""
    began = time.perf_counter()
    for path, block in zip(task.files, task.blocks(), strict=True):
        write_embeddings(path, _embeddings(block))
    return {"seconds": rounded(time.perf_counter() - began), "bytes": sum(path.stat().st_size for path in task.files)}


def search_exactly(task: Task) -> dict:
    """Finds the truth in the embeddings files, and times that."""
    asked = task.asked()
    truth = nearest_of_parts(_parts(task), asked.vectors, NEAREST).rows
    np.save(task.truth, truth)

    def search(queries):
        nearest_of_parts(_parts(task), queries, NEAREST)

    return {
        **_recall(task, truth, task.population.persons(task.rows)),
        "ms": _times(search, asked.vectors, _SINGLE_EXACT),
    }


def build(task: Task, codes: str) -> dict:
    """Builds a compressed gallery; of one that is not kept, the truth is found on the way."""
    stream = streams.FileStream(task.files) if task.kept else Drawn(task)
    folder = build_index(stream, task.index(codes), choose_settings(task.rows, SIZE, codes=codes), threads=task.threads)
    seconds = dict(folder.content["seconds"])
    if not task.kept:
        seconds["rows"] -= stream.seconds
        stream.keep()
    return {
        "settings": asdict(folder.settings),
        "seconds": {step: rounded(spent) for step, spent in seconds.items()},
        "share_of_squared_length_kept": rounded(folder.content["training"]["share_of_squared_length_kept"]),
        "bytes": folder.bytes(),
    }


def search_compressed(task: Task, codes: str, candidates: int) -> dict:
    """Recall and time with more and more lists."""
    folder = read_index_folder(task.index(codes))
    asked, found = task.asked(), []
    default = folder.settings.probes
    gallery = CompressedGallery(folder, candidates=candidates, threads=task.threads)
    assert gallery.refines == (candidates > 0)
    steps = (default // 8, default // 4, default // 2, default, 2 * default)
    for probes in sorted({min(folder.settings.lists, step) for step in steps if step}):
        gallery.probes = probes
        rows = gallery.search(asked.vectors, NEAREST).rows
        found.append(
            {
                "probes": probes,
                **_recall(task, rows, gallery.labels.persons),
                "ms": _times(partial(gallery.search, k=NEAREST), asked.vectors, _SINGLE),
            }
        )
    return {"default_probes": default, "by_probes": found}


class Drawn(streams.VectorStream):
    """A gallery whose vectors are drawn when they are needed and kept nowhere.

    On the way through all of them the rows nearest to the queries are found, once.

    Attributes:
        seconds: spent on drawing and on finding these, in `blocks`.
    """

    def __init__(self, task: Task):
        self.size, self.description = SIZE, DESCRIPTION
        self.seconds = 0.0
        self._task = task
        self._nearest = None if task.truth.exists() else _Running(task.asked().vectors)

    def __len__(self) -> int:
        return self._task.rows

    def identity(self) -> dict:
        return {"seed": 0}

    def blocks(self, begin: int = 0) -> Iterator[streams.Block]:
        began = time.perf_counter()
        for block in self._task.blocks(begin):
            if self._nearest is not None:
                self._nearest.add(block)
            unknown = np.full(len(block.persons), np.nan)
            self.seconds += time.perf_counter() - began
            labels = Labels(block.persons, block.cameras, unknown, unknown)
            yield streams.Block(block.vectors, labels, np.ones(len(block.persons), np.int64))
            began = time.perf_counter()

    def sample(self, rows: int, seed: int) -> Iterator[np.ndarray]:
        """The first rows of blocks at even distances."""
        population, blocks = self._task.population, -(-self._task.rows // BLOCK)
        used = min(blocks, 100)
        for number in np.linspace(0, blocks - 1, used).astype(int):
            yield population.block(int(number), min(BLOCK, -(-rows // used))).vectors

    def keep(self) -> None:
        """Writes what was found."""
        if self._nearest is not None:
            np.save(self._task.truth, self._nearest.matches.rows)


class _Running:
    """The nearest of all rows that were added."""

    def __init__(self, queries: np.ndarray):
        self._queries = queries
        self._rows = 0
        self.matches = Matches(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))

    def add(self, block: Block) -> None:
        new = ExactGallery(_embeddings(block)).search(self._queries, NEAREST)
        rows = np.concatenate([self.matches.rows, new.rows + self._rows], axis=1)
        distances = np.concatenate([self.matches.distances, new.distances], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :NEAREST]
        self.matches = Matches(*(np.take_along_axis(array, order, axis=1) for array in (rows, distances)))
        self._rows += len(block.persons)


def _recall(task: Task, rows: np.ndarray, persons: np.ndarray) -> dict:
    """Of the rows found [queries, NEAREST], where `persons` are those of all rows."""
    truth = np.load(task.truth)
    unused = np.empty_like(truth, dtype=np.float32)
    labels = Labels(persons, persons, unused, unused)
    return asdict(compare(Matches(truth, unused), Matches(rows, unused), labels, task.asked().persons))


def _embeddings(block: Block) -> Embeddings:
    rows = len(block.persons)
    paths, ends = encode_paths([["made up"]] * rows)
    unknown = np.full(rows, np.nan)
    lists = np.full(rows, 4, np.uint8)
    return Embeddings(
        block.vectors, block.persons, block.cameras, np.ones(rows, np.int64), unknown, unknown, lists, paths, ends,
        DESCRIPTION,
    )  # fmt: skip


def _parts(task: Task) -> Iterator[ExactGallery]:
    return (ExactGallery.open(path) for path in task.files)


def _times(search: Callable, queries: np.ndarray, singles: int) -> dict:
    """Milliseconds a query, one at a time and of the first hundred at once."""

    def milliseconds(some: np.ndarray) -> float:
        began = time.perf_counter()
        search(some)
        return 1000 * (time.perf_counter() - began) / len(some)

    one = [milliseconds(queries[query : query + 1]) for query in range(min(singles, len(queries)))]
    return {"one": spread(one), "of_100": rounded(milliseconds(queries[:BATCH]))}

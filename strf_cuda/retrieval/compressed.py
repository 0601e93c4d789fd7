"""Search in a compressed gallery: of codes near the query, and among the nearest of these by the exact vectors.

A query is compared with the codes in the lists whose centres are nearest to it. Where the embeddings files are still
there, the vectors of the best candidates are read from them and compared again: distances are exact then, and what the
codes have blurred is put right. Only rows that may answer are ever candidates, and where fewer than k are found, more
lists are read, up to all of them: k rows come back wherever k may answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strf_cuda.embeddings import Embeddings, read_embeddings
from strf_cuda.errors import InputError
from strf_cuda.retrieval.faiss_library import load_faiss, read_trained, threads_of_faiss
from strf_cuda.retrieval.gallery import Gallery, Matches
from strf_cuda.retrieval.index_folder import LISTS, ROW_BYTES, TRAINED, IndexFolder, read_index_folder
from strf_cuda.retrieval.streams import JoinedRows, digest

CANDIDATES = 200  # for each query, where the exact vectors are read
# More are asked for where the query's own person by its own camera is left out: as many tracklets as there may be.
_JUNK = 50
_EXPECTED = 4  # times as many rows that may answer as are asked for should be in the lists that are read


class CompressedGallery(Gallery):
    """A gallery built by `strf_cuda.index`.

    Args:
        folder: its folder.
        probes: lists that are read for each query; None for the gallery's own number.
        candidates: rows for each query that are compared by their exact vectors, at least k; 0 for none, so that
            distances are those of codes.
        threads: of FAISS; None for its own choice. One query is searched by one thread.

    Attributes:
        probes, candidates, threads: as given; they may be changed at any time.
        notes: why the exact vectors are not read, where they are not.
        refines: whether they are.

    Raises:
        InputError: a number out of range, a damaged folder, or no FAISS.
    """

    def __init__(
        self,
        folder: IndexFolder,
        *,
        probes: int | None = None,
        candidates: int = CANDIDATES,
        threads: int | None = None,
    ):
        settings = folder.settings
        if probes is not None and not 1 <= probes <= settings.lists:
            raise InputError(f"probes is {probes}, but {folder.path} has {settings.lists} lists: give 1 to that many")
        if candidates < 0:
            raise InputError(f"candidates is {candidates}, but it must be 0 or more")
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}, but it must be 1 or more")
        self.source = str(folder.path)
        self.folder = folder
        self.labels, self.frames = folder.labels()
        self.description = folder.content["embeddings"]
        self.size = folder.content["size"]
        self.probes = probes or settings.probes
        self.candidates = candidates
        self.threads = threads
        self._lists = settings.lists
        self._codes = _Codes(folder)
        self._files = _Files(folder)
        self.refines = candidates > 0 and self._files.rows is not None
        if candidates > 0 and not self.refines:
            self.notes = [f"distances are those of codes: {self._files.missing}"]

    @classmethod
    def open(cls, path: str | Path) -> "CompressedGallery":
        """The gallery of a folder, with its own settings."""
        return cls(read_index_folder(path))

    def paths_of(self, row: int) -> list[str]:
        """As of every gallery; none where the embeddings file, which knows them, is not there any more."""
        return [] if self._files.rows is None else self._files.rows.paths_of(row)

    def vectors_of(self, rows: Sequence[int]) -> np.ndarray:
        """As of every gallery; refused where the embeddings file is not there any more."""
        if self._files.rows is None:
            raise InputError(f"the embeddings of {self.source} are not known: {self._files.missing}")
        rows, places = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
        return self._files.rows.vectors(rows)[places]

    def _search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, junk: tuple[np.ndarray, np.ndarray] | None
    ) -> Matches:
        count = min(len(self), max(k, self.candidates) if self.refines else k)
        # A team of threads costs more than one query.
        with threads_of_faiss(1 if len(queries) == 1 else self.threads):
            projected = self._codes.project(queries)
            members = len(self) if allowed is None else int(np.count_nonzero(allowed))
            asked = min(len(self), count + (_JUNK if junk is not None else 0))
            found = self._codes.nearest(projected, asked, self._enough(asked, members), allowed)
            if junk is not None:
                found.leave_out(self._is_junk(found.rows, *junk))
            for query in np.flatnonzero(found.counts() < min(k, members)):
                own = allowed
                if junk is not None:
                    own = ~self._is_junk(slice(None), junk[0][query], junk[1][query])
                    own = own if allowed is None else own & allowed
                found.put(query, self._until_enough(projected[query : query + 1], k, count, own))
        return self._refined(queries, found, k, count) if self.refines else found.as_matches(k)

    def _enough(self, asked: int, members: int) -> int:
        """So many lists that they hold several times `asked` rows that may answer, if these are spread evenly."""
        return min(self._lists, max(self.probes, _EXPECTED * asked * self._lists // max(1, members)))

    def _until_enough(self, projected: np.ndarray, k: int, count: int, allowed: np.ndarray | None) -> "_Found":
        """Reads more and more lists for one query, until k rows are found or there are no more lists."""
        members = len(self) if allowed is None else int(np.count_nonzero(allowed))
        probes = self._enough(count, members)
        while True:
            found = self._codes.nearest(projected, count, probes, allowed)
            if probes == self._lists or found.counts()[0] >= min(k, members):
                return found
            probes = min(self._lists, 2 * probes)

    def _is_junk(self, rows, persons, cameras) -> np.ndarray:
        """Which of the rows, [..., n], show the same person by the same camera as the query or queries."""
        persons, cameras = (np.asarray(values)[..., None] for values in (persons, cameras))
        return (self.labels.persons[rows] == persons) & (self.labels.cameras[rows] == cameras)

    def _refined(self, queries: np.ndarray, found: "_Found", k: int, count: int) -> Matches:
        rows = np.full((len(queries), k), -1, np.int64)
        distances = np.full((len(queries), k), np.inf, np.float32)
        for query, vector in enumerate(queries):
            candidates = np.sort(found.rows[query][found.rows[query] >= 0][:count])  # one way through the file
            products = np.einsum("nf,f->n", self._files.rows.vectors(candidates), vector, dtype=np.float64)
            exact = np.maximum(1 - products, 0).astype(np.float32)
            order = np.argsort(exact, kind="stable")[:k]
            rows[query, : len(order)], distances[query, : len(order)] = candidates[order], exact[order]
        return Matches(rows, distances)


@dataclass(frozen=True)
class _Found:
    """Rows [Q, c], -1 for none, and their products with the queries, -inf for none; the largest first."""

    rows: np.ndarray
    products: np.ndarray

    def counts(self) -> np.ndarray:
        return (self.rows >= 0).sum(1)

    def leave_out(self, which: np.ndarray) -> None:
        """Takes rows [Q, c] away and closes the gaps."""
        self.rows[which], self.products[which] = -1, -np.inf
        order = np.argsort(-self.products, axis=1, kind="stable")
        for array in (self.rows, self.products):
            array[:] = np.take_along_axis(array, order, axis=1)

    def put(self, query: int, other: "_Found") -> None:
        """What was found for one query alone takes the place of what is here."""
        self.rows[query], self.products[query] = -1, -np.inf
        width = other.rows.shape[1]
        self.rows[query, :width], self.products[query, :width] = other.rows[0], other.products[0]

    def as_matches(self, k: int) -> Matches:
        rows = np.full((len(self.rows), k), -1, np.int64)
        distances = np.full((len(self.rows), k), np.inf, np.float32)
        width = min(k, self.rows.shape[1])
        rows[:, :width] = self.rows[:, :width]
        distances[:, :width] = np.maximum(1 - self.products[:, :width], 0)
        distances[rows < 0] = np.inf
        return Matches(rows, distances)


class _Codes:
    """The trained index of a folder, its lists mapped from the disk."""

    def __init__(self, folder: IndexFolder):
        faiss = load_faiss()
        sizes = folder.sizes()
        try:
            self._index = read_trained(folder.path / TRAINED)
            self._projection = faiss.downcast_VectorTransform(self._index.chain.at(0))
            self._inverted = faiss.downcast_index(self._index.index)
        except (OSError, RuntimeError, AttributeError) as error:
            raise InputError(f"{folder.path} is no sound compressed gallery: {TRAINED}: {error}") from None
        path = folder.path / LISTS
        expected = int(sizes.sum()) * (self._inverted.code_size + ROW_BYTES)
        length = path.stat().st_size if path.is_file() else 0
        if length != expected or len(sizes) != self._inverted.nlist:
            raise InputError(f"{folder.path} is damaged: {LISTS} has {length:,} bytes instead of {expected:,}")
        self._mapped = self._map_lists(path, sizes)
        self._inverted.replace_invlists(self._mapped, False)
        self._inverted.ntotal = self._index.ntotal = int(sizes.sum())

    def project(self, vectors: np.ndarray) -> np.ndarray:
        return self._projection.apply(vectors)

    def nearest(self, projected: np.ndarray, count: int, probes: int, allowed: np.ndarray | None) -> _Found:
        faiss = load_faiss()
        options = {"nprobe": probes}
        if allowed is not None:
            options["sel"] = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        products, rows = self._inverted.search(projected, count, params=faiss.SearchParametersIVF(**options))
        products[rows < 0] = -np.inf
        return _Found(rows, products)

    def _map_lists(self, path: Path, sizes: np.ndarray):
        """What FAISS does when it reads such lists, which it would announce on the standard output."""
        faiss = load_faiss()
        lists = faiss.OnDiskInvertedLists()
        lists.nlist, lists.code_size = len(sizes), self._inverted.code_size
        lists.read_only, lists.totsize = True, path.stat().st_size
        lists.prefetch_nthread = 0  # starting threads takes longer than reading what the system has in memory
        ends = np.cumsum(sizes)
        places = (ends - sizes) * (lists.code_size + ROW_BYTES)
        table = np.ascontiguousarray(np.stack([sizes, sizes, places], axis=1), dtype=np.uint64)  # size, capacity, place
        lists.lists.resize(len(sizes))
        faiss.memcpy(lists.lists.data(), faiss.swig_ptr(table), table.nbytes)
        if lists.totsize:
            with path.open("rb") as file:
                lists.filename = f"/dev/fd/{file.fileno()}"  # since FAISS takes names in UTF-8 alone
                lists.do_mmap()
        return lists


class _Files:
    """The embeddings files that a gallery was built from, where they are still the same.

    Attributes:
        missing: why their vectors cannot be read, or None.
        rows: of all of them, where they can.
    """

    def __init__(self, folder: IndexFolder):
        files = folder.content["files"]
        self.missing: str | None = None if files else "it was built from embeddings that were not kept"
        embeddings: list[Embeddings] = []
        for file in files:
            try:
                embeddings.append(_same_as_then(file, folder))
            except InputError as error:
                self.missing = str(error)
                break
        self.rows = None if self.missing else JoinedRows(embeddings)


def _same_as_then(file: dict, folder: IndexFolder) -> Embeddings:
    """An embeddings file where it was, or beside the gallery.

    Raises:
        InputError: it is not there, or not the same any more.
    """
    path = Path(file["path"])
    beside = folder.path.absolute().parent / path.name
    if not path.is_file() and not beside.is_file():
        raise InputError(f"{path} is not there any more, nor {beside}")
    path = path if path.is_file() else beside
    embeddings = read_embeddings(path)
    if len(embeddings) != file["rows"] or digest(embeddings) != file["digest"]:
        raise InputError(f"{path} has changed since {folder.path} was built: build that anew")
    return embeddings

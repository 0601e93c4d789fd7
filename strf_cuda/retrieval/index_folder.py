"""The folder of a compressed gallery.

    index.json      how it was built and from what
    trained.faiss   projection, centres of the lists and quantiser, an index of FAISS without rows
    lists.bin       list after list: the codes of its rows, then the rows as int64, both in the rows' order
    sizes.npy       int64 [lists], how many rows each list has
    persons.npy     and cameras, frames int64 [n], start, end float64 [n]: the labels

All but index.json and trained.faiss are read memory-mapped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.contents import read_json
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.retrieval.coding import CodeSettings
from strf_cuda.retrieval.gallery import Labels

FORMAT = 1
DESCRIPTION = "index.json"
TRAINED = "trained.faiss"
LISTS = "lists.bin"
SIZES = "sizes.npy"
LABELS = {"persons": "int64", "cameras": "int64", "start": "float64", "end": "float64", "frames": "int64"}
ROW_BYTES = 8  # a row's number in lists.bin


@dataclass(frozen=True)
class IndexFolder:
    """A compressed gallery on the disk.

    Attributes:
        path: the folder.
        content: of index.json: "format", "rows", "size" (of the vectors), "settings", "training", "files" (path, rows
            and digest of each embeddings file), "embeddings" (their description), "seconds" (of each step), "checked"
            (what the nearest rows that it finds were measured to be worth, or None).
    """

    path: Path
    content: dict[str, Any]

    @property
    def settings(self) -> CodeSettings:
        return CodeSettings(**self.content["settings"])

    def labels(self) -> tuple[Labels, np.ndarray]:
        """The labels of all rows, and how many frames each has.

        Raises:
            InputError: a file is missing or of the wrong size.
        """
        arrays = {name: self._array(f"{name}.npy", kind, self.content["rows"]) for name, kind in LABELS.items()}
        frames = arrays.pop("frames")
        return Labels(**arrays), frames

    def sizes(self) -> np.ndarray:
        """Rows of each list, int64 [lists]; errors as `labels`."""
        sizes = self._array(SIZES, "int64", self.settings.lists)
        if sizes.sum() != self.content["rows"]:
            raise InputError(f"{self.path} is damaged: its lists do not hold {self.content['rows']:,} rows")
        return sizes

    def bytes(self) -> int:
        """Of all its files."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())

    def _array(self, name: str, kind: str, length: int) -> np.ndarray:
        try:
            array = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path} is no sound compressed gallery: {name}: {error}") from None
        if array.shape != (length,) or array.dtype != kind:
            raise InputError(f"{self.path} is damaged: {name} holds {array.dtype} {list(array.shape)}")
        return np.asarray(array)


def is_index_folder(path: str | Path) -> bool:
    """Whether this is the folder of a compressed gallery."""
    return (Path(path) / DESCRIPTION).is_file()


def read_index_folder(path: str | Path) -> IndexFolder:
    """Opens the folder.

    Raises:
        InputError: it is missing, damaged or holds something else.
    """
    path = expanded(path)
    try:
        content = read_json(path / DESCRIPTION)
    except FileNotFoundError:
        raise InputError(f"{path} is no compressed gallery of strf_cuda.index: it has no {DESCRIPTION}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path / DESCRIPTION}: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise InputError(f"{path} has format {found}, but this version reads format {FORMAT}")
    return IndexFolder(path, content)

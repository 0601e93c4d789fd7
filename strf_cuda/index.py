"""`python -m strf_cuda.index EMBEDDINGS... --out INDEX`: a compressed gallery, for more tracklets than memory holds."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from strf_cuda.cli import load_config, run
from strf_cuda.errors import InputError
from strf_cuda.settings import check_at_least

if TYPE_CHECKING:
    from strf_cuda.retrieval.index_folder import IndexFolder
    from strf_cuda.retrieval.streams import FileStream

PROG = "python -m strf_cuda.index"


@dataclass(frozen=True)
class IndexConfig:
    """Builds a compressed gallery of embeddings files, which strf_cuda.search opens in place of one.

    Given again after it was stopped, it goes on where it was. The files may be given without a name:
    python -m strf_cuda.index EMBEDDINGS... --out INDEX

    Args:
        embeddings: embeddings files of strf_cuda.extract, all of the same model
        out: folder for the gallery, a new one
        codes: pq for the smallest codes, sq8 for larger ones that find more
        dimensions: numbers that are left of an embedding before it is coded; null takes 256, with sq8 512
        bytes: of each code with pq, a divisor of dimensions; null takes a quarter of them
        lists: inverted lists; null chooses by the number of tracklets
        queries: tracklets to measure the finished gallery with against exact search; 0 measures nothing
        threads: of the computation; null takes all processor cores
        seed: of the training sample and all that is random
    """

    embeddings: tuple[str, ...] = ()
    out: str | None = None
    codes: Literal["pq", "sq8"] = "pq"
    dimensions: int | None = None
    bytes: int | None = None
    lists: int | None = None
    queries: int = 200
    threads: int | None = None
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    config = read_options(sys.argv[1:] if argv is None else argv)

    from tqdm import tqdm

    from strf_cuda.retrieval.building import build_index
    from strf_cuda.retrieval.coding import ROWS_WORTH_IT, choose_settings
    from strf_cuda.retrieval.streams import FileStream

    began = time.monotonic()
    stream = FileStream(config.embeddings)
    settings = choose_settings(
        len(stream),
        stream.size,
        codes=config.codes,
        dimensions=config.dimensions,
        code_bytes=config.bytes,
        lists=config.lists,
        seed=config.seed,
    )
    print(
        f"{len(stream):,} embeddings of {stream.size:,} numbers: {settings.dimensions} dimensions, codes "
        f"{settings.codes} of {settings.bytes} bytes, {settings.lists:,} lists",
        flush=True,
    )
    if len(stream) < ROWS_WORTH_IT:
        print(
            f"note: exact search of {len(stream):,} embeddings takes milliseconds too; codes pay from some "
            f"{ROWS_WORTH_IT:,} on"
        )
    with tqdm(total=len(stream), unit="tracklet", unit_scale=True, disable=None, leave=False) as bar:
        folder = build_index(
            stream,
            config.out,
            settings,
            threads=config.threads,
            tell=lambda step: bar.set_description(_STEPS[step]),
            progress=bar.update,
        )
    spent = folder.content["seconds"]
    steps = ", ".join(f"{step} {seconds:,.0f} s" for step, seconds in spent.items())
    size = folder.bytes()
    print(f"{config.out}: {size / 1e6:,.1f} MB, {size / len(stream):,.0f} bytes a tracklet ({steps})")
    kept = folder.content["training"]["share_of_squared_length_kept"]
    print(f"{settings.dimensions} dimensions keep {kept:.1%} of the squared length")
    if config.queries:
        print(_check(folder, stream, config))
    seconds = time.monotonic() - began
    print(f"built in {seconds:,.0f} s; search it with python -m strf_cuda.search {shlex.quote(config.out)}")


def read_options(words: Sequence[str]) -> IndexConfig:
    """The configuration from a command line.

    Raises:
        InputError: options that no gallery can be built with.
    """
    config = load_config(IndexConfig, words, prog=PROG, positional=["embeddings"])
    if not config.embeddings or config.out is None:
        raise InputError(
            f"both embeddings files and a folder for the gallery are needed: {PROG} EMBEDDINGS --out INDEX"
        )
    check_at_least(config, dimensions=1, bytes=1, lists=1, queries=0, threads=1, seed=0)
    return config


_STEPS = {
    "projection": "training the projection",
    "lists": "training the lists",
    "codes": "training the codes",
    "rows": "coding",
    "order": "putting codes in order",
}


def _check(folder: "IndexFolder", stream: "FileStream", config: IndexConfig) -> str:
    """Measures the gallery and notes that in its description; a table."""
    from dataclasses import asdict

    from strf_cuda.markdown import aligned
    from strf_cuda.retrieval.building import note_check
    from strf_cuda.retrieval.compressed import CompressedGallery
    from strf_cuda.retrieval.recall import measure_recall

    kinds = {"exact vectors of the best": {}, "codes alone": {"candidates": 0}}
    measured = {
        kind: measure_recall(
            CompressedGallery(folder, threads=config.threads, **options), stream, config.queries, config.seed
        )
        for kind, options in kinds.items()
    }
    note_check(folder, {kind: asdict(recall) for kind, recall in measured.items()})
    rows = [
        [kind, *map(_percent, (recall.rank_1, recall.nearest_10, recall.right, recall.right_exactly))]
        for kind, recall in measured.items()
    ]
    header = ["distances by", "the nearest first", "of the ten nearest", "right person first", "by exact search"]
    one = measured["codes alone"]
    left_out = "themselves" if one.right is None else "their own person by their own camera"
    told = f"against exact search, {one.queries:,} of the tracklets as queries, {left_out} left out:"
    return f"{told}\n{aligned(header, rows)}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


if __name__ == "__main__":
    raise SystemExit(run(main))

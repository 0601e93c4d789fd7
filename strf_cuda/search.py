"""`python -m strf_cuda.search GALLERY QUERY`: finds the nearest people for tracklets."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from strf_cuda.cli import load_config, run
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.settings import check_at_least, given

if TYPE_CHECKING:
    from strf_cuda.retrieval import Gallery, Selection
    from strf_cuda.retrieval.queries import Queries

PROG = "python -m strf_cuda.search"
QUERIES = "a query is a folder of frames, a picture, or an embeddings file"


@dataclass
class SearchConfig:
    """Finds the nearest people for tracklets among embedded ones.

    Gallery and query may be given without their names: python -m strf_cuda.search GALLERY QUERY. Without a query, rows
    of the gallery itself are searched for.

    Args:
        gallery: an embeddings file of strf_cuda.extract, or a folder of strf_cuda.index
        query: a folder of frames, or of such folders, a single picture, or an embeddings file
        rows: which rows of the query's file, or of the gallery, such as 3,17; null for all of the query's file
        checkpoint: the model that made the gallery, to embed pictures; as in strf_cuda.extract
        top: how many answers; -k is short for it
        cameras: only these, by number or name, such as 1,2
        since: only tracklets that end then or later; seconds, h:mm:ss, or date and time
        until: only tracklets that begin then or earlier
        by_person: the nearest tracklet of each of the nearest known people
        keep_junk: also answer with tracklets of the query's person by its own camera, and with unknown people
        out: folder for matches.json and matches.png; null for none
        batch: clips in a batch, null for as many as the gallery was made with
        workers: processes that decode frames
        precision: arithmetic of the forward pass
        device: auto takes a GPU if there is one
    """

    gallery: str
    query: str | None = None
    rows: str | None = None
    checkpoint: str | None = None
    top: int = 10
    cameras: str | None = None
    since: str | None = None
    until: str | None = None
    by_person: bool = False
    keep_junk: bool = False
    out: str | None = None
    batch: int | None = None
    workers: int = 0
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"


def main(argv: Sequence[str] | None = None) -> None:
    """Searches, prints what was found, and writes it where `out` says.

    Raises:
        InputError: options, a gallery or a query that cannot be used, or that do not belong together.
    """
    config = read_options(sys.argv[1:] if argv is None else argv)

    from strf_cuda.files import writable_folder
    from strf_cuda.retrieval import open_gallery
    from strf_cuda.retrieval.finding import find
    from strf_cuda.retrieval.showing import (
        Namer,
        draw_matches,
        left_out_in_words,
        query_in_words,
        table,
        write_matches,
    )

    gallery = open_gallery(config.gallery)
    selection = _selection(config, gallery)
    allowed = gallery.allowed(selection)
    folder = None if config.out is None else writable_folder(expanded(config.out))
    queries = _queries(config, gallery)
    if not len(queries):
        raise InputError(f"{config.query} holds no tracklets to search for")
    counted = f"{len(gallery):,} tracklets" + ("" if allowed is None else f", {int(allowed.sum()):,} of them selected")
    print(f"{config.gallery}: {counted}")
    for note in gallery.notes:
        print(f"note: {note}")
    answers = find(
        gallery,
        queries,
        config.top,
        selection=selection,
        leave_out_junk=not config.keep_junk,
        by_person=config.by_person,
    )
    namer = Namer(gallery)
    for index, found in enumerate(answers):
        print(f"\n{query_in_words(queries, index, namer)}")
        print(left_out_in_words(found, bool(queries.known[index]), not config.keep_junk))
        print(table(gallery, found, namer) if len(found.rows) else "nobody is left to be found")
    if folder is not None:
        write_matches(folder / "matches.json", gallery, queries, answers)
        picture = any(gallery.paths_of(row) for found in answers for row in found.rows.tolist())
        if picture:
            draw_matches(folder / "matches.png", gallery, queries, answers)
        print(f"\nmatches.json {'and matches.png are' if picture else 'is'} in {folder}")


def read_options(words: Sequence[str]) -> SearchConfig:
    """The configuration from a command line.

    Raises:
        InputError: options that no search can use, or that do not go together.
    """
    words = ["--top" if word == "-k" else word for word in words]
    config = load_config(SearchConfig, words, prog=PROG, positional=["gallery", "query"])
    check_at_least(config, top=1, batch=1, workers=0)
    if config.query is None and config.rows is None:
        raise InputError("there is nobody to search for: give --query, or --rows of the gallery itself")
    _numbers("rows", config.rows)
    from strf_cuda.retrieval.times import read_time

    times = [read_time(name, text) for name in ("since", "until") if (text := getattr(config, name)) is not None]
    if len(times) == 2 and times[0] > times[1]:
        raise InputError(f"since is {config.since}, which is after until, {config.until}")
    return config


def _numbers(name: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise InputError(f"{name} is {text!r}, but it must be numbers with commas between them, such as 3,17") from None


def _selection(config: SearchConfig, gallery: "Gallery") -> "Selection":
    from strf_cuda.retrieval import Selection
    from strf_cuda.retrieval.times import read_time

    cameras = None
    if config.cameras is not None:
        numbers = {name: number for number, name in gallery.camera_names.items()}  # a name may look like a number
        cameras = []
        for word in map(str.strip, config.cameras.split(",")):
            if word not in numbers and not word.isdecimal():
                named = f": its cameras are {', '.join(numbers)}" if numbers else ", and its cameras have no names"
                raise InputError(f"the gallery {gallery.source} has no camera named {word!r}{named}")
            cameras.append(numbers[word] if word in numbers else int(word))
    since, until = (
        None if text is None else read_time(name, text)
        for name, text in (("since", config.since), ("until", config.until))
    )
    return Selection(cameras, since, until)


def _queries(config: SearchConfig, gallery: "Gallery") -> "Queries":
    from strf_cuda.data.indexing import is_image
    from strf_cuda.embeddings import read_embeddings
    from strf_cuda.retrieval.queries import embedded_queries, gallery_queries

    rows = _numbers("rows", config.rows)
    if config.query is None:
        return gallery_queries(gallery, rows)
    path = expanded(config.query)
    if not path.exists():
        raise InputError(f"there is no {path}: {QUERIES}")
    kind = "folder of frames" if path.is_dir() else "picture"
    if path.is_file() and not is_image(path.name):
        try:
            embeddings = read_embeddings(path)
        except InputError as error:
            raise InputError(f"{error}; {QUERIES}") from None
        return embedded_queries(embeddings, str(path), rows, gallery)
    if rows is not None:
        raise InputError(f"rows is {config.rows}, but {path} is a {kind}, which has no rows")
    if config.checkpoint is None:
        raise InputError(f"{path} is a {kind}: give the model that made the gallery, with --checkpoint, to embed it")
    return _embedded(config, path, gallery)


def _embedded(config: SearchConfig, path: Path, gallery: "Gallery") -> "Queries":
    """The tracklets of a folder, embedded with the settings of the gallery."""
    from strf_cuda.cli import from_dict
    from strf_cuda.config import ProtocolConfig
    from strf_cuda.devices import autocast_type, resolve_device
    from strf_cuda.embedding import embed_tracklets
    from strf_cuda.embeddings import Embeddings
    from strf_cuda.extraction.sources import folder_source
    from strf_cuda.faults import evaluation_needs, faults_told
    from strf_cuda.quiet import show_warnings_in_one_line
    from strf_cuda.retrieval.queries import embedded_queries
    from strf_cuda.trained import open_model

    show_warnings_in_one_line()
    source = folder_source(path)
    trained = open_model(config.checkpoint)
    gallery.check_model(trained.fingerprint, config.checkpoint)
    sizes = {name: gallery.description["data"][name] for name in ("height", "width", "frames")}
    data = replace(trained.config.data, workers=config.workers, **sizes)
    protocol = from_dict(ProtocolConfig, gallery.description["protocol"], gallery.source)
    protocol = replace(protocol, **given(batch=config.batch))
    model = trained.model.to(resolve_device(config.device))
    autocast = autocast_type(config.precision, config.device)
    with faults_told(*evaluation_needs(protocol, during_training=False, work="search")):
        vectors = embed_tracklets(model, source.tracklets, data, protocol, autocast=autocast)
    description = {
        "fingerprint": trained.fingerprint,
        "dataset": source.name,
        "person_names": source.person_names,
        "camera_names": source.camera_names,
    }
    embeddings = Embeddings(vectors.numpy(), **source.labels(range(len(source))), description=description)
    queries = embedded_queries(embeddings, config.checkpoint, None, gallery)
    titles = [str(Path(tracklet.paths[0]).parent) for tracklet in source.tracklets] if path.is_dir() else [str(path)]
    return replace(queries, titles=titles)


if __name__ == "__main__":
    raise SystemExit(run(main))

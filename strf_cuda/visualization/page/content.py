"""What the page shows, as JSON can hold it: the run, its figures, and every query with its ranked tracklets."""

import datetime
import math
import os
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from strf_cuda import __version__
from strf_cuda.cli import to_dict
from strf_cuda.config import DataConfig, ProtocolConfig
from strf_cuda.data.tracklets import DISTRACTOR_PERSON, Tracklet
from strf_cuda.evaluation import Evaluation
from strf_cuda.machine import version_of
from strf_cuda.meaning import masks_in_words
from strf_cuda.metrics import REPORTED_RANKS, DistanceTable, RankingResult
from strf_cuda.ordering import ranks_of
from strf_cuda.trained import TrainedModel
from strf_cuda.visualization.page.loops import Loop
from strf_cuda.visualization.page.separation import Separation, separate

CURVE_RANKS = 50  # ranks of the CMC curves
UNITS = {"strf": "STRF-{}", "none": "{}", "gram": "{} with Gram units", "nonlocal": "{} with non-local blocks"}


@dataclass(frozen=True)
class Rankings:
    """What the page shows of the rankings.

    Attributes:
        tracklets: the distinct ones among queries and answers, in the order of their pictures.
        queries: a row for each query: number of its tracklet, average precision, ranks of all its matches, numbers of
            the nearest tracklets, their distances, and [number, distance] of its first match where that lies deeper.
    """

    tracklets: list[Tracklet]
    queries: list[list[Any]]


def rankings(evaluation: Evaluation, top: int) -> Rankings:
    """The `top` nearest tracklets of every query."""
    queries, gallery = evaluation.dataset.query, evaluation.dataset.gallery
    numbers: dict[int, int] = {}
    tracklets: list[Tracklet] = []

    def number(tracklet: Tracklet) -> int:
        if id(tracklet) not in numbers:
            numbers[id(tracklet)] = len(tracklets)
            tracklets.append(tracklet)
        return numbers[id(tracklet)]

    ranks, first_matches = _matches(evaluation)
    rows = []
    for index, (query, nearest) in enumerate(zip(queries, evaluation.top(top).tolist(), strict=True)):
        places = [place for place in nearest if place >= 0]
        distances = [_rounded(evaluation.distances[index, place]) for place in places]
        first = None
        if ranks[index] and ranks[index][0] > top:
            place = first_matches[index]
            first = [number(gallery[place]), _rounded(evaluation.distances[index, place])]
        precision = float(evaluation.overall.average_precision[index])
        rows.append(
            [
                number(query),
                None if math.isnan(precision) else round(precision, 5),
                ranks[index],
                [number(gallery[place]) for place in places],
                distances,
                first,
            ]
        )
    return Rankings(tracklets, rows)


def _matches(evaluation: Evaluation) -> tuple[list[list[int]], np.ndarray]:
    """The ranks of every query's matches, and the gallery index of the nearest of them."""
    ranks: list[list[int]] = [[] for _ in evaluation.dataset.query]
    nearest = np.zeros(len(ranks), dtype=np.int64)
    for start, distances, matches, kept in _table(evaluation).chunks():
        nearest[start : start + len(distances)] = np.where(matches, distances, np.inf).argmin(axis=1)
        for query, rank in zip(*ranks_of(distances, matches, kept), strict=True):
            ranks[start + query].append(int(rank))
    return ranks, nearest


def _table(evaluation: Evaluation) -> DistanceTable:
    queries, gallery = evaluation.dataset.query, evaluation.dataset.gallery
    return DistanceTable(
        evaluation.distances,
        [tracklet.person_id for tracklet in queries],
        [tracklet.person_id for tracklet in gallery],
        [tracklet.camera_id for tracklet in queries],
        [tracklet.camera_id for tracklet in gallery],
    )


def page_content(
    trained: TrainedModel,
    data: DataConfig,
    protocol: ProtocolConfig,
    evaluation: Evaluation,
    shown: Rankings,
    loop: Loop,
    history: dict[str, Any],
) -> dict[str, Any]:
    """All that the page says, apart from the pictures.

    Args:
        data, protocol: those of the evaluation.
        history: what `run_history` gives.
    """
    dataset = evaluation.dataset
    persons, cameras, challenges = _Names(dataset.person_names, 4), _Names(dataset.camera_names, 0, "c"), _Names({}, 0)
    persons.names[DISTRACTOR_PERSON] = "distractor"
    tracklets = [
        [persons.number(each.person_id), cameras.number(each.camera_id), len(each), path]
        for each, path in zip(shown.tracklets, _first_frames(shown.tracklets), strict=True)
    ]
    queries = [
        [*row, None if query.challenge is None else challenges.number(query.challenge)]
        for row, query in zip(shown.queries, dataset.query, strict=True)
    ]
    return {
        "title": f"{model_name(trained)} on {dataset.name}",
        "notes": dataset.notes,
        "facts": _facts(trained, data, protocol, evaluation, history["epoch"]),
        "configuration": yaml.safe_dump(to_dict(trained.config), sort_keys=False, default_flow_style=None),
        "history": history,
        "figures": _figures(evaluation),
        "separation": _separation(separate(_table(evaluation))),
        "distance": "re-ranked distance" if evaluation.reranked else "cosine distance",
        "loop": {"frames": loop.frames, "width": loop.width, "height": loop.height},
        "persons": persons.listed,
        "cameras": cameras.listed,
        "challenges": challenges.listed,
        "tracklets": tracklets,
        "queries": queries,
    }


def model_name(trained: TrainedModel) -> str:
    """As papers write it: STRF-P3DC."""
    return UNITS[trained.config.model.unit].format(trained.config.model.kind.upper())


class _Names:
    """Numbers of names, in the order in which they first appear."""

    def __init__(self, names: dict[int, str], digits: int, prefix: str = ""):
        self.names, self.digits, self.prefix = dict(names), digits, prefix
        self.listed: list[str] = []
        self._numbers: dict[Any, int] = {}

    def number(self, key: int | str) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self.listed)
            plain = key if isinstance(key, str) else f"{self.prefix}{key:0{self.digits}d}"
            self.listed.append(self.names.get(key, plain))
        return self._numbers[key]


def _first_frames(tracklets: list[Tracklet]) -> list[str]:
    """The paths of the first frames, below the folder that all have in common."""
    paths = [str(tracklet.paths[0]) for tracklet in tracklets]
    try:
        common = os.path.commonpath(map(os.path.dirname, paths))
    except ValueError:  # a table may name some frames by relative and others by absolute paths
        return paths
    return [os.path.relpath(path, common) if common else path for path in paths]


def _facts(
    trained: TrainedModel, data: DataConfig, protocol: ProtocolConfig, evaluation: Evaluation, epoch: int | None
) -> list[dict[str, Any]]:
    """Headings with what stands under them: pairs of a term and its text."""
    config, dataset = trained.config, evaluation.dataset
    model, optimizer = config.model, config.optimizer
    parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    units = "none" if model.unit == "none" else f"{model.unit}, stages {', '.join(map(str, model.stages))}"
    if model.unit == "strf":
        units += f"; {masks_in_words(model)}"
    frames = protocol.frames or data.frames
    clips = "one clip of the whole tracklet" if frames == "all" else f"clips of {frames} frames"
    beyond = [name for name, on in {"flip": protocol.flip, "shuffled frames": protocol.shuffle_frames}.items() if on]
    if evaluation.reranked:
        beyond.append("re-ranked, " + ", ".join(f"{name} {value}" for name, value in evaluation.reranked.items()))
    return [
        {
            "heading": "Model",
            "rows": [
                ["blocks", f"{model.kind}, {'-'.join(map(str, model.depth))}, width {model.width}"],
                ["units", units],
                ["parameters", f"{parameters:,}"],
                ["checkpoint", trained.source + ("" if epoch is None else f", epoch {epoch}")],
                ["fingerprint", trained.fingerprint],
            ],
        },
        {
            "heading": "Data",
            "rows": [
                ["data set", f"{dataset.name}, read as {data.name}"],
                *([["split", str(data.split)]] if data.split is not None else []),
                ["folder", data.root or "the built-in set"],
                ["queries", _population(dataset.query)],
                ["gallery", _population(dataset.gallery)],
            ],
        },
        {
            "heading": "Protocol",
            "rows": [
                ["clips", f"{clips}, stride {protocol.stride}, {data.height}x{data.width} pixels"],
                ["average precision", protocol.average_precision],
                ["junk", "same person, same camera: left out"],
                ["beyond the paper", "; ".join(beyond) or "nothing"],
            ],
        },
        {
            "heading": "Training",
            "rows": [
                ["data set", config.data.name],
                ["epochs, seed", f"{config.epochs}, seed {config.seed}"],
                ["batch", f"{config.data.people} people x {config.data.clips} clips of {config.data.frames} frames"],
                ["Adam", f"learning rate {optimizer.learning_rate:g}, weight decay {optimizer.weight_decay:g}"],
            ],
        },
        {
            "heading": "This page",
            "rows": [
                ["written", datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")],
                ["strf_cuda", __version__],
                ["torch", version_of("torch")],
                ["python", platform.python_version()],
            ],
        },
    ]


def _population(tracklets: list[Tracklet]) -> str:
    people = {tracklet.person_id for tracklet in tracklets} - {DISTRACTOR_PERSON}
    cameras = {tracklet.camera_id for tracklet in tracklets}
    distractors = sum(tracklet.person_id == DISTRACTOR_PERSON for tracklet in tracklets)
    text = f"{len(tracklets):,} tracklets of {len(people):,} people by {len(cameras):,} cameras"
    return f"{text}, {distractors:,} of them distractors" if distractors else text


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    rows = []
    for name, result in evaluation.results.items():
        group = evaluation.within_groups.get(name)
        rows.append(
            {
                "name": name,
                "queries": len(result.average_precision),
                "matched": result.valid_queries,
                "mAP": _percent(result.mAP),
                **{f"rank-{rank}": _percent(result.rank(rank)) for rank in REPORTED_RANKS},
                "mINP": _percent(result.mINP),
                "cmc": _curve(result),
                "group": None
                if group is None or not group.queries
                else [_percent(group.rank1), _percent(group.chance)],
            }
        )
    return {"rows": rows, "chance": _percent(evaluation.chance)}


def _curve(result: RankingResult) -> list[float | None]:
    return [_percent(share) for share in result.cmc[:CURVE_RANKS]]


def _separation(found: Separation) -> dict[str, Any]:
    return {
        "edges": [round(float(edge), 5) for edge in found.edges],
        "same": found.same.tolist(),
        "different": found.different.tolist(),
        "overlap": None if found.overlap is None else _percent(found.overlap),
        "equal_error": None if found.equal_error is None else _percent(found.equal_error),
        "threshold": None if found.threshold is None else round(found.threshold, 5),
    }


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else round(100 * float(share), 3)


def _rounded(distance: float) -> float | None:
    return round(float(distance), 5) if math.isfinite(distance) else None

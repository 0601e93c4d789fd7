"""Evaluation of a model on a data set: embeddings, distances, figures by challenge, ranked results."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from strf_cuda.config import DataConfig, ProtocolConfig
from strf_cuda.data.tracklets import Tracklet, TrackletDataset
from strf_cuda.distributed import process_and_processes
from strf_cuda.embedding import cosine_distances, embed_tracklets
from strf_cuda.errors import InputError
from strf_cuda.metrics import (
    GroupResult,
    RankingResult,
    chance_mAP,
    evaluate_by_challenge,
    format_table,
    rank_within_group,
    top_matches,
)
from strf_cuda.reranking import rerank

LOOK_ALIKES = "look-alike"  # challenges that begin so are also ranked within their groups


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on a data set.

    Attributes:
        dataset: what was evaluated on.
        distances: float32 [Q, G]; re-ranked ones where `reranked` is not None.
        results: "all" and each challenge.
        within_groups: look-alikes ranked among themselves over other cameras, by challenge.
        chance: mAP of a random order of every query's gallery.
        reranked: k1, k2 and lambda of the re-ranking, or None for plain distances.
    """

    dataset: TrackletDataset
    distances: np.ndarray
    results: dict[str, RankingResult]
    within_groups: dict[str, GroupResult]
    chance: float
    reranked: dict[str, float] | None = None

    @property
    def overall(self) -> RankingResult:
        return self.results["all"]

    def table(self) -> str:
        """The figures as aligned text, in percent."""
        lines = [format_table(self.results)]
        for challenge, group in self.within_groups.items():
            if group.queries:
                lines.append(
                    f"{challenge}, within the group of look-alikes over other cameras: rank-1 {100 * group.rank1:.1f} "
                    f"of {group.queries} queries (chance {100 * group.chance:.1f})"
                )
        if self.reranked:
            settings = ", ".join(f"{name} {value}" for name, value in self.reranked.items())
            lines.append(f"re-ranked by k-reciprocal neighbours ({settings}): compare with re-ranked figures only")
        overall = self.overall
        if overall.valid_queries:
            lines.append(f"mAP of a random ranking: {100 * self.chance:.1f}")
        if overall.unmatched:
            lines.append(f"{len(overall.unmatched)} queries have no match by another camera and enter no mean")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-able."""
        return {
            "dataset": self.dataset.name,
            "notes": self.dataset.notes,
            "reranked": self.reranked,
            **self.overall.to_dict(),
            "chance_mAP": None if math.isnan(self.chance) else self.chance,
            "challenges": {name: result.to_dict() for name, result in self.results.items() if name != "all"},
            "within_look_alike_groups": {name: group.to_dict() for name, group in self.within_groups.items()},
        }

    def top(self, k: int = 10) -> np.ndarray:
        """Gallery indices [Q, k] of the nearest tracklets, junk left out, -1 where there are fewer."""
        return top_matches(self.distances, *_identities(self.dataset.query, self.dataset.gallery), k)

    def rankings(self, k: int = 10) -> list[dict[str, Any]]:
        """The ranked results of every query, JSON-able."""
        rows = []
        for index, (query, nearest) in enumerate(zip(self.dataset.query, self.top(k).tolist(), strict=True)):
            first = int(self.overall.first_match_rank[index])
            rows.append(
                {
                    "query": _describe(query),
                    "average_precision": float(self.overall.average_precision[index]) if first else None,
                    "first_match_rank": first or None,
                    "ranking": [
                        {
                            **_describe(self.dataset.gallery[place]),
                            "distance": float(self.distances[index, place]),
                            "correct": self.dataset.gallery[place].person_id == query.person_id,
                        }
                        for place in nearest
                        if place >= 0
                    ],
                }
            )
        return rows


def evaluate(
    model: nn.Module,
    dataset: TrackletDataset,
    data: DataConfig,
    protocol: ProtocolConfig,
    *,
    autocast: torch.dtype | None = None,
    progress: bool = True,
) -> Evaluation | None:
    """Embeds queries and gallery, each tracklet once, and ranks them by cosine distance, or as `protocol.rerank` asks.

    Several processes embed together; the first one ranks, and the others get None.

    Args:
        model: in eval mode.

    Raises:
        InputError: no queries or gallery, a frame that cannot be read, features that are not finite.
    """
    check_testable(dataset)
    unique = {id(tracklet): tracklet for tracklet in [*dataset.query, *dataset.gallery]}
    places = {key: place for place, key in enumerate(unique)}
    embeddings = embed_tracklets(model, list(unique.values()), data, protocol, autocast=autocast, progress=progress)
    if not torch.isfinite(embeddings).all():
        raise InputError("the model's features are not finite numbers: its training has diverged")
    if process_and_processes()[0] > 0:
        return None
    queries, gallery = (
        [places[id(tracklet)] for tracklet in tracklets] for tracklets in (dataset.query, dataset.gallery)
    )
    if not protocol.rerank:
        distances = cosine_distances(embeddings[queries], embeddings[gallery]).numpy()
        return rank(dataset, distances, protocol.average_precision)
    k1, k2, share = protocol.rerank_k1, protocol.rerank_k2, protocol.rerank_lambda
    distances = rerank(embeddings.numpy(), queries, gallery, k1=k1, k2=k2, plain_share=share, progress=progress)
    evaluation = rank(dataset, distances, protocol.average_precision)
    return replace(evaluation, reranked={"k1": k1, "k2": k2, "lambda": share})


def check_testable(dataset: TrackletDataset) -> None:
    """Raises an `InputError` unless the data set has queries and a gallery."""
    if not dataset.query or not dataset.gallery:
        raise InputError(
            f"{dataset.name} has {len(dataset.query)} query and {len(dataset.gallery)} gallery tracklets, but an "
            "evaluation needs at least one of each"
        )


def rank(dataset: TrackletDataset, distances: np.ndarray, average_precision: str = "standard") -> Evaluation:
    """The figures that follow from distances [Q, G] between a data set's queries and gallery."""
    results = evaluate_by_challenge(distances, dataset.query, dataset.gallery, average_precision=average_precision)
    groups = {}
    for challenge in results:
        rows = [i for i, query in enumerate(dataset.query) if query.challenge == challenge and query.group is not None]
        if challenge.startswith(LOOK_ALIKES) and rows:
            queries = [dataset.query[i] for i in rows]
            groups[challenge] = rank_within_group(
                distances[rows],
                *_identities(queries, dataset.gallery),
                [query.group for query in queries],
                [tracklet.group for tracklet in dataset.gallery],
            )
    return Evaluation(dataset, distances, results, groups, chance_mAP(*_identities(dataset.query, dataset.gallery)))


def _identities(queries: list[Tracklet], gallery: list[Tracklet]) -> tuple[list[int], ...]:
    """Persons and cameras in the order of `strf_cuda.metrics`' arguments."""
    persons = ([tracklet.person_id for tracklet in tracklets] for tracklets in (queries, gallery))
    cameras = ([tracklet.camera_id for tracklet in tracklets] for tracklets in (queries, gallery))
    return (*persons, *cameras)


def _describe(tracklet: Tracklet) -> dict[str, Any]:
    described = {
        "person": tracklet.person_id,
        "camera": tracklet.camera_id,
        "frames": len(tracklet),
        "first_frame": tracklet.paths[0],
    }
    return described if tracklet.challenge is None else {**described, "challenge": tracklet.challenge}

"""`python -m strf_cuda.visualize ranking`: the nearest tracklets of queries, with and without STRF.

Figure 4 of the paper's supplement shows queries that STRF mends. Here as many are shown that it spoils.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strf_cuda.cli import load_config
from strf_cuda.compared import comparison_notes, model_names
from strf_cuda.config import EvaluationOptions
from strf_cuda.errors import InputError
from strf_cuda.settings import check_evaluation, evaluation_settings, other_split_notes
from strf_cuda.visualization.common import check_png, check_query, listed, open_models, open_test_set, picture_path

if TYPE_CHECKING:
    from strf_cuda.drawing.ranking import Answers, Section
    from strf_cuda.evaluation import Evaluation

PROG = "python -m strf_cuda.visualize ranking"


@dataclass
class RankingConfig(EvaluationOptions):
    """Draws the rankings of two models for the same queries, by default those on which the models differ most.

    Data set and protocol are those of the checkpoint's training run unless given here; each model gets frames of the
    size that it was trained with.

    Args:
        baseline: a second trained model, usually without STRF
        out: PNG file; null puts ranking.png beside the checkpoint
        query: number of a query of the data set, from 0, or a list of them, in place of those that differ most
        queries: how many, as many of them better with the checkpoint as worse
        top: answers to each query
    """

    baseline: str | None = None
    out: str | None = None
    query: int | tuple[int, ...] | None = None
    queries: int = 6
    top: int = 10


def read_options(words: Sequence[str]) -> RankingConfig:
    """The checked configuration that a command line gives."""
    config = load_config(RankingConfig, words, prog=PROG)
    check_evaluation(config)
    check_png(config.out)
    if config.baseline is None:
        raise InputError("required but not given: --baseline, the model to compare with")
    if config.queries < 2:
        raise InputError(
            f"queries is {config.queries}, but it must be 2 or more: one that is better, one that is worse"
        )
    if config.top < 1:
        raise InputError(f"top is {config.top}, but it must be 1 or more")
    check_query(config.query)
    return config


def draw(config: RankingConfig) -> None:
    """Evaluates both models and writes the picture."""
    from strf_cuda.devices import autocast_type, keep_freed_memory
    from strf_cuda.drawing.ranking import draw_compared_rankings
    from strf_cuda.evaluation import check_testable, evaluate
    from strf_cuda.faults import evaluation_needs, faults_told

    path = picture_path(config.out, config.checkpoint, "ranking.png")
    trained, device = open_models([config.baseline, config.checkpoint], config.device)
    keep_freed_memory(device)
    base, ours = (each.config for each in trained)
    data, protocol = evaluation_settings(config, ours)
    dataset, notes = open_test_set(data, ours.data)
    notes += [f"baseline: {note}" for note in other_split_notes(data, base.data)]
    notes += comparison_notes(ours, base)
    for note in notes:
        print(f"note: {note}")
    check_testable(dataset)
    asked = _asked_for(config, dataset.query)
    names = model_names([(each.config.model, each.source) for each in trained])
    autocast = autocast_type(config.precision, config.device)
    evaluations = []
    for name, each in zip(names, trained, strict=True):
        own = each.config.data
        seen = dataclasses.replace(data, height=own.height, width=own.width, frames=own.frames)
        with faults_told(*evaluation_needs(protocol, during_training=False)):
            evaluations.append(evaluate(each.model, dataset, seen, protocol, autocast=autocast))
        print(_figures(name, evaluations[-1]), flush=True)
    sections, summary = _sections(config, asked, evaluations, names)
    draw_compared_rankings(
        sections,
        dataset.gallery,
        path,
        title=f"{dataset.name}: rankings of {names[0]} and {names[1]}",
        notes=[summary, f"percent: {'; '.join(map(_figures, names, evaluations))}", *notes],
        names=(dataset.person_names, dataset.camera_names),
    )
    print(f"{summary}\n{path}: the rankings of two models, queries: {sum(len(each.queries) for each in sections)}")


def _asked_for(config: RankingConfig, queries: Sequence) -> list[int] | None:
    from strf_cuda.chosen import checked_queries

    return None if config.query is None else checked_queries(listed(config.query), queries)


def _figures(name: str, evaluation: "Evaluation") -> str:
    overall = evaluation.overall
    shown = (
        f"mAP {100 * overall.mAP:.1f}, rank-1 {100 * overall.rank(1):.1f}" if overall.valid_queries else "no figures"
    )
    return f"{name}: {shown}{', re-ranked' if evaluation.reranked else ''}"


def _sections(
    config: RankingConfig, asked: list[int] | None, evaluations: Sequence["Evaluation"], names: Sequence[str]
) -> tuple[list["Section"], str]:
    """The queries by how the second model does on them, and a sentence about all of the data set's."""
    from strf_cuda.chosen import largest_differences
    from strf_cuda.drawing.ranking import Section

    base, ours = (evaluation.overall.average_precision for evaluation in evaluations)
    found = largest_differences(ours, base, config.queries)
    better, worse, equal = found.counts
    summary = (
        f"average precision with {names[1]}: higher for {better:,} of {better + worse + equal:,} queries, lower for "
        f"{worse:,}, the same for {equal:,}"
    )
    if asked is not None:
        headed = {"queries asked for": asked}
    elif found.better or found.worse:
        headed = {
            f"{names[1]} is better for {_most_of_all(found.better, better)}": found.better,
            f"{names[1]} is worse for {_most_of_all(found.worse, worse)}": found.worse,
        }
    else:
        raise InputError(
            f"{config.checkpoint} and {config.baseline} have the same average precision for every query: name some "
            "with --query"
        )
    answers = _answers(config.top, evaluations, names)
    queries = evaluations[0].dataset.query
    sections = [
        Section(heading, [(queries[query], f"query {query}", answers(query)) for query in chosen])
        for heading, chosen in headed.items()
    ]
    return sections, summary


def _most_of_all(chosen: Sequence[int], among: int) -> str:
    if not chosen:
        return "no query"
    return (
        f"{among:,} {'query' if among == 1 else 'queries'}, most of all for {'this' if len(chosen) == 1 else 'these'}"
    )


def _answers(top: int, evaluations: Sequence["Evaluation"], names: Sequence[str]):
    """A function from a query to the answers of each model."""
    from strf_cuda.drawing.ranking import Answers

    rankings = [evaluation.top(top) for evaluation in evaluations]

    def of_model(name: str, evaluation: "Evaluation", ranking, query: int) -> "Answers":
        first = int(evaluation.overall.first_match_rank[query])
        precision = 100 * evaluation.overall.average_precision[query]
        lines = [f"AP {precision:.1f}", f"first match at {first}"] if first else ["no match"]
        return Answers(name, lines, ranking[query], evaluation.distances[query, ranking[query]])

    return lambda query: [of_model(*model, query) for model in zip(names, evaluations, rankings, strict=True)]

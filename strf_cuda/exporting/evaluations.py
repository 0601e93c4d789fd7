"""What is known of how well a trained model does: evaluations that are surely of these very weights."""

from pathlib import Path
from typing import Any

from strf_cuda.cli import to_dict
from strf_cuda.contents import read_json
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.trained import TrainedModel

FIGURES = ("mAP", "mINP", "rank-1", "rank-5", "rank-10", "rank-20", "queries", "valid_queries")


def evaluations_of(trained: TrainedModel) -> list[dict[str, Any]]:
    """The evaluations in the model's record, and those in the metrics files beside it, each with its source.

    A metrics file of `strf_cuda.evaluate` names the fingerprint of the model. One of `strf_cuda.train` counts if the
    checkpoint is of the run's last epoch, and then stands for the few figures that the checkpoint holds of it.

    Raises:
        InputError: a metrics file that is damaged.
    """
    known = list(trained.record.get("evaluations", []))
    path = expanded(trained.source)
    folder = path if path.is_dir() else path.parent
    if not path.exists():  # on the hub, or made by hand
        return known
    run = _read(folder / "metrics.json")
    if run is not None and _is_of_last_epoch(run, trained):
        own = [each["figures"]["all"]["mAP"] for each in known]
        known = [_summary(run, "metrics.json", _protocol(trained))] if own == [run.get("mAP")] else known
    evaluated = _read(folder / "evaluation" / "metrics.json")
    if evaluated is not None and evaluated.get("fingerprint") == trained.fingerprint:
        known.append(_summary(evaluated, "evaluation/metrics.json", evaluated["protocol"]))
    return known


def _is_of_last_epoch(run: dict[str, Any], trained: TrainedModel) -> bool:
    history = run.get("history") or [{}]
    return history[-1].get("epoch") is not None and history[-1]["epoch"] == trained.record.get("epochs")


def _protocol(trained: TrainedModel) -> dict[str, Any]:
    data, protocol = trained.config.data, trained.config.evaluation
    return {
        **to_dict(protocol),
        "frames": protocol.frames or data.frames,
        "height": data.height,
        "width": data.width,
    }


def _summary(metrics: dict[str, Any], source: str, protocol: dict[str, Any]) -> dict[str, Any]:
    figures = {"all": metrics, **metrics["challenges"]}
    return {
        "source": source,
        "dataset": metrics["dataset"],
        "notes": metrics["notes"],
        "protocol": protocol,
        "figures": {
            challenge: {name: row[name] for name in FIGURES if name in row} for challenge, row in figures.items()
        },
        "chance_mAP": metrics["chance_mAP"],
        "within_look_alike_groups": metrics["within_look_alike_groups"],
        "reranked": metrics["reranked"],
    }


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the figures in {path}: {error}; repair or remove it") from None

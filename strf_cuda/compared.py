"""Two trained models side by side: what they are called, and in what else they differ. Nothing here imports torch."""

from collections.abc import Sequence
from pathlib import Path

from strf_cuda.config import ModelConfig, TrainConfig

_UNITS = {"strf": "STRF-{}", "none": "{}", "gram": "{} + Gram unit", "nonlocal": "{} + non-local"}


def model_name(model: ModelConfig) -> str:
    """As papers write it: P3DC, STRF-P3DC."""
    return _UNITS[model.unit].format(model.kind.upper())


def model_names(models: Sequence[tuple[ModelConfig, str]]) -> list[str]:
    """Names of models given with their sources; the end of its source is added to one that another is called too."""
    names = [model_name(model) for model, _ in models]
    return [
        f"{name}, {'/'.join(Path(source).parts[-2:])}" if names.count(name) > 1 else name
        for name, (_, source) in zip(names, models, strict=True)
    ]


def comparison_notes(model: TrainConfig, baseline: TrainConfig) -> list[str]:
    """A sentence for each thing, other than the unit, in which two models differ, or in which they wrongly do not."""
    notes = []
    if baseline.model.unit == model.model.unit:
        notes.append(f"both models have the unit {model.model.unit}: no comparison with and without STRF")
    aspects = {
        "network": lambda run: (
            f"{run.model.kind.upper()} of width {run.model.width} and depth {'-'.join(map(str, run.model.depth))}"
        ),
        "training data": lambda run: run.data.name + ("" if run.data.split is None else f", split {run.data.split}"),
        "frames": lambda run: f"{run.data.height}x{run.data.width}, {run.data.frames} in a clip",
        "training": lambda run: f"{run.epochs} epochs",
    }
    for name, describe in aspects.items():
        ours, others = describe(model), describe(baseline)
        if ours != others:
            notes.append(f"the two models differ in {name} too: {ours}; the baseline {others}")
    return notes

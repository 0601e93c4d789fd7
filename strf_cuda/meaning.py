"""What the options of a model mean: two configurations that mean the same are the same architecture."""

import dataclasses
from typing import Any, TypeVar

from strf_cuda.cli import to_dict
from strf_cuda.config import ModelConfig, TrainConfig
from strf_cuda.similarity import check_temperature

Config = TypeVar("Config", bound=TrainConfig)


def meant(config: Config) -> Config:
    """The same run with the model's temperature as a number, and no similarity of its own where no unit has one."""
    model = config.model
    similarity = model.similarity if model.unit == "strf" else ModelConfig.EARLIER["similarity"]
    temperature = check_temperature(similarity, model.temperature)
    return dataclasses.replace(config, model=dataclasses.replace(model, similarity=similarity, temperature=temperature))


def masks_in_words(model: ModelConfig) -> str:
    """How the masks of STRF units compare positions: "similarity cosine, temperature 16"."""
    return f"similarity {model.similarity}, temperature {check_temperature(model.similarity, model.temperature):g}"


def architecture(config: TrainConfig) -> dict[str, Any]:
    """What of the options decides what a model computes from its weights, as plain values.

    An option that came later takes part only where it differs from what earlier versions computed: so an architecture
    is the same in all versions that have it, and files keep their fingerprints.
    """
    options = {**to_dict(meant(config).model), "weights": None, "recompute": None}
    before = {**to_dict(ModelConfig()), **ModelConfig.EARLIER}
    return {name: value for name, value in options.items() if name in ModelConfig.FIRST or value != before[name]}

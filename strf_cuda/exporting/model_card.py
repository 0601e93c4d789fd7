"""The model card (Mitchell et al., "Model Cards for Model Reporting", FAT* 2019): README.md of a model's folder.

Every figure in it comes from the configuration, the weights or an evaluation of these weights, which is named; where
one is missing the card says so. Its header is that of the Hugging Face hub.
"""

from importlib.metadata import version
from typing import Any

import yaml

import strf_cuda
from strf_cuda.config import ModelConfig, TrainConfig, of_image_network
from strf_cuda.exporting.data_facts import DataFacts, facts_of
from strf_cuda.markdown import aligned
from strf_cuda.meaning import masks_in_words
from strf_cuda.trained import TrainedModel

_UNITS = {
    "strf": "STRF",
    "gram": "a unit without factorized attention (the paper's Figure 6(a))",
    "nonlocal": "non-local blocks",
    "none": "none, the baseline",
}
_EMBEDDING = (
    "The embedding of a tracklet is the mean of the features of its clips, scaled to unit length; tracklets are "
    "compared by cosine distance."
)
_MISSING = "**not known**"


def model_card(trained: TrainedModel, name: str) -> str:
    """The card as Markdown.

    Args:
        trained: the model, with all evaluations that are known in its record.
        name: the title: a repository "owner/name", or a folder's name.
    """
    record = trained.record
    facts = facts_of(trained.config.data.name, [each["dataset"] for each in record["evaluations"]])
    tags = ["person-re-identification", "video", "strf" if trained.config.model.unit == "strf" else "baseline"]
    header = {**facts.licence, "library_name": "strf_cuda", "tags": tags}
    sections = {
        name: _what(trained),
        "Load it": _load(trained.config, name),
        "Training": _training(trained.config, record, facts),
        "Evaluation": _evaluation(record["evaluations"]),
        "What it is for, and what not": _use(trained.config),
        "Limits": _limits(trained.config, record),
        "Citation": _CITATION,
    }
    texts = [f"{'#' if title == name else '##'} {title}\n\n{text}\n" for title, text in sections.items()]
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n" + "\n".join(texts)


def _what(trained: TrainedModel) -> str:
    config, model = trained.config, trained.model
    data, network = config.data, config.model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    classifier = sum(parameter.numel() for parameter in model.classifier.parameters())
    rows = {
        "network": f"ResNet, {'-'.join(map(str, network.depth))} bottlenecks, width {network.width}, of kind "
        f"{network.kind}",
        "units": _units(network),
        "parameters": f"{parameters:,}, of which {classifier:,} are the classifier of "
        f"{model.classifier.out_features:,} training people, which features do not need",
        "input": f"clips of {data.frames} RGB frames of {data.height}x{data.width} pixels (height x width), "
        "normalised with ImageNet's mean and standard deviation",
        "output": f"a feature of {model.feature_size:,} numbers for each clip",
        "fingerprint": f"`{trained.fingerprint}`",
        "written by": f"strf_cuda {strf_cuda.__version__}, torch {version('torch')}",
    }
    return (
        "A model for video person re-identification: it is trained to map clips of a person to features that are "
        f"near for the same person and far for others. {_EMBEDDING}\n\n{_table(['', ''], rows.items())}"
    )


def _units(network: ModelConfig) -> str:
    described = _UNITS[network.unit]
    if network.unit == "none":
        return described
    described += f", in stages {', '.join(map(str, network.stages))}"
    if network.unit != "strf":
        return described
    return (
        f"{described}; paths {', '.join(network.paths)}; {network.integration.replace('_', ' then ')}; pools "
        f"{network.temporal_pool} (temporal) and {network.spatial_pool} (spatial), windows {network.resolutions[0]} "
        f"and {network.resolutions[1]}; reduction {network.reduction}; {masks_in_words(network)}"
    )


def _load(config: TrainConfig, name: str) -> str:
    data = config.data
    source = f'"{name}"' if "/" in name else '"."'
    place = "from the Hugging Face hub" if "/" in name else "this folder"
    return f"""With [strf_cuda](https://arxiv.org/abs/2107.11878), which needs no pickle for it:

```python
import torch
import torch.nn.functional as F

import strf_cuda
from strf_cuda.data.augment import normalise

model = strf_cuda.from_pretrained({source})  # {place}
# Two clips of one tracklet, 8-bit RGB.
clips = torch.zeros(2, {data.frames}, {data.height}, {data.width}, 3, dtype=torch.uint8)
with torch.inference_mode():
    features = model(normalise(clips))  # [2, {32 * config.model.width}]
embedding = F.normalize(features.mean(0), dim=0)
```"""


def _training(config: TrainConfig, record: dict[str, Any], facts: DataFacts) -> str:
    data, recipe = config.data, config.optimizer
    split = "" if data.split is None else f" (official split {data.split})"
    schedule = (
        f"times {recipe.decay:g} every {recipe.decay_every} epochs" if recipe.schedule == "step" else "half a cosine"
    )
    extras = {
        f"{recipe.warmup} epochs of warm-up": recipe.warmup,
        f"label smoothing {recipe.label_smoothing:g}": recipe.label_smoothing,
        f"average of the weights, decay {recipe.ema:g}": recipe.ema,
    }
    rows = {
        "length": _length(config, record),
        "start": _start(config.model.weights),
        "batch": f"{data.people} people x {data.clips} clips of {data.frames} frames, {data.stride} apart",
        "augmentation": f"flip {data.flip:g}, random erasing {data.erase:g}",
        "optimiser": f"Adam, learning rate {recipe.learning_rate:g}, {schedule}, weight decay {recipe.weight_decay:g}"
        + "".join(f", {words}" for words, given in extras.items() if given),
        "loss": f"cross-entropy + batch-hard triplet on cosine distance, margin {recipe.margin:g}",
        "seed, precision": f"{config.seed}, {config.precision}",
    }
    return (
        f"Data: {facts.title}{split}, {facts.origin}\n\n{facts.terms}\n\n{_table(['', ''], rows.items())}\n\n"
        "config.json holds the complete configuration."
    )


def _start(weights: str | None) -> str:
    if weights is None:
        return "random weights"
    return f"{'ImageNet weights' if of_image_network(weights) else 'the weights of a trained model'}, {weights}"


def _length(config: TrainConfig, record: dict[str, Any]) -> str:
    epochs, steps = record.get("epochs"), record.get("steps")
    if epochs is None:
        return f"{_MISSING}; {config.epochs} epochs were asked for"
    counted = f", {steps:,} steps" if steps is not None else ""
    return f"{epochs} of {config.epochs} epochs{counted}"


def _evaluation(evaluations: list[dict[str, Any]]) -> str:
    if not evaluations:
        return (
            f"How well it does is {_MISSING}: no evaluation of these weights was found beside them. "
            "`python -m strf_cuda.evaluate --checkpoint FOLDER` makes one."
        )
    best = (
        "\n\nThe checkpoint with the highest mAP of a run is chosen on the test set, as is usual in this field: "
        "figures say how well the run can look."
    )
    return "\n\n".join(map(_one_evaluation, evaluations)) + best


def _one_evaluation(evaluation: dict[str, Any]) -> str:
    protocol, figures = evaluation["protocol"], evaluation["figures"]
    names = [name for name in ("mAP", "mINP", "rank-1", "rank-5", "rank-10", "rank-20") if name in figures["all"]]
    rows = [
        [challenge, *(_percent(row.get(name)) for name in names), str(row.get("valid_queries", ""))]
        for challenge, row in figures.items()
    ]
    parts = [
        f"On {evaluation['dataset']}, in percent; source: {evaluation['source']}.",
        aligned(["queries", *names, "with a match"], rows),
    ]
    if evaluation.get("chance_mAP") is not None:
        parts.append(f"A random ranking has mAP {_percent(evaluation['chance_mAP'])}.")
    else:
        parts.append(f"The mAP of a random ranking is {_MISSING}.")
    for challenge, group in evaluation.get("within_look_alike_groups", {}).items():
        if group["queries"]:
            parts.append(
                f"{challenge}, ranked within the group of look-alikes over other cameras: rank-1 "
                f"{_percent(group['rank-1'])} (chance {_percent(group['chance'])}), {group['queries']} queries."
            )
    if len(figures) == 1:
        parts.append("The data set names no challenges, or figures by challenge are " + _MISSING + ".")
    settings = [
        f"clips of {protocol['frames']} frames at stride {protocol['stride']} over the whole tracklet",
        f"{protocol['average_precision']} average precision",
        "mirror images averaged" if protocol["flip"] else "no mirror images",
        "re-ranked" if protocol["rerank"] else "no re-ranking",
    ]
    if protocol.get("shuffle_frames"):
        settings.append("**the frames of every clip shuffled, a control**")
    parts.append(
        f"Protocol: {', '.join(settings)}; tracklets of the query's own person and camera leave the ranking; queries "
        "without a match by another camera enter no mean."
    )
    parts += [f"Note: {note}." for note in evaluation.get("notes", [])]
    return "\n\n".join(parts)


def _use(config: TrainConfig) -> str:
    drawn = config.data.name == "walkers"
    meant = (
        "To try the software: training, evaluation, search and export on people who are drawn. It knows no real people."
        if drawn
        else "Research on re-identification: comparing methods on published data, with people who agreed to it or data "
        "whose terms allow it."
    )
    return (
        f"Meant for: {meant}\n\nNot meant for: watching or following people; identifying anybody; deciding anything "
        "about a person; evidence. Re-identification finds people again without asking them. The nearest tracklet "
        "is the most similar one of those that are there, and is often somebody else."
    )


def _limits(config: TrainConfig, record: dict[str, Any]) -> str:
    recipe = TrainConfig()
    limits = []
    if (epochs := record.get("epochs")) is not None and epochs < recipe.epochs:
        limits.append(f"Trained for {epochs} epochs; the recipe of the paper has {recipe.epochs}.")
    if config.model.weights is None:
        limits.append("Trained from random weights; the paper begins with ImageNet's.")
    elif not of_image_network(config.model.weights):
        limits.append("It begins with another trained model, so whatever limits that one and its data limits this too.")
    paper = ModelConfig()
    if (config.model.width, config.model.depth) != (paper.width, paper.depth):
        limits.append("Smaller than the paper's network, a ResNet-50 of width 64: its figures are not the paper's.")
    if config.data.name == "walkers":
        limits.append("Drawn people look alike in other ways than real ones: figures on walkers say nothing of those.")
    else:
        limits.append(
            "Nobody has analysed how its errors differ between groups of people, by skin, age, sex, clothing or aids "
            "to walking: assume that they do."
        )
    limits += [
        "Other cameras, seasons, clothes and crops than in training make it worse; by how much is not known.",
        "Clips are expected to show one person, cut out as in training; it does not find people in a picture.",
    ]
    return "\n".join(f"* {limit}" for limit in limits)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _table(header, rows) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)


_CITATION = """```bibtex
@inproceedings{aich2021strf,
  title     = {Spatio-Temporal Representation Factorization for Video-based Person Re-Identification},
  author    = {Aich, Abhishek and Zheng, Meng and Karanam, Srikrishna and Chen, Terrence and Roy-Chowdhury, Amit K. and
               Wu, Ziyan},
  booktitle = {International Conference on Computer Vision (ICCV)},
  year      = {2021}
}
```"""

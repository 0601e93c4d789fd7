"""The configuration of training and evaluation, in plain dataclasses that import neither torch nor lightning.

The defaults are the paper's recipe (supplement, section C). A preset is a YAML file in presets/ that says what differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from strf_cuda.errors import InputError
from strf_cuda.similarity import TEMPERATURES, check_temperature

PRESETS = {name: Path(__file__).parent / "presets" / f"{name}.yaml" for name in ("demo", "paper")}
DataName = Literal["walkers", "mars", "duke", "ilids", "prid", "folder", "table", "packed"]
PathName = Literal["temporal_dynamic", "temporal_static", "spatial_fine", "spatial_coarse"]
PoolName = Literal["max", "avg"]


@dataclass
class DataConfig:
    """The data set and how clips are drawn from it.

    Args:
        name: walkers (the built-in set), mars, duke (DukeMTMC-VideoReID), ilids (iLIDS-VID), prid (PRID2011), folder
            (root/person/camera/tracklet/frame.jpg), table (a CSV of frames) or packed (what strf_cuda.pack wrote)
        root: folder or CSV file; null puts the small set of walkers into the cache folder
        split: which official split, 0 to 9, of a data set that has ten; null for the first, or where there is one
        height: frame height in pixels
        width: frame width in pixels
        frames: frames in a clip
        stride: distance in frames between the frames of a training clip
        people: people in a batch
        clips: clips of each person in a batch
        workers: processes that decode frames
        on_corrupt: a frame that cannot be decoded ends training (error) or another one of its tracklet is drawn (skip)
        flip: probability of mirroring a clip
        erase: probability of random erasing
        erase_per_frame: erase another box in every frame instead of one per clip
    """

    name: DataName = "walkers"
    root: str | None = None
    split: int | None = None
    height: int = 256
    width: int = 128
    frames: int = 4
    stride: int = 8
    people: int = 8
    clips: int = 4
    workers: int = 4
    on_corrupt: Literal["error", "skip"] = "error"
    flip: float = 0.5
    erase: float = 0.5
    erase_per_frame: bool = False


@dataclass
class ModelConfig:
    """The network and its units.

    Args:
        kind: block kind of the backbone
        unit: unit in front of the temporal convolutions; gram is STRF without FAM, none the baseline
        stages: stages 1 to 4 that get units
        placement: the unit in front of the 3x1x1 (temporal) or the 1x3x3 convolution (spatial)
        width: channels of the first convolution
        depth: blocks in each of the four stages
        weights: what to begin with: a ResNet's state dict in torchvision's names (.pth, .pt or .safetensors),
            "imagenet" to download one, a checkpoint (.ckpt), folder or hf://owner/name of a trained model, or null
        reduction: channel reduction n of the unit
        resolutions: pool windows of the dynamic/fine and of the static/coarse paths
        temporal_pool: pool of the temporal paths
        spatial_pool: pool of the spatial paths
        integration: how the temporal and spatial halves are combined
        paths: the factorization paths in use
        similarity: how the masks compare positions: cosine (bounded, what works) or dot (the paper's letters)
        temperature: kappa of the attention masks; null for 16 with cosine and 4 with dot
        recompute: save memory by computing the units again in the backward pass
    """

    kind: Literal["c2d", "i3d", "p3da", "p3db", "p3dc"] = "p3dc"
    unit: Literal["strf", "gram", "nonlocal", "none"] = "strf"
    stages: tuple[int, ...] = (2, 3)
    placement: Literal["temporal", "spatial"] = "temporal"
    width: int = 64
    depth: tuple[int, int, int, int] = (3, 4, 6, 3)
    weights: str | None = None
    reduction: int = 16
    resolutions: tuple[int, int] = (1, 3)
    temporal_pool: PoolName = "max"
    spatial_pool: PoolName = "max"
    integration: Literal["temporal_spatial", "spatial_temporal", "parallel"] = "temporal_spatial"
    paths: tuple[PathName, ...] = ("temporal_dynamic", "temporal_static", "spatial_fine", "spatial_coarse")
    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: float | None = None
    recompute: bool = False

    # The options that saved configurations of all versions have. What an option that came later was before it came
    # stands in EARLIER, unless that is its default, and saved configurations without it go on with that.
    FIRST: ClassVar = (
        "kind", "unit", "stages", "placement", "width", "depth", "weights", "reduction", "resolutions", "temporal_pool",
        "spatial_pool", "integration", "paths", "temperature", "recompute",
    )  # fmt: skip
    EARLIER: ClassVar = {"similarity": "dot"}

    @classmethod
    def of_earlier_version(cls, options: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """What these options, if they are all that a version had, mean, and whether that changes the model."""
        lacking = {name: value for name, value in cls.EARLIER.items() if name not in options}
        if not lacking or not set(cls.FIRST) <= set(options):
            return {}, False
        if options["temperature"] == TEMPERATURES["dot"]:  # then the default, which was written out
            lacking["temperature"] = None
        return lacking, options["unit"] == "strf"


@dataclass
class OptimizerConfig:
    """Adam and the loss.

    Args:
        learning_rate: initial learning rate
        weight_decay: L2 penalty
        schedule: step (the paper's reductions) or cosine (half a cosine, 0 at the end of the last epoch)
        decay_every: epochs between two reductions of the step schedule
        decay: factor of each of these reductions
        warmup: epochs over which the learning rate rises in equal steps to its full height
        margin: margin of the triplet loss on cosine distances
        label_smoothing: share of the cross-entropy's target that is spread over all people
        ema: decay a step of an exponential moving average of the weights, which is then what is evaluated; 0 for none
    """

    learning_rate: float = 3e-4
    weight_decay: float = 5e-4
    schedule: Literal["step", "cosine"] = "step"
    decay_every: int = 50
    decay: float = 0.1
    warmup: int = 0
    margin: float = 0.3
    label_smoothing: float = 0.0
    ema: float = 0.0


@dataclass
class ProtocolConfig:
    """How tracklets are compared.

    Args:
        every: epochs between two evaluations during training
        batch: clips in a batch; of clips longer than in training as many as have no more frames in all
        frames: frames in a clip, null for as many as in training, or all for one clip of the whole tracklet
        stride: distance in frames between the frames of a clip; 1 (consecutive frames) is the paper's protocol
        flip: take the mean of the features of every clip and of its mirror image
        rerank: rank by k-reciprocal neighbours instead of plain distances
        rerank_k1: neighbours that may be reciprocal
        rerank_k2: neighbours whose encodings are averaged
        rerank_lambda: share of the plain distance in the final one, 0 to 1
        shuffle_frames: shuffle the frames of every clip, a control that takes the dynamics away
        average_precision: standard as papers report it, or trapezoid as the official MARS code computes it
    """

    every: int = 10
    batch: int = 32
    frames: int | Literal["all"] | None = None
    stride: int = 1
    flip: bool = False
    rerank: bool = False
    rerank_k1: int = 20
    rerank_k2: int = 6
    rerank_lambda: float = 0.3
    shuffle_frames: bool = False
    average_precision: Literal["standard", "trapezoid"] = "standard"


@dataclass
class TrainConfig:
    """Trains a video re-identification model and evaluates it.

    Args:
        preset: demo (small, on the built-in walkers) or paper (the paper's recipe on MARS); other options override it
        out: folder for checkpoints, metrics and logs; null takes the next free runs/PRESET-N
        resume: continue the run in the folder that --out names, exactly where its last checkpoint stands
        seed: of everything that is random
        epochs: passes over the training tracklets
        precision: arithmetic of the forward pass; auto is bf16-mixed on a GPU that has it, else 32
        device: auto takes a GPU if there is one
        devices: processes on this machine, each with a GPU of its own or a share of the CPU; torchrun overrides it
        nodes: machines that take part; torchrun overrides it
        batch_norm: statistics of the clips of each device, as in published results, or synchronised over all
        data: data set and clips
        model: network
        optimizer: optimiser and loss
        evaluation: protocol
    """

    preset: Literal["demo", "paper"] = "demo"
    out: str | None = None
    resume: bool = False
    seed: int = 0
    epochs: int = 250
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    batch_norm: Literal["device", "synchronised"] = "device"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: ProtocolConfig = field(default_factory=ProtocolConfig)


@dataclass
class RepeatConfig(TrainConfig):
    """Trains one configuration with several seeds and on several official splits, and gives means and spreads.

    The other options are those of strf_cuda.train. Finished runs are not trained again, and stopped ones continue.

    Args:
        seeds: how many seeds, counted from 0, or a list of them
        splits: all or a list of the official splits, 0 to 9, of a data set that has ten; null for data.split alone
        parallel: runs at a time, which share the processor's threads
        gpus: GPUs as CUDA numbers them, such as 0,1; every run has one to itself, and as many run at a time
    """

    seeds: int | tuple[int, ...] = 3
    splits: Literal["all"] | tuple[int, ...] | None = None
    parallel: int = 1
    gpus: str | None = None


@dataclass
class EvaluationOptions:
    """Which model is evaluated, on what, and how: what commands that do so have in common.

    Args:
        checkpoint: a checkpoint of strf_cuda.train, a folder of strf_cuda.export, or hf://owner/name
        data: data set, null for the run's
        root: folder or CSV file of the data set, null for the run's
        split: which of ten official splits, null for the run's
        batch: clips in a batch
        frames: frames in a clip, or all for one clip of the whole tracklet
        stride: distance in frames between the frames of a clip
        flip: take the mean of the features of every clip and of its mirror image
        rerank: rank by k-reciprocal neighbours instead of plain distances
        rerank_k1: neighbours that may be reciprocal
        rerank_k2: neighbours whose encodings are averaged
        rerank_lambda: share of the plain distance in the final one, 0 to 1
        shuffle_frames: shuffle the frames of every clip, a control that takes the dynamics away
        average_precision: standard or trapezoid
        workers: processes that decode frames
        precision: arithmetic of the forward pass
        device: auto takes a GPU if there is one
    """

    checkpoint: str
    data: DataName | None = None
    root: str | None = None
    split: int | None = None
    batch: int | None = None
    frames: int | Literal["all"] | None = None
    stride: int | None = None
    flip: bool | None = None
    rerank: bool | None = None
    rerank_k1: int | None = None
    rerank_k2: int | None = None
    rerank_lambda: float | None = None
    shuffle_frames: bool = False
    average_precision: Literal["standard", "trapezoid"] | None = None
    workers: int | None = None
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"


@dataclass
class EvaluateConfig(EvaluationOptions):
    """Evaluates a trained model: mAP, CMC, mINP, ranked results and a picture of them.

    Data set, frame size and protocol are those of the training run unless given here.

    Args:
        out: folder for metrics.json, rankings.json and rankings.png; null takes evaluation/ in the run's folder
        queries: rows of the picture
        devices: processes on this machine, as in training
    """

    out: str | None = None
    queries: int = 12
    devices: int = 1


def of_image_network(weights: str) -> bool:
    """Whether these `model.weights` are an image network's, and not those of a trained model of this package."""
    return weights == "imagenet" or weights.endswith((".pth", ".pt", ".safetensors"))


def check_training(config: TrainConfig) -> None:
    """Raises an `InputError` for a number that no run can use; names and types have been checked on reading."""
    data, optimizer, protocol = config.data, config.optimizer, config.evaluation
    at_least_one = {
        "epochs": config.epochs,
        "devices": config.devices,
        "nodes": config.nodes,
        "data.height": data.height,
        "data.width": data.width,
        "data.frames": data.frames,
        "data.stride": data.stride,
        "data.people": data.people,
        "data.clips": data.clips,
        "optimizer.decay_every": optimizer.decay_every,
        "evaluation.every": protocol.every,
        "evaluation.batch": protocol.batch,
        "evaluation.stride": protocol.stride,
        "evaluation.rerank_k1": protocol.rerank_k1,
        "evaluation.rerank_k2": protocol.rerank_k2,
    }
    if isinstance(protocol.frames, int):
        at_least_one["evaluation.frames"] = protocol.frames
    for name, value in at_least_one.items():
        if value < 1:
            raise InputError(f"{name} is {value}, but it must be at least 1")
    not_negative = {
        "data.workers": data.workers,
        "seed": config.seed,
        "optimizer.warmup": optimizer.warmup,
    }
    for name, value in not_negative.items():
        if value < 0:
            raise InputError(f"{name} is {value}, but it must be 0 or more")
    # Adam moves a weight by about the learning rate in each step, and weights are well below 1: above 1 it is noise.
    for name, value in {"learning_rate": optimizer.learning_rate, "decay": optimizer.decay}.items():
        if not 0 < value <= 1:
            raise InputError(f"optimizer.{name} is {value}, but it must be above 0 and at most 1")
    if not 0 <= optimizer.weight_decay <= 1:  # 1 makes the penalty's gradient the weight itself
        raise InputError(f"optimizer.weight_decay is {optimizer.weight_decay}, but it must be between 0 and 1")
    if not 0 <= optimizer.margin <= 2:
        raise InputError(f"optimizer.margin is {optimizer.margin}, but cosine distances are between 0 and 2")
    if config.seed >= 2**63:
        raise InputError(f"seed is {config.seed}, but it must be less than 2^63")
    if data.people * data.clips < 2:
        raise InputError(
            "data.people and data.clips are both 1, but batch normalisation needs at least 2 clips in a batch"
        )
    _check_shares(config)
    for name, value in {"data.flip": data.flip, "data.erase": data.erase}.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}, but a probability is between 0 and 1")
    for name, value in {"label_smoothing": optimizer.label_smoothing, "ema": optimizer.ema}.items():
        if not 0 <= value < 1:
            raise InputError(f"optimizer.{name} is {value}, but it must be 0 or more and less than 1")
    if optimizer.warmup >= config.epochs:
        raise InputError(
            f"optimizer.warmup is {optimizer.warmup}, but it must be less than the number of epochs, {config.epochs}"
        )
    check_temperature(config.model.similarity, config.model.temperature, option="model.")
    if not 0 <= protocol.rerank_lambda <= 1:
        raise InputError(f"evaluation.rerank_lambda is {protocol.rerank_lambda}, but it must be between 0 and 1")


def _check_shares(config: TrainConfig) -> None:
    processes, clips = config.devices * config.nodes, config.data.people * config.data.clips
    shared = (
        f"a batch of {config.data.people} people x {config.data.clips} clips is shared by {processes} processes "
        f"({config.devices} on each of {config.nodes} machines)"
    )
    if clips < processes:
        raise InputError(f"{shared}, but each needs a clip: give more people or fewer processes")
    if processes > 1 and config.batch_norm == "device" and clips // processes < 2:
        raise InputError(
            f"{shared}, but batch normalisation of each needs at least 2 clips: give more people, fewer processes, or "
            "--batch_norm=synchronised"
        )

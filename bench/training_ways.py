"""Times a training step in every way that PyTorch can run it: arithmetic, memory order, torch.compile, CUDA graphs.

    python -m bench.training_ways [--rounds 9] [--batch N] [--ways NAME ...] [--threads N] [--device cpu|cuda]
                                  [--out FILE] [--quick]

P3DC and STRF-P3DC as `bench.training_step` has them, on clips of 4 frames of 256x128; and the same networks as one
would type them ("plain"): Conv3d and BatchNorm3d on contiguous clips, units by the literal code. All take their steps
in turn. The first way is that of `strf_cuda.train`; ratios refer to it within a round. Before it is timed, a way must
give the logits of the first in float32; one that does not, or does not run, is named with the reason.

Prints the table and writes bench/results/training_ways.json; with --quick, which only shows that everything runs,
compiles nothing, and the file is written only where --out says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.machine import RESULTS, write_result
from bench.made_up_models import give_every_layer_effect
from bench.operator import first_line
from bench.options import parse, parser, positive
from bench.plain_model import PlainVideoResNet
from bench.spreads import rounded, spread
from bench.tables import with_quartiles
from bench.timing import interleave, peak_memory, ratios
from bench.training_step import Trainee, made_up_batch, made_up_model
from strf_cuda.devices import keep_freed_memory
from strf_cuda.errors import nearest
from strf_cuda.markdown import aligned
from strf_cuda.models.blocks import Bottleneck

UNITS = {"P3DC": None, "STRF-P3DC": "strf"}
HALF = torch.bfloat16
# Relative error of the logits in the Euclidean norm: what rounding does, on a GPU to TF32 in float32's convolutions.
LIMITS = {HALF: 0.3, None: 0.05}
BRANCHES = 0.2  # weight of a block's last normalisation; at 1, fifty random layers would magnify rounding tenfold


@dataclass(frozen=True)
class Way:
    """One way to take a step.

    Attributes:
        dtype: of autocast, or None for float32.
        plain: the network of `bench.plain_model` instead of strf_cuda's.
        channels_last: weights in channels-last memory, for a plain network the clips too.
        compiled: the mode of torch.compile, or None.
        graphed: forward and backward pass of the model replayed from CUDA graphs.
        fused: the optimiser's update in one kernel.
    """

    dtype: torch.dtype | None
    plain: bool = False
    channels_last: bool = False
    compiled: str | None = None
    graphed: bool = False
    fused: bool = False

    def prepare(self, unit: str | None, clips: Tensor, **size) -> tuple[Trainee, Tensor]:
        """The trainee, and the clips as it takes them."""
        device = clips.device.type
        model = calm(give_every_layer_effect(made_up_model(unit, **size)))
        if self.plain:
            layout = torch.channels_last_3d if self.channels_last else torch.contiguous_format
            model, clips = PlainVideoResNet(model), clips.contiguous(memory_format=layout)
        if self.channels_last:
            put_channels_last(model)
        trainee = Trainee(model, device, self.dtype, fused=self.fused)
        if self.compiled:
            trainee.model = torch.compile(trainee.model, mode=self.compiled, dynamic=False)
        if self.graphed:
            with torch.autocast(device, dtype=self.dtype, enabled=self.dtype is not None, cache_enabled=False):
                trainee.model = torch.cuda.make_graphed_callables(trainee.model, (clips,))
        return trainee, clips


def calm(model: nn.Module) -> nn.Module:
    """Sets the weights of the residual branches to `BRANCHES`; returns the model."""
    for block in model.modules():
        if isinstance(block, Bottleneck):
            nn.init.constant_(block.bn3.weight, BRANCHES)
    return model


def put_channels_last(model: nn.Module) -> None:
    """Puts the weights of 2D and 3D convolutions into channels-last memory."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        if weight.dim() in layouts:
            weight.data = weight.data.contiguous(memory_format=layouts[weight.dim()])


def ways(device: str) -> dict[str, Way]:
    """Every way by name, that of the training command first."""
    if device == "cpu":
        return {
            "float32": Way(None),
            "float32, channels-last weights": Way(None, channels_last=True),
            "float32, fused Adam": Way(None, fused=True),
            "float32, torch.compile": Way(None, compiled="default"),
            "bfloat16": Way(HALF),
            "plain, float32": Way(None, plain=True),
            "plain, float32, channels-last": Way(None, plain=True, channels_last=True),
            "plain, float32, torch.compile": Way(None, plain=True, compiled="default"),
            "plain, bfloat16, channels-last": Way(HALF, plain=True, channels_last=True),
        }
    return {
        "bfloat16": Way(HALF),
        "bfloat16, channels-last weights": Way(HALF, channels_last=True),
        "bfloat16, fused Adam": Way(HALF, fused=True),
        "bfloat16, CUDA graphs": Way(HALF, graphed=True),
        "bfloat16, channels-last weights, fused Adam, CUDA graphs": Way(
            HALF, channels_last=True, graphed=True, fused=True
        ),
        "bfloat16, torch.compile": Way(HALF, compiled="default"),
        "bfloat16, torch.compile, its CUDA graphs": Way(HALF, compiled="reduce-overhead"),
        "float32": Way(None),
        "plain, float32": Way(None, plain=True),
        "plain, bfloat16": Way(HALF, plain=True),
        "plain, bfloat16, channels-last": Way(HALF, plain=True, channels_last=True),
        "plain, bfloat16, channels-last, torch.compile": Way(HALF, plain=True, channels_last=True, compiled="default"),
    }


def measure(
    clips: Tensor,
    labels: Tensor,
    contenders: Mapping[str, Way],
    rounds: int,
    size: Mapping,
    on_part: Callable[[], object] = lambda: None,
) -> dict[str, dict[str, dict]]:
    """Checks and times every way with every network.

    Args:
        contenders: ratios refer to the first, which must run.
        size: keyword arguments of the networks.
        on_part: called after each network that was prepared and after each round, for a progress bar.

    Returns:
        For each way and network milliseconds, ratio, clips a second, error of the logits and megabytes, or "not_run".
    """
    torch.compiler.reset()
    first, figures, steps = next(iter(contenders)), {name: {} for name in contenders}, {}
    for network, unit in UNITS.items():
        reference = Way(None).prepare(unit, clips, **size)[0].forward(clips)[0].detach()
        for name, way in contenders.items():
            try:
                steps[name, network], figures[name][network] = prepare(way, unit, clips, labels, reference, size)
            except Exception as error:
                if name == first:
                    raise
                figures[name][network] = {"not_run": first_line(error)}
            on_part()
    times = interleave(steps, rounds, clips.device.type, on_part)
    for (name, network), seconds in times.items():
        own = figures[name][network]
        own["ms"] = spread([1000 * value for value in seconds])
        own["ratio"] = ratios(seconds, times[first, network])
        own["clips_per_s"] = rounded(1000 * len(clips) / own["ms"]["median"])
        if (name, "P3DC") in times:
            own["over_P3DC"] = ratios(seconds, times[name, "P3DC"])
    return figures


def prepare(
    way: Way, unit: str | None, clips: Tensor, labels: Tensor, reference: Tensor, size: Mapping
) -> tuple[Callable[[], None], dict]:
    """The step to be timed, and what is known of it before.

    Memory is the most that is allocated beyond weights and the optimiser's two moments, gradients included.

    Raises:
        AssertionError: the logits are not those of `reference`.
    """
    on_gpu = clips.is_cuda
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    trainee, clips = way.prepare(unit, clips, **size)
    logits = trainee.forward(clips)[0].detach().float()
    error = ((logits - reference).norm() / reference.norm()).item()
    assert error <= LIMITS[way.dtype], f"relative error of the logits {error:.1e}"
    step = partial(trainee.step, clips, labels)
    step()
    if on_gpu:
        step()
        torch.cuda.synchronize()
        kept = 3 * sum(weight.nbytes for weight in trainee.model.parameters())
        peak = torch.cuda.max_memory_allocated() - before - kept
    else:
        peak = peak_memory(step, "cpu")
    return step, {"error_of_logits": rounded(error), "peak_mb": rounded(peak / 1e6)}


def table(figures: dict[str, dict[str, dict]]) -> str:
    """A row for each way."""
    header = ["", *(f"{network}, {what}" for network in UNITS for what in ("ms a step", "ratio"))]
    header += ["STRF-P3DC over P3DC", "clips a second", "MB", "logits off by"]
    rows = []
    for name, networks in figures.items():
        row = [name]
        for own in networks.values():
            row += ["not run", ""] if "not_run" in own else [f"{own['ms']['median']:.1f}", with_quartiles(own["ratio"])]
        own = networks["STRF-P3DC"]
        if "not_run" in own:
            row += 4 * [""]
        else:
            row.append(with_quartiles(own["over_P3DC"], digits=3) if "over_P3DC" in own else "")
            row += [f"{own['clips_per_s']:.4g}", f"{own['peak_mb']:,.0f}", f"{own['error_of_logits']:.1e}"]
        rows.append(row)
    reasons = {
        f"{name}, {network}, was not run: {own['not_run']}"
        for name, networks in figures.items()
        for network, own in networks.items()
        if "not_run" in own
    }
    return "\n".join([aligned(header, rows), *sorted(reasons)])


def main(argv: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.set_defaults(rounds=9)
    made.add_argument("--batch", type=positive, help="clips; 8 on the CPU, 32 on a GPU unless given")
    made.add_argument("--ways", nargs="+", metavar="NAME", help="these beside the first, as the table names them")
    options = parse(made, argv)
    contenders = ways(options.device)
    for name in options.ways or ():
        if name not in contenders:
            made.error(f"there is no way {name!r}{nearest(name, contenders)}; there are: {'; '.join(contenders)}")
    keep_freed_memory(torch.device(options.device))  # as the training command does
    batch = options.batch or (32 if options.device == "cuda" else 8)
    rounds, height, width, size = options.rounds, 256, 128, {}
    first = next(iter(contenders))
    if options.ways:
        contenders = {name: way for name, way in contenders.items() if name in (first, *options.ways)}
    if options.quick:
        rounds, height, width, size = 2, 64, 32, {"width": 16, "depth": (1, 1, 1, 1)}
        contenders = {name: way for name, way in contenders.items() if not way.compiled}
    clips, labels = made_up_batch(batch, height, width, options.device)
    parts = len(UNITS) * len(contenders) + rounds
    with tqdm(total=parts, unit="part", disable=None, leave=False) as bar:
        figures = measure(clips, labels, contenders, rounds, size, bar.update)
    print(table(figures))
    out = options.out or (None if options.quick else RESULTS / "training_ways.json")
    if out:
        write_result(
            "training_ways",
            "milliseconds a training step, median and quartiles; ratio: time over the first way's within a round",
            ("torch", "triton", "numpy"),
            {"rounds": rounds, "clips": list(clips.shape), "ways": figures},
            out,
        )


if __name__ == "__main__":
    main()

"""Times a training step of P3DC with and without STRF, by every usable backend, and tells where the time goes.

    python -m bench.training_step [--rounds 15] [--batch N] [--threads N] [--device cpu|cuda] [--out FILE] [--quick]

ResNet-50 on made-up clips of 4 frames of 256x128, people with four clips each: forward, loss, backward, Adam. The
models take their steps in turn and ratios are formed within a round. The parts are timed in further steps, since
watching them costs time of its own. On a GPU in bfloat16 by autocast, on the CPU in float32.

Prints the table and writes bench/results/training_step.json and training_step.png; with --quick, which only shows that
everything runs, files are written only where --out says.
"""

import importlib.util
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from bench.competitors import usable_backends
from bench.machine import RESULTS, write_result
from bench.options import parse, parser, positive
from bench.plots import draw, plot_training_step
from bench.spreads import rounded, spread
from bench.tables import with_quartiles
from bench.timing import Stopwatch, interleave, ratios
from strf_cuda import STRF
from strf_cuda.devices import autocast_type, keep_freed_memory
from strf_cuda.markdown import aligned
from strf_cuda.models import VideoResNet, create_model

BASELINE = "P3DC"
CLIPS_PER_PERSON = 4
PEOPLE = 625
PARTS = ("backbone", "STRF forward", "STRF backward", "loss", "optimizer")


class PlainLoss(nn.Module):
    """The loss of training in plain PyTorch, for machines without pytorch-metric-learning.

    Every person must have several clips.
    """

    def forward(self, logits: Tensor, features: Tensor, labels: Tensor) -> SimpleNamespace:
        unit = F.normalize(features.float())
        distance, same = 1 - unit @ unit.T, labels[:, None] == labels
        farthest = distance.masked_fill(~same, -torch.inf).amax(1)
        nearest = distance.masked_fill(same, torch.inf).amin(1)
        triplet = (farthest - nearest + 0.3).relu().mean()
        return SimpleNamespace(total=F.cross_entropy(logits.float(), labels) + triplet)


def training_loss() -> nn.Module:
    """`strf_cuda.losses.ReidLoss` where its dependencies are installed."""
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        return PlainLoss()
    from strf_cuda.losses import ReidLoss

    return ReidLoss()


class Trainee:
    """A model, its loss and its optimiser, as training has them.

    Args:
        model: maps clips to logits and features.
        dtype: of autocast, or None.
        fused: the optimiser's whole update in one kernel.
    """

    def __init__(self, model: nn.Module, device: str, dtype: torch.dtype | None, *, fused: bool = False):
        self.model = model.to(device).train()
        self.loss = training_loss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-4, weight_decay=5e-4, fused=fused or None)
        self.device, self.dtype = device, dtype

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features."""
        with torch.autocast(self.device, dtype=self.dtype, enabled=self.dtype is not None):
            return self.model(clips)

    def step(self, clips: Tensor, labels: Tensor) -> None:
        """One step of training."""
        self.optimizer.zero_grad()
        self.loss(*self.forward(clips), labels).total.backward()
        self.optimizer.step()

    def step_in_parts(self, clips: Tensor, labels: Tensor) -> dict[str, float]:
        """The same step; seconds of each of `PARTS`."""
        watch = Stopwatch(self.device)
        hooks = watch_units(self.model, watch)
        watch.enter("optimizer")
        self.optimizer.zero_grad()
        watch.enter("backbone")
        outputs = self.forward(clips)
        watch.enter("loss")
        leaves = [output.detach().requires_grad_() for output in outputs]
        self.loss(*leaves, labels).total.backward()
        watch.enter("backbone")
        torch.autograd.backward(outputs, [leaf.grad for leaf in leaves])
        watch.enter("optimizer")
        self.optimizer.step()
        seconds = watch.stop()
        for hook in hooks:
            hook.remove()
        return {part: seconds.get(part, 0.0) for part in PARTS}


def made_up_model(unit: str | None, backend: str = "auto", **size) -> VideoResNet:
    """P3DC, the same at every call; `size` are other keyword arguments of `create_model`."""
    torch.manual_seed(0)
    options = {"unit_options": {"backend": backend}} if unit == "strf" else {}
    return create_model("p3dc", PEOPLE, unit=unit, **options, **size)


def arithmetic(device: str) -> torch.dtype | None:
    """The type of autocast that training chooses."""
    return autocast_type("auto", "gpu" if device == "cuda" else "cpu")


def watch_units(model: nn.Module, watch: Stopwatch) -> list:
    """Hooks that give the time of STRF units to the units, in both passes, and the rest to the backbone."""

    def enter(part: str) -> Callable:
        return lambda *_: watch.enter(part)

    hooks = []
    for unit in filter(lambda module: isinstance(module, STRF), model.modules()):
        hooks += [
            unit.register_forward_pre_hook(enter("STRF forward")),
            unit.register_forward_hook(enter("backbone")),
            unit.register_full_backward_pre_hook(enter("STRF backward")),
            unit.register_full_backward_hook(enter("backbone")),
        ]
    return hooks


def made_up_batch(batch: int, height: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    """Clips [batch, 3, 4, height, width] and labels of people with four clips each."""
    random = torch.Generator().manual_seed(0)
    clips = torch.randn(batch, 3, 4, height, width, generator=random).contiguous(memory_format=torch.channels_last_3d)
    return clips.to(device), (torch.arange(batch) // CLIPS_PER_PERSON).to(device)


def measure(
    models: dict[str, Trainee],
    clips: Tensor,
    labels: Tensor,
    rounds: int,
    on_round: Callable[[], object] = lambda: None,
) -> dict[str, dict]:
    """Times a step of each model, then its parts in a third as many steps; ratios refer to the first model."""
    device = clips.device.type
    times = interleave({name: partial(m.step, clips, labels) for name, m in models.items()}, rounds, device, on_round)
    parts = {name: [] for name in models}
    for _ in range(max(2, rounds // 3)):
        for name, model in models.items():
            parts[name].append(model.step_in_parts(clips, labels))
        on_round()
    return {
        name: {
            "ms": spread([1000 * value for value in seconds]),
            "ratio": ratios(seconds, times[next(iter(models))]),
            "shares": shares(parts[name]),
        }
        for name, seconds in times.items()
    }


def shares(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Each part's share of the sum of all; of each part the median step."""
    seconds = {part: statistics.median(step[part] for step in steps) for part in PARTS}
    return {part: rounded(value / sum(seconds.values())) for part, value in seconds.items()}


def table(models: dict[str, dict]) -> str:
    header = ["", "ms a step", "ratio", *PARTS]
    rows = [
        [
            name,
            f"{figures['ms']['median']:.1f}",
            with_quartiles(figures["ratio"], digits=3),
            *(f"{100 * figures['shares'][part]:.1f}%" for part in PARTS),
        ]
        for name, figures in models.items()
    ]
    return aligned(header, rows)


def main(argv: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--batch", type=positive, help="clips; 8 on the CPU, 32 on a GPU unless given")
    options = parse(made, argv)
    device = options.device
    keep_freed_memory(torch.device(device))  # as the training command does
    batch = options.batch or (32 if device == "cuda" else 8)
    rounds, height, width, size = options.rounds, 256, 128, {}
    if options.quick:
        rounds, height, width, size = 2, 64, 32, {"width": 16, "depth": (1, 1, 1, 1)}
    dtype = arithmetic(device)
    models = {BASELINE: Trainee(made_up_model(None, **size), device, dtype)}
    for name in usable_backends(device):
        models[f"STRF-{BASELINE} {name}"] = Trainee(made_up_model("strf", name, **size), device, dtype)
    clips, labels = made_up_batch(batch, height, width, device)
    with tqdm(total=rounds + max(2, rounds // 3), unit="round", disable=None, leave=False) as bar:
        figures = measure(models, clips, labels, rounds, bar.update)
    print(table(figures))
    out = options.out or (None if options.quick else RESULTS / "training_step.json")
    if out:
        write_result(
            "training_step",
            "milliseconds a training step, median and quartiles; ratio: time over the baseline's within a round",
            ("torch", "lightning", "pytorch-metric-learning"),
            {
                "rounds": rounds,
                "clips": list(clips.shape),
                "dtype": str(dtype or torch.float32).removeprefix("torch."),
                "loss": type(models[BASELINE].loss).__name__,
                "models": figures,
            },
            out,
        )
        draw(plot_training_step, figures, out.with_suffix(".png"))


if __name__ == "__main__":
    main()

"""Compares the formats of `strf_cuda.export`: size, times to write and to open, differences, speed.

    python -m bench.export [--rounds 15] [--batches 1 8] [--threads N] [--out FILE] [--quick]

STRF-P3DC and P3DC on clips of 4 frames of 256x128, on the CPU in float32. Weights are random, such that masks are
neither flat nor one-hot, and the statistics of BatchNorm those of made-up clips. The formats take their turns in each
round, and ratios to the model in Python, read from its safetensors folder, are formed within a round. Differences are
of embeddings of unit length, in batches of 1, 2 and 7; the file holds what was allowed as well. The files were read
just before they are opened.

Writes bench/results/export.json and prints what docs/export.md says of it; with --quick, which only shows that all of
it runs, the file is written only where --out says.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.machine import RESULTS, write_result
from bench.made_up_models import give_every_layer_effect
from bench.options import parse, parser, positive
from bench.spreads import rounded, spread
from bench.tables import with_quartiles
from bench.timing import interleave, ratios
from strf_cuda.checkpoints import model_from_config
from strf_cuda.config import DataConfig, ModelConfig, TrainConfig
from strf_cuda.devices import keep_freed_memory
from strf_cuda.exporting import onnx, program
from strf_cuda.exporting.checking import compare
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.markdown import aligned
from strf_cuda.pretrained import save_pretrained
from strf_cuda.trained import TrainedModel, open_model

PEOPLE = 625
UNITS = {"STRF-P3DC": "strf", "P3DC": "none"}
EAGER = "safetensors"
OPENINGS = 3
Compute = Callable[[Tensor], Tensor]

# Each: the name of its file or folder, what writes it, and what opens it and gives a function of clips.
FORMATS = {
    EAGER: ("model", save_pretrained, lambda path: embedder(open_model(path))),
    "export": ("model.pt2", program.save_program, program.load_program),
    "aoti": ("model-aoti.pt2", program.save_package, program.load_package),
    "onnx": ("model.onnx", onnx.save_onnx, onnx.load_onnx),
}


def made_up_model(unit: str, *, quick: bool = False) -> TrainedModel:
    """A model of the paper's size, or a small one, no part of which is at its starting value."""
    small = {"width": 16, "depth": (1, 1, 1, 1)} if quick else {}
    size = {"height": 64, "width": 32} if quick else {}
    config = TrainConfig(model=ModelConfig(unit=unit, **small), data=DataConfig(**size))
    torch.manual_seed(0)
    model = give_every_layer_effect(model_from_config(config.model, PEOPLE))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the mean of what is seen
    trained = TrainedModel(model.train(), config, unit)
    warm_up = embedder(trained)
    with torch.no_grad():
        model((example_clips(trained, 8, seed=1) - warm_up.shift) * warm_up.scale)
    model.eval()
    return trained


def write_and_open(trained: TrainedModel, folder: Path) -> tuple[dict[str, Compute], dict[str, dict]]:
    """Each format of a model, opened, and its size, its times and its differences."""
    opened, figures = {}, {}
    for name, (file, write, open_file) in FORMATS.items():
        path = folder / file
        seconds = [timed(lambda write=write, path=path: write(trained, path))[0]]
        for _ in range(OPENINGS):
            duration, opened[name] = timed(lambda open_file=open_file, path=path: open_file(path))
            seconds.append(duration)
        difference = compare(trained, opened[name], exactly=name == EAGER)
        files = [path] if path.is_file() else list(path.iterdir())
        figures[name] = {
            "megabytes": rounded(sum(each.stat().st_size for each in files) / 1e6),
            "seconds to write": rounded(seconds[0]),
            "seconds to open": rounded(statistics.median(seconds[1:])),
            "largest difference of an embedding": rounded(difference.embedding),
            "largest difference of a distance": rounded(difference.distance),
            "allowed difference of an embedding": rounded(difference.allowed),
        }
    return opened, figures


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Seconds of a call, and what it returns."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def speeds(
    opened: dict[str, Compute], clips: Tensor, rounds: int, on_round: Callable[[], object] = lambda: None
) -> dict[str, dict]:
    """Milliseconds a clip of each format, and its time over that of the model in Python."""
    with torch.inference_mode():
        times = interleave({name: partial(call, clips) for name, call in opened.items()}, rounds, "cpu", on_round)
    return {
        name: {
            "ms a clip": spread([1000 * value / len(clips) for value in seconds]),
            "ratio": ratios(seconds, times[EAGER]),
        }
        for name, seconds in times.items()
    }


def section(result: dict) -> str:
    """What docs/export.md says under "Size and speed", from the content of the JSON file."""
    device, threads = result["device"]["cpu"], result["device"]["threads"]
    return (
        f"{tables(result['models'])}\n\n{device}, {threads} thread{'s' if threads > 1 else ''}, torch "
        f"{result['versions']['torch']}, onnxruntime {result['versions']['onnxruntime']},\n"
        f"medians of {result['rounds']} rounds in turn, {result['date']}."
    )


def tables(models: dict[str, dict]) -> str:
    return "\n\n".join(f"{name}:\n\n{table(formats)}" for name, formats in models.items())


def table(formats: dict[str, dict]) -> str:
    """The figures of one model."""
    batches = list(formats[EAGER]["speed"])
    header = ["", "MB", "write", "open", "embedding", "distance"]
    header += [part for batch in batches for part in (f"ms a clip, batch {batch}", "ratio")]
    rows = []
    for name, figures in formats.items():
        row = [
            name,
            f"{figures['megabytes']:.1f}",
            f"{figures['seconds to write']:.1f} s",
            f"{figures['seconds to open']:.2f} s",
            f"{figures['largest difference of an embedding']:.1e}",
            f"{figures['largest difference of a distance']:.1e}",
        ]
        for speed in figures["speed"].values():
            row += [f"{speed['ms a clip']['median']:.1f}", with_quartiles(speed["ratio"])]
        rows.append(row)
    return aligned(header, rows)


def main(argv: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.add_argument("--batches", type=positive, nargs="+", default=[1, 8], help="clips at a time")
    made.set_defaults(device="cpu")
    options = parse(made, argv)
    if options.device != "cpu":
        made.error("exported models are timed on the CPU")
    # As the commands do that embed, or the model in Python looks slower than it is.
    keep_freed_memory(torch.device("cpu"))
    rounds = 2 if options.quick else options.rounds
    models = {}
    with tqdm(total=rounds * len(options.batches) * len(UNITS), unit="round", disable=None, leave=False) as bar:
        for name, unit in UNITS.items():
            trained = made_up_model(unit, quick=options.quick)
            with tempfile.TemporaryDirectory() as folder:
                opened, formats = write_and_open(trained, Path(folder))
                for figures in formats.values():
                    figures["speed"] = {}
                for batch in options.batches:
                    measured = speeds(opened, example_clips(trained, batch), rounds, bar.update)
                    for each, figures in measured.items():
                        formats[each]["speed"][str(batch)] = figures
            models[name] = formats
    out = options.out or (None if options.quick else RESULTS / "export.json")
    if out:
        write_result(
            "export",
            "formats of an exported model against the model in Python (safetensors): size, times, largest differences; "
            "ratio: time over the model's in Python within a round",
            ("torch", "onnx", "onnxruntime", "onnxscript", "safetensors"),
            {"rounds": rounds, "dtype": "float32", "models": models},
            out,
        )
    print(section(json.loads(out.read_text())) if out else tables(models))


if __name__ == "__main__":
    main()

"""Times the input pipeline: frames a second from files to clips that are ready for a model.

    python -m bench.data                               # on frames that it draws itself, of MARS's size and of another
    python -m bench.data --root /data/MARS             # on the training tracklets of a real data set

Against the number of worker processes: this package's training loader with and without its augmentation, the same from
a packed copy, a plain loader of Pillow and torch, and one built as published re-identification code is. A round times
each once, in turn, after its workers have started; ratios are formed within a round. Every file was read before, so the
system's cache is warm.

Beside them the floor, what reading and decoding one frame takes; JPEG decoders side by side; handing a batch over to
another process; the augmentation on the model's device; and the bytes of a batch. Writes bench/results/data.json and
data.png.
"""

import dataclasses
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from tqdm import tqdm

from bench.decoders import compare, with_pillow
from bench.loaders import Contender, PlainClips, ReidClips, Task, alone, of_clips, ours
from bench.machine import RESULTS, write_result
from bench.options import parse, parser
from bench.plots import draw, plot_data
from bench.spreads import rounded, spread
from bench.timing import interleave, ratios
from strf_cuda.data import PackedDataset, Tracklet, TrackletDataset, open_dataset
from strf_cuda.data.augment import ClipAugmentation
from strf_cuda.data.frames import read_frame
from strf_cuda.data.layouts import recognise
from strf_cuda.data.packing import make_plan, pack
from strf_cuda.data.walkers import WalkersConfig, make_walkers
from strf_cuda.devices import keep_freed_memory
from strf_cuda.markdown import aligned

REID = "re-ID code"
# The mean of 5,572 frames of MARS is 5,616 bytes, all of 128x256 pixels and with 4:2:0 sampling.
MARS_BYTES = 5_616
JPEG_START = b"\xff\xd8"
DECODED = 64  # frames for the comparison of decoders
BATCHES = 8
MOST_TRACKLETS = 128  # of a real data set


@dataclasses.dataclass(frozen=True)
class Frames:
    """Tracklets to load, from files and from their packed copy."""

    name: str
    tracklets: Sequence[Tracklet]
    packed: Sequence[Tracklet]

    @property
    def paths(self) -> list[str]:
        return [path for tracklet in self.tracklets for path in tracklet.paths]


def draw_frames(folder: Path, task: Task, workers: int) -> list[tuple[str, Path]]:
    """Folders in MARS's layout: walkers as JPEGs of MARS's size and mean length, and the same in another size."""
    config = WalkersConfig(
        train_people=max(task.people, 4), test_people=4, gait_groups=0, pace_groups=0, cameras_per_person=2,
        tracklets_per_person=task.clips, distractors=0, junk=0, height=task.height, width=task.width, frames=16,
    )  # fmt: skip
    root = make_walkers(folder / "drawn", config, workers=workers, progress=False)
    pictures = {path: Image.open(path).convert("RGB") for path in sorted(root.glob("bbox_train/*/*.jpg"))}
    sample = list(pictures.values())[::9]
    pixels = task.height * task.width / (256 * 128)
    quality = min(
        range(10, 100, 2), key=lambda q: abs(np.mean([len(jpeg(p, q)) for p in sample]) - MARS_BYTES * pixels)
    )
    made = []
    for size in ((task.width, task.height), (13 * task.width // 16, 15 * task.height // 16)):
        own = folder / f"{size[0]}x{size[1]}"
        for path in root.rglob("*"):
            copy = own / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path in pictures:
                copy.write_bytes(jpeg(pictures[path].resize(size, Image.Resampling.BICUBIC), quality))
            elif path.is_file():
                copy.write_bytes(path.read_bytes())
        made.append((f"{size[0]}x{size[1]} pixels, JPEG quality {quality}", own))
    return made


def jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def with_packed_copy(name: str, dataset: TrackletDataset, root: Path, folder: Path) -> Frames:
    """Up to MOST_TRACKLETS training tracklets at even distances, and their packed copy in `folder`; all read once."""
    step = -(-len(dataset.train) // MOST_TRACKLETS)
    chosen = TrackletDataset(dataset.name, dataset.train[::step], [], [])
    pack(make_plan([chosen], root), folder)
    for tracklet in chosen.train:
        for path in tracklet.paths:
            Path(path).read_bytes()
    return Frames(name, chosen.train, PackedDataset(folder).train)


def contenders(frames: Frames) -> dict[str, tuple[Contender, Sequence[Tracklet]]]:
    return {
        "strf_cuda": (ours, frames.tracklets),
        "strf_cuda, not augmented": (alone, frames.tracklets),
        "strf_cuda, packed": (ours, frames.packed),
        "plain Pillow and torch": (of_clips(PlainClips), frames.tracklets),
        REID: (of_clips(ReidClips), frames.tracklets),
    }


def seconds_a_batch(
    contender: Contender, tracklets: Sequence[Tracklet], task: Task, workers: int, device: str, batches: int
) -> float:
    """Once the workers run at their own pace: what they had ready when the first batch came is not timed."""
    ahead = 1 + 2 * workers  # a DataLoader keeps two batches for each worker under way
    wanted = (ahead + batches + 2 * workers) * task.people * task.clips
    loaded = contender(list(tracklets) * -(-2 * wanted // len(tracklets)), task, workers, device)
    for _ in range(ahead):
        next(loaded)
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(batches):
        next(loaded)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - started) / batches
    loaded.close()
    return seconds


def measure_loaders(
    frames: Frames, task: Task, counts: Sequence[int], rounds: int, batches: int, device: str, on_round: Callable
) -> dict[str, dict]:
    """Frames a second by number of workers and contender, and how many times those of re-ID code."""
    found = {}
    for workers in counts:
        calls = contenders(frames)
        times = {name: [] for name in calls}
        names = list(calls)
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(seconds_a_batch(*calls[name], task, workers, device, batches))
            on_round()
        found[str(workers)] = {
            name: {
                "frames_per_s": spread([task.frames_a_batch / time for time in own]),
                "ratio": ratios(times[REID], own),
            }
            for name, own in times.items()
        }
    return found


def measure_floor(frames: Frames, task: Task, rounds: int) -> dict:
    """Microseconds to read and to decode one frame, and to read it as the loader does, resized where need be."""
    paths = frames.paths[:: max(1, len(frames.paths) // 128)]
    files = [Path(path).read_bytes() for path in paths]
    pixels = np.empty((task.height, task.width, 3), np.uint8)

    def read():
        for path in paths:
            with open(path, "rb") as file:
                file.read()

    decoders = [simplejpeg.decode_jpeg if data.startswith(JPEG_START) else with_pillow for data in files]

    def decode():
        for decoder, data in zip(decoders, files, strict=True):
            decoder(data)

    def whole():
        for path in paths:
            read_frame(path, task.height, task.width, out=pixels)

    times = interleave({"read": read, "decode": decode, "read_frame": whole}, rounds, "cpu")
    microseconds = {name: [1e6 * time / len(paths) for time in own] for name, own in times.items()}
    floor = [a + b for a, b in zip(microseconds["read"], microseconds["decode"], strict=True)]
    return {
        "mean_bytes": rounded(float(np.mean([len(data) for data in files]))),
        "us": {name: spread(own) for name, own in microseconds.items()},
        "frames_per_s_a_core": rounded(1e6 / spread(floor)["median"]),
    }


def measure_batch(task: Task, rounds: int, device: str) -> dict:
    """Milliseconds to stack the clips of a batch and to put it into fresh shared memory, on the CPU; to augment it on
    the model's device; and the bytes that travel there.
    """
    shape = (task.people * task.clips, task.frames, task.height, task.width, 3)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    apart = list(clips.cpu().unbind())
    augmentation = ClipAugmentation(task.flip, task.erase).train()
    calls = {"stack": lambda: torch.stack(apart), "stack and share": lambda: torch.stack(apart).share_memory_()}
    times = interleave(calls, rounds, "cpu") | interleave({"augment": lambda: augmentation(clips)}, rounds, device)
    return {
        "device": device,
        "clips": len(apart),
        "ms": {name: spread([1000 * time for time in own]) for name, own in times.items()},
        "bytes": clips.nbytes,
        "bytes_as_float32": 4 * clips.nbytes,
    }


def loader_table(entry: dict) -> str:
    """Frames a second and, behind the stroke, how many times those of re-ID code."""
    counts = list(entry["loaders"])
    floor = entry["floor"]
    rows = [
        [name]
        + [
            f"{found[name]['frames_per_s']['median']:,.0f} / {found[name]['ratio']['median']:.3g}"
            for found in entry["loaders"].values()
        ]
        for name in entry["loaders"][counts[0]]
    ]
    rows.append(
        ["reading and decoding alone, a core", f"{floor['frames_per_s_a_core']:,.0f}", *[""] * (len(counts) - 1)]
    )
    return aligned([entry["frames"], *(f"{count} workers" for count in counts)], rows) + "\n"


def frame_table(entries: Sequence[dict]) -> str:
    """What one frame takes."""
    rows = [
        [entry["frames"], f"{entry['floor']['mean_bytes']:,.0f}"]
        + [f"{figure['median']:.0f}" for figure in entry["floor"]["us"].values()]
        for entry in entries
    ]
    return aligned(["microseconds a frame", "bytes", "read", "decode", "read, decode, resize"], rows) + "\n"


def decoder_table(found: dict[str, dict]) -> str:
    rows = [
        [
            f"{name} ({figures['version']})",
            f"{figures['us']['median']:.0f}",
            f"{figures['ratio_to_pillow']['median']:.2f}",
            "yes" if figures["same_bits_as_pillow"] else "no",
            f"{100 * figures['flipped_bits_refused']:.1f}%",
        ]
        for name, figures in found.items()
    ]
    return aligned(["decoder", "microseconds", "of Pillow's time", "its bits", "flipped bits refused"], rows) + "\n"


def batch_table(batch: dict) -> str:
    row = [f"{figure['median']:.3g}" for figure in batch["ms"].values()]
    sizes = [f"{batch[name] / 1e6:.1f}" for name in ("bytes", "bytes_as_float32")]
    header = [
        "milliseconds a batch",
        "stack",
        "stack and share",
        f"augment ({batch['device']})",
        "MB as uint8",
        "MB as float32",
    ]
    return aligned(header, [[f"of {batch['clips']} clips", *row, *sizes]]) + "\n"


def tables(result: dict) -> str:
    """Everything that the JSON file holds, as docs/input.md shows it."""
    parts = [*map(loader_table, result["sets"]), frame_table(result["sets"])]
    parts += [decoder_table(result["decoders"])] if result["decoders"] else []
    return "\n".join([*parts, batch_table(result["batch"])])


def main(argv: Sequence[str] | None = None) -> None:
    made = parser(__doc__)
    made.set_defaults(rounds=3, threads=1)  # on a CPU the cores belong to the workers
    made.add_argument("--root", help="a data set to load in place of the drawn frames")
    made.add_argument("--workers", type=int, nargs="+", help="numbers of worker processes; 0, 1, 2, 4 ... cores")
    options = parse(made, argv)
    keep_freed_memory(torch.device(options.device))  # as the training command does
    cores = os.cpu_count() or 1
    counts = options.workers or sorted({0, cores, *(2**power for power in range(8) if 2**power < cores)})
    rounds, batches, task, flipped = options.rounds, BATCHES, Task(), {}
    if options.quick:
        task = Task(people=2, clips=2, height=64, width=32)
        counts, rounds, batches, flipped = options.workers or [0, 1], 2, 2, {"flipped": 40}
    out = options.out or (None if options.quick else RESULTS / "data.json")
    load = os.getloadavg()[0]  # of other programs: on a busy machine the figures say little

    with tempfile.TemporaryDirectory(prefix="frames-") as temporary:
        folder = Path(temporary)
        if options.root is None:
            roots = draw_frames(folder, task, 1 if options.quick else cores)
            opened = [(name, open_dataset("mars", str(root)), root) for name, root in roots]
        else:
            name = recognise(options.root)
            if name == "packed":
                made.error(f"{options.root} is a packed copy: give the data set that it was made from")
            dataset = open_dataset(name, options.root)
            opened = [(dataset.name, dataset, Path(options.root))]
        sets = [
            with_packed_copy(name, dataset, root, folder / f"packed-{number}")
            for number, (name, dataset, root) in enumerate(opened)
        ]
        entries = []
        with tqdm(total=len(sets) * len(counts) * rounds, unit="round", disable=None, leave=False) as bar:
            for frames in sets:
                floor = measure_floor(frames, task, rounds)
                bar.set_description(frames.name)
                loaders = measure_loaders(frames, task, counts, rounds, batches, options.device, bar.update)
                entries.append({"frames": frames.name, "floor": floor, "loaders": loaders})
        files = [Path(path).read_bytes() for path in sets[0].paths]
        files = [data for data in files if data.startswith(JPEG_START)][:: max(1, len(files) // DECODED)]
        decoded = compare(files, rounds, **flipped) if files else {}
    result = {
        "load_before": rounded(load),
        "rounds": rounds,
        "task": dataclasses.asdict(task),
        "sets": entries,
        "decoders": decoded,
        "batch": measure_batch(task, rounds, options.device),
    }
    print(tables(result))
    if out:
        write_result(
            "data",
            "frames a second from files (in the system's cache) to normalised and augmented clips on the device",
            ("torch", "numpy", "pillow", "simplejpeg"),
            result,
            out,
        )
        draw(partial(plot_data, cores=cores), entries, out.with_suffix(".png"))


if __name__ == "__main__":
    main()

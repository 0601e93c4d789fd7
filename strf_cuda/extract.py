"""`python -m strf_cuda.extract`: embeds tracklets of a data set, a folder or a video into one safetensors file."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from strf_cuda.cli import load_config, run
from strf_cuda.config import DataName, TrainConfig
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.processes import Team, check_devices, joined, launched, start
from strf_cuda.settings import check_at_least, data_settings, given

if TYPE_CHECKING:
    from strf_cuda.extraction.sources import Source

PROG = "python -m strf_cuda.extract"
GOES_ON = "the same command goes on where it was"


@dataclass
class ExtractConfig:
    """Embeds tracklets into one file, in which strf_cuda.search finds people; given again after it was stopped, it
    goes on where it was.

    The tracklets are those of a data set (data, root), of a folder (tracklets), or of a video (video, tracks). Data
    set, frame size and protocol are those of the training run unless given here.

    Args:
        checkpoint: a checkpoint of strf_cuda.train, a folder of strf_cuda.export, or hf://owner/name
        out: the file to write, NAME.safetensors
        data: data set, null for the run's
        root: folder or CSV file of the data set, null for the run's
        split: which of ten official splits, null for the run's
        lists: which lists of the data set; test is query and gallery
        tracklets: a folder of frames, a folder of such folders, person/camera/tracklet, or a single picture; with a
            video, where its tracklets are put (null takes NAME.tracklets beside the file)
        video: video file, whose tracklets are cut out first, as strf_cuda.tracklets does
        tracks: text file with a tracker's boxes in that video (MOTChallenge)
        camera: name of the camera, for a video or for tracklets without folders of cameras
        start: when the video begins, in seconds, as a time of day or as date and time
        batch: clips in a batch
        frames: frames in a clip, or all for one clip of the whole tracklet
        stride: distance in frames between the frames of a clip
        flip: take the mean of the features of every clip and of its mirror image
        workers: processes that decode frames
        precision: arithmetic of the forward pass
        device: auto takes a GPU if there is one
        devices: processes on this machine, as in training
    """

    checkpoint: str
    out: str
    data: DataName | None = None
    root: str | None = None
    split: int | None = None
    lists: Literal["all", "train", "query", "gallery", "test"] = "all"
    tracklets: str | None = None
    video: str | None = None
    tracks: str | None = None
    camera: str | None = None
    start: str | None = None
    batch: int | None = None
    frames: int | Literal["all"] | None = None
    stride: int | None = None
    flip: bool | None = None
    workers: int | None = None
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1


def main(argv: Sequence[str] | None = None) -> None:
    with joined() as team:
        config = read_options(sys.argv[1:] if argv is None else argv)
        if launched():
            config.devices = team.local_processes

        from strf_cuda.quiet import show_warnings_in_one_line

        show_warnings_in_one_line()
        extract_embeddings(config, team)


def read_options(words: Sequence[str]) -> ExtractConfig:
    """The configuration from a command line.

    Raises:
        InputError: options that no extraction can use, or that do not go together.
    """
    config = load_config(ExtractConfig, words, prog=PROG)
    check_at_least(config, devices=1, batch=1, frames=1, stride=1, workers=0)
    if not config.out.endswith(".safetensors"):
        raise InputError(f"out is {config.out}, but an embeddings file has the ending .safetensors")
    if (config.video is None) != (config.tracks is None):
        raise InputError(f"video is {config.video} and tracks is {config.tracks}: give both, or neither")
    own = config.tracklets is not None or config.video is not None
    for name in ("data", "root", "split"):
        if own and getattr(config, name) is not None:
            place = "video" if config.video is not None else "tracklets"
            raise InputError(
                f"{name} is {getattr(config, name)}, but --{place} takes the place of a data set: give one"
            )
    if own and config.lists != "all":
        raise InputError(f"lists is {config.lists}, but only a data set has lists")
    if config.camera is not None and not own:
        raise InputError(f"camera is {config.camera}, but a data set names its cameras itself: leave it out")
    if config.start is not None and config.video is None:
        raise InputError(f"start is {config.start}, but there is no --video that could begin then")
    if config.start is not None:
        from strf_cuda.video.config import start_seconds

        start_seconds(config.start)
    return config


def extract_embeddings(config: ExtractConfig, team: Team | None = None) -> None:
    """Embeds what the configuration names and writes the file.

    Args:
        team: the processes that this one has joined. Without it, `config.devices` are started, and this one waits.

    Raises:
        InputError: a checkpoint, source or option that cannot be used, or a process that was killed.
        SystemExit: one of the processes that were started has failed, and has said why.
    """
    # After the checks, since these take seconds to import.
    from strf_cuda.devices import autocast_type, keep_freed_memory, resolve_device
    from strf_cuda.extraction.extracting import extract
    from strf_cuda.faults import evaluation_needs, faults_told
    from strf_cuda.files import writable_folder
    from strf_cuda.trained import open_model

    began = time.monotonic()
    device = resolve_device(config.device)
    check_devices(config.devices, device)
    team = team or Team()
    if config.devices > team.processes:
        start("strf_cuda.extract", config, config.devices, advice=lambda: GOES_ON)
        return
    team.advice = GOES_ON
    team.connect(device)
    keep_freed_memory(device)
    trained = open_model(config.checkpoint)
    autocast = autocast_type(config.precision, config.device)
    data = data_settings(
        trained.config.data, name=config.data, root=config.root, split=config.split, workers=config.workers
    )
    protocol = replace(
        trained.config.evaluation,
        shuffle_frames=False,
        **given(batch=config.batch, frames=config.frames, stride=config.stride, flip=config.flip),
    )
    if team.is_first:
        writable_folder(expanded(config.out).parent)  # before a video is cut, or a large data set listed
    source, root = open_source(config, trained.config, team)
    if root is not None:
        data = replace(data, name="folder", root=root, split=None)
    if team.is_first:
        for note in source.notes:
            print(f"note: {note}")
        frames = sum(map(len, source.tracklets))
        print(
            f"{source.name}: {len(source):,} tracklets, {frames:,} frames; {trained.config.model.kind}, unit "
            f"{trained.config.model.unit}, from {config.checkpoint}",
            flush=True,
        )
    trained.model.to(device)
    with faults_told(*evaluation_needs(protocol, during_training=False, work="extraction")):
        try:
            extraction = extract(trained, source, data, protocol, config.out, autocast=autocast, team=team)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(GOES_ON) from None
    if extraction is None:
        return
    if extraction.found == extraction.parts:
        print(f"{config.out} was complete already")
        return
    if extraction.found:
        print(f"{extraction.found:,} of {extraction.parts:,} parts were there from before")
    embeddings = extraction.embeddings
    print(
        f"{config.out}: {len(embeddings):,} embeddings of {embeddings.vectors.shape[1]:,} numbers, "
        f"{expanded(config.out).stat().st_size / 1e6:,.1f} MB, in {time.monotonic() - began:,.0f} s"
    )


def open_source(config: ExtractConfig, trained: TrainConfig, team: Team) -> tuple["Source", str | None]:
    """The tracklets that the configuration names, and their folder if they are no data set's.

    A video's are cut out first, by one process.

    Raises:
        InputError: a fault of the data set, the folder or the video.
    """
    from strf_cuda.data import open_dataset
    from strf_cuda.extraction.sources import dataset_source, folder_source

    if config.video is not None:
        folder = config.tracklets or str(Path(config.out).with_suffix(".tracklets"))
        with team.one_on_each_machine_first():
            if team.local_process == 0:
                _cut(config, folder)
        return folder_source(folder), folder
    if config.tracklets is not None:
        return folder_source(config.tracklets, config.camera), config.tracklets
    data = data_settings(trained.data, name=config.data, root=config.root, split=config.split)
    with team.one_on_each_machine_first():
        dataset = open_dataset(data.name, data.root, data.split)
    return dataset_source(dataset, config.lists, data.root), None


def _cut(config: ExtractConfig, folder: str) -> None:
    from strf_cuda.video import CutConfig, cut_tracklets

    options = given(camera=config.camera, start=config.start)
    cut = cut_tracklets(CutConfig(video=config.video, tracks=config.tracks, out=folder, **options))
    print(f"{len(cut.tracklets):,} tracklets of {config.video} are in {folder}", flush=True)
    for note in [*([f"left out: {cut.left_out}"] if cut.left_out else []), *cut.notes]:
        print(f"note: {note}")


if __name__ == "__main__":
    raise SystemExit(run(main))

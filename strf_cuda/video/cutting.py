"""Cuts tracklets out of a video: one pass over its frames, every crop written as it comes."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image
from tqdm import tqdm

from strf_cuda.errors import InputError
from strf_cuda.files import claimed, expanded
from strf_cuda.video.config import CutConfig, check_cut, start_seconds
from strf_cuda.video.planning import Plan, plan_tracklets
from strf_cuda.video.reading import Video, VideoFrame, count_frames
from strf_cuda.video.store import Store, fingerprint, remove_cut
from strf_cuda.video.tracks import Tracks, read_tracks, told


@dataclass(frozen=True)
class Cut:
    """What a video has given.

    Attributes:
        folder: where the tracklets are, in the layout of `strf_cuda.data.TrackletFolder`.
        content: what tracklets.json says of the video, see `strf_cuda.video.sidecar`.
        found: how many of the tracklets were there before; all of them where the cut was complete.
    """

    folder: Path
    content: dict[str, Any]
    found: int

    @property
    def tracklets(self) -> list[dict[str, Any]]:
        return self.content["tracklets"]

    @property
    def left_out(self) -> str:
        """How many boxes of the tracker were left out, by reason; empty where all are in tracklets."""
        return told(self.content["left_out"])

    @property
    def notes(self) -> list[str]:
        return self.content["notes"]


@dataclass
class _Open:
    """A tracklet of which some crops are written."""

    name: str
    person: str
    plan: Plan
    folder: Path
    written: int = 0
    seconds: list[float | None] = field(default_factory=lambda: [None, None])


def cut_tracklets(config: CutConfig, *, progress: bool = True) -> Cut:
    """Cuts the tracklets of one video into `config.out`, to which those of other videos may be added.

    Every tracklet appears in its place when it is whole. A cut that was interrupted goes on with those that are
    missing, after it has decoded the video again up to there; one that is complete is left as it is. Memory does not
    grow with the length of video or tracklets.

    Args:
        progress: show a bar where stderr is a terminal.

    Raises:
        InputError: options, a video, tracks or a folder that cannot be used, or that do not belong together.
        KeyboardInterrupt: stopped by Ctrl-C; the message says how far it is.
    """
    check_cut(config)
    video, tracks, out = (expanded(path) for path in (config.video, config.tracks, config.out))
    with Video(video, as_stored=config.as_stored) as frames:
        boxes = read_tracks(
            tracks,
            height=frames.height,
            width=frames.width,
            video=video.stem,
            first_frame=config.first_frame,
            classes=config.classes,
            min_confidence=config.min_confidence,
            boxes=config.boxes,
        )
        config = replace(config, video=str(video), tracks=str(tracks), out=str(out), first_frame=boxes.first_frame)
        with claimed(out):
            return _cut_boxes(boxes, frames, config, progress)


def _cut_boxes(boxes: Tracks, frames: Video, config: CutConfig, progress: bool) -> Cut:
    """Cuts what is missing into the folder, which is claimed."""
    video, tracks, out = Path(config.video), Path(config.tracks), Path(config.out)
    notes = list(boxes.notes)
    if config.replace and (moved := remove_cut(out, config.person_prefix)):
        notes.append(f"{moved:,} tracklets of an earlier cut were moved elsewhere and have stayed")
    store = Store(out, _description(config, video, tracks))
    if store.complete:
        return Cut(out, store.complete, len(store.complete["tracklets"]))
    found = len(store.finished)
    boxes = _within(boxes, frames, video, tracks)
    plans, left_out = plan_tracklets(boxes, frames.height, frames.width, config)
    named = list(_named(plans, config))
    try:
        store.begin([(name, person) for name, person, _ in named if name not in store.finished])
        notes += _cut(named, frames, video, store, config, progress)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}; {_goes_on(store)}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_goes_on(store)) from None
    if not store.finished:
        raise InputError(f"no tracklet of {video} is whole: {'; '.join(notes)}")
    content = store.complete_with(
        {
            "height": frames.height,
            "width": frames.width,
            "frames_a_second": frames.frames_a_second,
            "left_out": left_out,
            "notes": notes,
        }
    )
    return Cut(out, content, found)


def _description(config: CutConfig, video: Path, tracks: Path) -> dict[str, Any]:
    return {
        "video": str(video.resolve()),
        "video_fingerprint": fingerprint(video),
        "tracks": str(tracks.resolve()),
        "tracks_fingerprint": fingerprint(tracks),
        "camera": config.camera_name,
        "prefix": config.person_prefix,
        "options": config.crop_options(),
    }


def _within(boxes: Tracks, frames: Video, video: Path, tracks: Path) -> Tracks:
    """The boxes up to the video's last frame: trackers predict beyond it, but most boxes there are another video's.

    A header may promise too little, so frames decide.
    """
    last = int(boxes.frames.max())
    if frames.promised is None or last - boxes.first_frame < frames.promised:
        return boxes
    count = count_frames(video)
    after = boxes.frames - boxes.first_frame >= count
    if after.sum() * 2 > len(boxes):
        raise InputError(
            f"tracks outside the video: {tracks} goes on to frame {last:,}, {video} has {count:,} frames; "
            f"{after.sum():,} of {len(boxes):,} boxes lie after its end; are these the tracks of this video?"
        )
    return boxes.without(after, "after the last frame")


def _goes_on(store: Store) -> str:
    return f"{len(store.finished):,} tracklets are whole, and the same command goes on with the others"


def _named(plans: list[Plan], config: CutConfig) -> Iterator[tuple[str, str, Plan]]:
    """Tracklets with their name and their person's."""
    for plan in plans:
        person = f"{config.person_prefix}-{plan.track:04d}"
        yield f"{person}-{plan.frames[0]:06d}", person, plan


def _cut(
    named: list[tuple[str, str, Plan]], frames: Video, video: Path, store: Store, config: CutConfig, progress: bool
) -> list[str]:
    """Cuts what is missing; returns notes on a video that is not whole, the same for a cut that was interrupted."""
    missing = [each for each in named if each[0] not in store.finished]
    waiting = deque(sorted(missing, key=lambda each: each[2].frames[0]))
    last = max(int(plan.frames[-1]) for _, _, plan in named)
    total, read = last - config.first_frame + 1, 0
    begun: list[_Open] = []
    cutter = _Cutter(config)
    with tqdm(total=total, desc="cutting", unit="frame", disable=None if progress else True, leave=False) as bar:
        for frame in frames:
            number = frame.index + config.first_frame
            while waiting and waiting[0][2].frames[0] == number:
                name, person, plan = waiting.popleft()
                begun.append(_Open(name, person, plan, store.folder(name, person)))
            if begun:
                cutter.cut(frame, number, begun)
                for tracklet in begun:
                    if tracklet.written == len(tracklet.plan):
                        store.finish(_entry(tracklet))
                begun = [tracklet for tracklet in begun if tracklet.written < len(tracklet.plan)]
            read = frame.index + 1
            bar.update()
            if read == total:
                break
    notes = []
    if frames.damaged:
        notes.append(
            f"{video.name} has {frames.damaged:,} faults; pictures near them may be damaged, and frames after them "
            "numbered otherwise than by the tracker"
        )
    if read < total:
        for tracklet in begun:
            if tracklet.written < config.min_length:
                store.discard(tracklet.name)
            else:
                store.finish(_entry(tracklet))
        early = sum(name in store.finished and store.finished[name]["frames"] < len(plan) for name, _, plan in named)
        lost = sum(name not in store.finished for name, _, _ in named)
        promise = f", its header promises {frames.promised:,}" if frames.promised else ""
        notes.append(
            f"{video.name} ends after {read:,} frames{promise}, and the tracks go on to frame {last:,}: "
            f"tracklets that end early: {early:,}, that are missing: {lost:,}"
        )
    return notes


class _Cutter:
    """Writes crops as JPEG files, with full colour resolution."""

    def __init__(self, config: CutConfig):
        self.config = config
        self.size = (config.width, config.height) if config.width else None
        self.clock = start_seconds(config.start)

    def cut(self, frame: VideoFrame, number: int, begun: list[_Open]) -> None:
        """Writes one crop for each tracklet that is seen in the frame, which is converted only where there is one."""
        seen = [tracklet for tracklet in begun if tracklet.plan.frames[tracklet.written] == number]
        if not seen:
            return
        pixels = frame.pixels()
        seconds = None if frame.seconds is None else self.clock + frame.seconds
        for tracklet in seen:
            left, top, right, bottom = tracklet.plan.boxes[tracklet.written]
            crop = np.ascontiguousarray(pixels[top:bottom, left:right])
            if self.size and self.size != (right - left, bottom - top):
                crop = np.asarray(Image.fromarray(crop).resize(self.size, Image.Resampling.BICUBIC))
            data = simplejpeg.encode_jpeg(crop, quality=self.config.quality, colorsubsampling="444", fastdct=False)
            (tracklet.folder / f"{number:06d}.jpg").write_bytes(data)
            tracklet.seconds[bool(tracklet.written)] = seconds
            tracklet.written += 1


def _entry(tracklet: _Open) -> dict[str, Any]:
    """What tracklets.json says of it."""
    plan, written = tracklet.plan, tracklet.written
    start, end = tracklet.seconds
    return {
        "name": tracklet.name,
        "person": tracklet.person,
        "track": plan.track,
        "first_frame": int(plan.frames[0]),
        "last_frame": int(plan.frames[written - 1]),
        "start": start,
        "end": start if written == 1 else end,
        "frames": written,
        "bridged": int(plan.bridged[:written].sum()),
    }

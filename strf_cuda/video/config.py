"""What is cut out of a video, and how."""

import dataclasses
import math
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Literal

from strf_cuda.errors import InputError
from strf_cuda.settings import check_at_least

_NOT_OF_THE_CROPS = ("video", "tracks", "out", "camera", "prefix", "replace")


@dataclass(frozen=True)
class CutConfig:
    """Cuts tracklets out of a video along the boxes of a tracker, into folders person/camera/tracklet.

    Video and tracks may be given without their names: python -m strf_cuda.tracklets VIDEO TRACKS --out DIR. Given
    again after it was stopped, it goes on with the tracklets that are missing. A track is no identity: the person's
    name is made of camera, video and track, and whoever knows better renames the folder.

    Args:
        video: video file
        tracks: text file with a box a line, frame,id,left,top,width,height[,confidence,...] (MOTChallenge), or the
            folder of labels that Ultralytics writes
        out: folder for the tracklets, new or one that holds those of other videos already
        camera: its name; null takes the video's
        prefix: with what names of persons begin; null takes the camera's name, and the video's where that differs
        start: when the video begins: seconds, a time of day (09:30:00) or a date and time (2026-11-23T09:30:00, UTC
            unless it names a zone)
        first_frame: number that the tracks give the first frame; null takes 0 where a box has it, and else 1
        boxes: what a box's four numbers are: sizes (left, top, width, height), corners (left, top, right, bottom) or
            centers (centre, width, height); null goes by the header, and takes sizes without one
        classes: numbers in column 8 that are taken, as of ground truth; null takes every line
        min_confidence: least number in column 7; null takes every line
        gap: most frames in a row without a box that are bridged, by a box in a straight line between its neighbours
        min_length: fewest frames of a tracklet
        min_width: smallest width of a box within the frame, in pixels
        min_height: smallest height of a box within the frame, in pixels
        visible: least share of a box within the frame
        margin: what is added on each side, as a share of the box's width or height
        every: take every n-th frame of the video
        height: of the crops in pixels; null leaves them as they are
        width: of the crops in pixels; null leaves them as they are
        quality: of the JPEG files, 1 to 100
        as_stored: take frames as they are stored, and not turned upright as the video's display matrix says
        replace: remove what was cut out of this video before, where it still lies, and cut it anew
    """

    video: str | None = None
    tracks: str | None = None
    out: str | None = None
    camera: str | None = None
    prefix: str | None = None
    start: str = "0"
    first_frame: int | None = None
    boxes: Literal["sizes", "corners", "centers"] | None = None
    classes: tuple[int, ...] | None = None
    min_confidence: float | None = None
    gap: int = 10
    min_length: int = 8
    min_width: int = 16
    min_height: int = 32
    visible: float = 0.5
    margin: float = 0.0
    every: int = 1
    height: int | None = None
    width: int | None = None
    quality: int = 95
    as_stored: bool = False
    replace: bool = False

    @property
    def camera_name(self) -> str:
        return self.camera or self._stem

    @property
    def _stem(self) -> str:
        return Path(self.video).stem.lstrip(".")  # folders whose names begin with a dot are hidden

    @property
    def person_prefix(self) -> str:
        """Differs between videos, of one camera too, unless two of a camera have one name."""
        stem = self._stem
        return self.prefix or (stem if self.camera_name == stem else f"{self.camera_name}-{stem}")

    def crop_options(self) -> dict:
        """The options on which the crops and their times depend, ready for JSON."""
        options = dataclasses.asdict(self)
        if self.classes is not None:
            options["classes"] = sorted(set(self.classes))
        return {name: value for name, value in options.items() if name not in _NOT_OF_THE_CROPS}


def check_cut(config: CutConfig) -> None:
    """Raises an `InputError` for options that no cut can use; types have been checked on reading."""
    missing = [name for name in ("video", "tracks", "out") if getattr(config, name) is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} not given: python -m strf_cuda.tracklets VIDEO TRACKS --out DIR")
    check_at_least(
        config,
        first_frame=0,
        gap=0,
        min_length=1,
        min_width=1,
        min_height=1,
        margin=0,
        every=1,
        height=1,
        width=1,
        quality=1,
    )
    if config.quality > 100:
        raise InputError(f"quality is {config.quality}, but it must be at most 100")
    if not 0 <= config.visible <= 1:
        raise InputError(f"visible is {config.visible}, but a share is between 0 and 1")
    if (config.height is None) != (config.width is None):
        raise InputError(f"height is {config.height} and width is {config.width}: give both, or neither")
    if config.classes == ():
        raise InputError("classes is empty: name those to take, or leave it out")
    for name, value in {"camera": config.camera_name, "prefix": config.person_prefix}.items():
        if "/" in value or "\0" in value or value.startswith("."):
            raise InputError(f"{name} is {value!r}, but it names a folder: it has no slash and no dot at its beginning")
    start_seconds(config.start)


def start_seconds(text: str) -> float:
    """When a video begins: seconds as given, of the day for a time, since 1970 (UTC) for a date and time.

    Raises:
        InputError: it is neither.
    """
    for parse in (float, _of_the_day, _since_1970):
        try:
            seconds = parse(text)
        except ValueError:
            continue
        if math.isfinite(seconds):
            return seconds
    raise InputError(
        f"start is {text!r}, but it must be seconds, a time such as 09:30:00 or a date and time such as "
        "2026-11-23T09:30:00"
    )


def _of_the_day(text: str) -> float:
    moment = time.fromisoformat(text)
    return (moment.hour * 60 + moment.minute) * 60 + moment.second + moment.microsecond / 1e6


def _since_1970(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

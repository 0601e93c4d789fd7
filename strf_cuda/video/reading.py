"""Decodes a video once from its beginning, with PyAV, into frames as trackers see and count them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from strf_cuda.contents import in_its_place
from strf_cuda.errors import InputError


def import_av() -> ModuleType:
    """PyAV, which is an optional dependency."""
    try:
        import av
    except ImportError as error:
        raise InputError(f'reading videos needs PyAV ({error}): pip install "strf_cuda[video]"') from None
    return av


@dataclass(frozen=True)
class VideoFrame:
    """One decoded frame.

    Attributes:
        index: how many frames come before it.
        seconds: after the first frame; None where the video does not say.
    """

    index: int
    seconds: float | None
    _decoded: Any
    _quarter_turns: int

    def pixels(self) -> np.ndarray:
        """uint8 [height, width, 3], RGB, by the colour matrix and range that the video names."""
        return np.rot90(self._decoded.to_ndarray(format="rgb24"), self._quarter_turns)


class Video:
    """A video file, decoded in several threads; iterate once over its frames.

    Frames are counted as they leave the decoder, as OpenCV counts them, and turned upright as OpenCV turns them: by the
    video's display matrix where that is a multiple of 90 degrees, without its mirroring. Neither frames of changing
    duration nor interlaced ones are treated in any other way than steady whole ones.

    Args:
        path: the file, in any format that FFmpeg reads.
        as_stored: do not turn frames.

    Attributes:
        height, width: of the frames, in pixels.
        frames_a_second: on average; None where the video does not say.
        promised: frames that the header promises, or its duration; None where it says neither.
        damaged: packets and frames so far in which the decoder has found faults.

    Raises:
        InputError: PyAV is not installed, or the file is missing, no video, or has no frame that can be decoded.
    """

    def __init__(self, path: str | os.PathLike, *, as_stored: bool = False):
        self._path = Path(path)
        self._av = import_av()
        self._container = _open(self._av, self._path)
        try:
            self._stream = _stream(self._container, self._path)
            self._stream.thread_type = "AUTO"
            rate = self._stream.average_rate
            self.frames_a_second = float(rate) if rate else None
            self.promised = self._stream.frames or _frames_of_duration(self._container, self._stream)
            self.damaged = 0
            self._frames = self._decoded()
            first = next(self._frames, None)
            if first is None:
                raise InputError(f"no frame of {self._path} can be decoded")
            rotation = 0 if as_stored else first.rotation
            self._quarter_turns = rotation // 90 if rotation % 90 == 0 else 0
            self._size, self._first = (first.height, first.width), first
            self.height, self.width = self._size[:: -1 if self._quarter_turns % 2 else 1]
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames in the order of their display.

        Raises:
            InputError: the size of the frames changes.
        """
        start = self._first.time
        for index, frame in enumerate(chain([self._first], self._frames)):
            if (frame.height, frame.width) != self._size:
                raise InputError(
                    f"frame {index + 1} of {self._path} is {frame.height}x{frame.width} (height x width), those before "
                    f"it {self._size[0]}x{self._size[1]}: divide the video there"
                )
            seconds = frame.time - start if frame.time is not None and start is not None else None
            if seconds is None and self.frames_a_second:
                seconds = index / self.frames_a_second
            yield VideoFrame(index, seconds, frame, self._quarter_turns)

    def _decoded(self) -> Iterator[Any]:
        """Every frame that the decoder gives, past packets that it cannot use."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except self._av.FFmpegError as error:
                if isinstance(error, OSError):
                    raise InputError(f"cannot read {self._path}: {error.strerror}") from None
                self.damaged += 1
                continue
            for frame in frames:
                self.damaged += frame.is_corrupt
                yield frame


def count_frames(path: str | os.PathLike) -> int:
    """How many frames a video holds, from its packets, which are read but not decoded."""
    av = import_av()
    with _open(av, Path(path)) as container:
        return sum(packet.size > 0 for packet in container.demux(_stream(container, Path(path))))


def _open(av: ModuleType, path: Path) -> Any:
    if path.is_dir():
        raise InputError(
            f"{path} is a folder: make a video of its frames first, as with ffmpeg -framerate 25 -i {path}/%06d.jpg "
            f"-c copy {path.resolve().name}.mkv"
        )
    if not path.is_file():
        raise InputError(f"there is no video {path}")
    try:
        return av.open(f"file:{path}")  # or FFmpeg takes what stands before a colon for a protocol
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise InputError(f"cannot open the video {path}: {error.strerror}") from None
        if found := in_its_place(path, or_text=True):
            raise InputError(f"{path} is no video but {found}") from None
        size = path.stat().st_size
        raise InputError(
            f"{path} is no video that FFmpeg can read, or its beginning or index is missing ({size:,} bytes): "
            f"{error.strerror}"
        ) from None


def _stream(container: Any, path: Path) -> Any:
    stream = container.streams.best("video")
    cover = stream is not None and stream.disposition & type(stream.disposition).attached_pic  # of a piece of music
    if stream is None or cover:
        kinds = sorted({stream.type for stream in container.streams})
        raise InputError(f"{path} has no video stream: it holds {' and '.join(kinds) or 'no stream at all'}")
    return stream


def _frames_of_duration(container: Any, stream: Any) -> int | None:
    if not stream.average_rate:
        return None
    if stream.duration:
        return round(stream.duration * stream.time_base * stream.average_rate)
    return round(container.duration * stream.average_rate / 1_000_000) if container.duration else None

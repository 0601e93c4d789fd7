"""Short loops of tracklets: some frames side by side in one small WebP, which the page shows one after the other."""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from strf_cuda.data.frames import read_frame, read_header
from strf_cuda.data.parallel import map_in_processes
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.errors import InputError

SAMPLE = 32  # tracklets by which the size of all is estimated
STEPS = ((128, 75), (128, 60), (112, 55), (96, 55), (96, 45), (96, 35), (80, 35), (64, 35), (48, 30))  # height, quality
FEW = 1000  # tracklets, drawn in the time that processes take to start
TRACKLETS_A_TASK = 32
LARGEST_WIDTH = 16383  # of a WebP


@dataclass(frozen=True)
class Loop:
    """How tracklets are shown.

    Attributes:
        frames: frames side by side; a shorter tracklet repeats some.
        stride: frames of the tracklet between two of them, fewer where it is shorter.
        height, width: of a frame in pixels.
        quality: of the WebP, 0 to 100.
    """

    frames: int
    stride: int
    height: int
    width: int
    quality: int = 75

    def places(self, length: int) -> list[int]:
        """Which frames of a tracklet are shown: from around its middle, `stride` apart where it is long enough."""
        step = min(float(self.stride), length / self.frames)
        first = (length - step * (self.frames - 1) - 1) / 2
        return [min(max(round(first + step * place), 0), length - 1) for place in range(self.frames)]

    def strip(self, tracklet: Tracklet) -> bytes:
        """The frames side by side, a WebP.

        Raises:
            InputError: a frame that cannot be read.
        """
        pixels = np.empty((self.height, self.frames, self.width, 3), np.uint8)
        for place, frame in enumerate(self.places(len(tracklet))):
            pixels[:, place] = read_frame(tracklet.paths[frame], self.height, self.width)
        file = io.BytesIO()
        picture = Image.fromarray(pixels.reshape(self.height, -1, 3))
        picture.save(file, "WEBP", quality=self.quality, method=2)
        return file.getvalue()


def fitting_loop(
    tracklets: Sequence[Tracklet], frames: int, stride: int, shape: tuple[int, int], height: int | None, room: int
) -> Loop:
    """The best pictures of all tracklets that take about `room` bytes, or the smallest where nothing fits.

    Args:
        shape: height and width of the frames that the model sees, which give the proportions.
        height: of the pictures, or None for the largest that fits; larger than the frames they are not then.

    Raises:
        InputError: the frames side by side are wider than a WebP may be, or one cannot be read.
    """
    chosen = tracklets[:: max(1, len(tracklets) // SAMPLE)]
    highest = max(read_header(tracklet.paths[0]).height for tracklet in chosen)
    choices = [(min(step, highest) if height is None else height, quality) for step, quality in STEPS]
    for high, quality in dict.fromkeys(choices):
        loop = Loop(frames, stride, high, max(1, round(high * shape[1] / shape[0])), quality)
        if loop.frames * loop.width > LARGEST_WIDTH:
            raise InputError(
                f"{frames} frames of {loop.height}x{loop.width} pixels side by side are wider than a WebP may be, "
                f"{LARGEST_WIDTH} pixels: give a smaller --thumb_height or fewer --loop_frames"
            )
        if sum(map(len, strips(chosen, loop))) * len(tracklets) <= room * len(chosen):
            break
    return loop


def strips(tracklets: Sequence[Tracklet], loop: Loop) -> Iterator[bytes]:
    """The strips of all tracklets, in order, by all cores where there are so many that starting processes pays."""
    workers = (os.cpu_count() or 1) if len(tracklets) >= FEW else 1
    return map_in_processes(loop.strip, tracklets, workers, TRACKLETS_A_TASK)

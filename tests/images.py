"""Small frame files for the tests of reading and loading: each frame can be told from every other by its colour."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from strf_cuda.data.tracklets import Tracklet

HEIGHT, WIDTH = 16, 8


def frame_colour(tracklet: int, frame: int) -> tuple[int, int, int]:
    return (tracklet, frame, 255 - frame)


def make_tracklets(folder: Path, lengths: list[int], people: list[int], suffix: str = "png") -> list[Tracklet]:
    """One tracklet for each length, whose frames are plain pictures of `frame_colour`; cameras count from 1."""
    tracklets = []
    for index, (length, person) in enumerate(zip(lengths, people, strict=True)):
        paths = []
        for frame in range(length):
            path = folder / f"{index:04d}-{frame:04d}.{suffix}"
            Image.new("RGB", (WIDTH, HEIGHT), frame_colour(index, frame)).save(path)
            paths.append(str(path))
        tracklets.append(Tracklet(paths, person, index % 6 + 1))
    return tracklets


def noise_jpeg(height: int = 64, width: int = 32) -> bytes:
    """A JPEG with enough coded data to be cut within it."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()

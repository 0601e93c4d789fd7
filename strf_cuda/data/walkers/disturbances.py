"""What makes tracklets hard: boxes that miss their person, and things that pass or stand before them.

Lengths are in frame heights; image points are (right, up) from the middle of a well-placed box's ground line.
"""

from dataclasses import dataclass

import numpy as np

from strf_cuda.data.walkers.config import FRAMES_PER_SECOND
from strf_cuda.data.walkers.figure import Polygon, View, figure
from strf_cuda.data.walkers.people import GARMENTS, Walker, sample_appearance, sample_gait

# Of every box, well placed or not: how far it wanders from frame to frame.
TREMOR = 0.004


@dataclass(frozen=True, slots=True)
class Box:
    """Where a tracklet's boxes lie, frame by frame [F]: shift of the picture inside the box, and enlargement."""

    right: np.ndarray
    up: np.ndarray
    zoom: np.ndarray


def well_placed(num_frames: int, rng: np.random.Generator) -> Box:
    """A box that trembles a little."""
    wander = np.cumsum(rng.normal(0, TREMOR, (2, num_frames)), axis=1)
    # Boxes keep to their person: what a random walk gathers is taken away again.
    wander -= np.linspace(0, 1, num_frames) * wander[:, -1:]
    return Box(wander[0], wander[1], 1 + rng.normal(0, TREMOR, num_frames))


def misplaced(num_frames: int, rng: np.random.Generator) -> Box:
    """A box beside its person, too small or large for it, or sliding over it; parts are cut off."""
    base = well_placed(num_frames, rng)
    time = np.linspace(0, 1, num_frames)
    side, vertical = rng.choice([-1, 1], 2)
    kind = rng.integers(3)
    if kind == 0:
        right, up, zoom = side * rng.uniform(0.08, 0.15), vertical * rng.uniform(0.08, 0.2), rng.uniform(0.95, 1.1)
    elif kind == 1:
        zoom = rng.uniform(1.3, 1.7) if rng.random() < 0.6 else rng.uniform(0.58, 0.72)
        right, up = side * rng.uniform(0, 0.06), (1 - zoom) * rng.uniform(0.2, 0.8)
    else:
        swing = np.sin(2 * np.pi * (rng.uniform(0.5, 1.2) * time + rng.uniform()))
        right, up, zoom = rng.uniform(0.1, 0.17) * swing, vertical * rng.uniform(0.0, 0.12), 1 + 0.15 * swing
    return Box(base.right + right, base.up + up, base.zoom * zoom)


def missed(num_frames: int, rng: np.random.Generator) -> Box:
    """The box of junk: it holds a corner of its person at most."""
    base = well_placed(num_frames, rng)
    right, up = rng.choice([-1, 1]) * rng.uniform(0.18, 0.3), rng.choice([-1, 1]) * rng.uniform(0.4, 0.6)
    return Box(base.right + right, base.up + up, base.zoom * rng.uniform(0.9, 1.6))


def occluder(num_frames: int, aspect: float, view: View, rng: np.random.Generator) -> list[Polygon]:
    """Polygons [F, K, 2] of a passer-by, a pillar, a hedge or a cart before the walker.

    Args:
        aspect: width of a frame over its height.
        view: from where the camera sees; a passer-by walks either way.
    """
    kind = rng.choice(["passer-by", "pillar", "hedge", "cart"], p=[0.45, 0.2, 0.2, 0.15])
    colour = tuple(int(value) for value in np.array(GARMENTS)[rng.integers(len(GARMENTS))] * 0.9)
    place = _crossing(num_frames, aspect, rng)
    if kind == "passer-by":
        walker = Walker(0, sample_appearance(rng), sample_gait(rng))
        phases = rng.uniform(0, 2 * np.pi) + 2 * np.pi * walker.gait.pace * np.arange(num_frames) / FRAMES_PER_SECOND
        polygons = figure(walker, phases, View(int(rng.choice([-1, 1])), view.yaw, view.pitch))
        size = rng.uniform(0.95, 1.1)
        shift = np.stack([place, np.full(num_frames, -rng.uniform(0.02, 0.1))], -1)[:, None]
        return [(size * points + shift, shade) for points, shade in polygons]
    if kind == "pillar":
        half = rng.uniform(0.08, 0.13)
        return [
            _block(place, half, -0.1, 1.1, colour),
            _block(place + 0.6 * half, 0.2 * half, -0.1, 1.1, _dark(colour)),
        ]
    if kind == "hedge":
        top = rng.uniform(0.3, 0.45)
        still = np.full(num_frames, rng.uniform(-0.1, 0.1))
        leaves = (int(rng.integers(40, 80)), int(rng.integers(80, 130)), int(rng.integers(30, 70)))
        tops = [
            (still + x, half, -0.1, top + rise)
            for x, half, rise in zip(
                np.linspace(-0.4, 0.4, 9), rng.uniform(0.04, 0.08, 9), rng.uniform(-0.03, 0.05, 9), strict=True
            )
        ]
        return [_block(*piece, leaves if n % 2 else _dark(leaves)) for n, piece in enumerate(tops)] + [
            _block(still, 0.6, -0.1, top - 0.04, leaves)
        ]
    half, top = rng.uniform(0.14, 0.2), rng.uniform(0.34, 0.46)
    return [_block(place, half, 0.05, top, colour), _block(place, 0.8 * half, 0.0, 0.1, (30, 30, 32))]


def _crossing(num_frames: int, aspect: float, rng: np.random.Generator) -> np.ndarray:
    """Where something stands from frame to frame [F]: it passes once, or comes and stays before part of the walker."""
    time = np.linspace(0, 1, num_frames)
    side = rng.choice([-1, 1])
    if rng.random() < 0.5:
        return side * (0.5 * aspect + 0.15) * np.linspace(-1, 1, num_frames) * rng.uniform(0.7, 1.0)
    # Beside the middle: what stays before all of a walker leaves nobody to recognise.
    stay = side * rng.uniform(0.22, 0.45) * aspect
    arrival = rng.uniform(-0.2, 0.4)
    return stay + side * np.clip(arrival - time, 0, 1) * 2.0


def _block(place: np.ndarray, half_width: float, bottom: float, top: float, colour) -> Polygon:
    left, right = place - half_width, place + half_width
    low, high = np.full_like(place, bottom), np.full_like(place, top)
    corners = [(left, low), (right, low), (right, high), (left, high)]
    return np.stack([np.stack(corner, -1) for corner in corners], 1), colour


def _dark(colour):
    return tuple(round(0.7 * value) for value in colour)

"""The six cameras: from which side and how large they see a walker, their light and noise, and what stands behind."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from strf_cuda.data.walkers.config import SCENE, stream
from strf_cuda.data.walkers.people import Colour


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera.

    Attributes:
        number: as MARS numbers it, from 1.
        yaw, pitch: degrees by which walks turn towards it, and by which it looks down.
        scale: height of a walker of factor 1 as a share of the frame.
        rightwards: share of the walks that go to the right.
        gains: of red, green and blue: its colour cast and exposure.
        contrast: about middle grey.
        noise: standard deviation of a pixel's channel, of 255.
        detail: linear resolution as a share of the frame's.
        wall, ground: colours of its scene.
        furniture: what stands in its scene.
    """

    number: int
    yaw: float
    pitch: float
    scale: float
    rightwards: float
    gains: tuple[float, float, float]
    contrast: float
    noise: float
    detail: float
    wall: Colour
    ground: Colour
    furniture: str


CAMERA_TABLE = (
    Camera(1, 0, 4, 0.92, 0.7, (1.02, 1.00, 0.96), 1.00, 4, 1.0, (168, 160, 148), (128, 126, 122), "windows"),
    Camera(2, 28, 9, 0.86, 0.3, (0.90, 1.00, 1.14), 1.05, 6, 1.0, (150, 168, 180), (158, 156, 150), "posts"),
    Camera(3, -25, 6, 0.95, 0.6, (0.98, 0.88, 0.68), 0.95, 9, 1.0, (176, 158, 120), (108, 90, 72), "doors"),
    Camera(4, 42, 12, 0.80, 0.4, (1.08, 1.14, 1.00), 1.08, 5, 0.8, (120, 150, 96), (116, 138, 84), "trees"),
    Camera(5, -8, 3, 0.90, 0.2, (0.96, 0.76, 0.70), 1.00, 7, 0.7, (150, 92, 74), (112, 100, 94), "bricks"),
    Camera(6, -42, 8, 0.84, 0.8, (0.56, 0.64, 0.82), 0.90, 10, 0.9, (92, 98, 112), (74, 76, 82), "cars"),
)

# Where wall and ground meet, as a share of the frame's height. A scene is this many frames long and then repeats, and
# goes on above and below by this share of a frame, for boxes that lie too high or low.
HORIZON, SCENE_FRAMES, SCENE_MARGIN = 0.62, 6, 0.25


@lru_cache(maxsize=16)
def scene(camera: Camera, seed: int, height: int, width: int) -> Image.Image:
    """What a camera sees without walkers, as an image of `SCENE_FRAMES` + 1 widths by 1 + 2 `SCENE_MARGIN` heights.

    The last width repeats the first, so that a crop may start anywhere in the others.
    """
    rng = stream(seed, SCENE, camera.number)
    length, margin = SCENE_FRAMES * width, round(SCENE_MARGIN * height)
    bottom, horizon = height + 2 * margin, margin + round(HORIZON * height)
    image = Image.new("RGB", (length, bottom), camera.wall)
    draw = ImageDraw.Draw(image)
    for row in range(horizon, bottom, 2):
        draw.rectangle((0, row, length, row + 1), fill=_lighter(camera.ground, 1.1 - 0.35 * (row - horizon) / height))
    for x in np.arange(0, length, width / 3):
        _furnish(draw, camera, float(x + rng.uniform(0, 0.12) * width), margin, width, height, rng)
    for _ in range(3 * SCENE_FRAMES):
        x, y = rng.uniform(0, length), rng.uniform(horizon, bottom)
        reach = rng.uniform(0.05, 0.25) * width
        draw.ellipse((x, y, x + reach, y + 0.25 * reach), fill=_lighter(camera.ground, rng.uniform(0.75, 1.2)))
    image = image.filter(ImageFilter.GaussianBlur(height / 128))
    tiled = Image.new("RGB", (length + width, bottom))
    tiled.paste(image, (0, 0))
    tiled.paste(image.crop((0, 0, width, bottom)), (length, 0))
    return tiled


def _lighter(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


def _furnish(
    draw: ImageDraw.ImageDraw,
    camera: Camera,
    x: float,
    margin: int,
    width: int,
    height: int,
    rng: np.random.Generator,
) -> None:
    """One piece of furniture at `x`, about a third of a frame wide."""
    tone = rng.uniform(0.6, 1.3)
    sway = rng.uniform(-0.07, 0.08)
    reach = 0.22 * width

    def block(left: float, top: float, right: float, bottom: float, colour: Colour, shade: float = tone) -> None:
        """Its sides in pieces of `reach` from `x`, its top and bottom in frame heights."""
        draw.rectangle(
            (x + left * reach, margin + top * height, x + right * reach, margin + bottom * height),
            fill=_lighter(colour, shade),
        )

    if camera.furniture == "windows":
        block(0, 0.12 + sway, 1, 0.40 + sway, (100, 118, 136))
        block(0.46, 0.12 + sway, 0.54, 0.40 + sway, camera.wall, 1)
    elif camera.furniture == "posts":
        block(0, 0.1, 0.27, HORIZON + 0.05, (90, 94, 98))
        block(0, 0.45, 1.6, 0.48, (110, 112, 116))
    elif camera.furniture == "doors":
        block(0, 0.14, 1, HORIZON, (120, 84, 56))
        block(0.8, 0.38, 0.9, 0.42, (210, 190, 120), 1)
    elif camera.furniture == "trees":
        block(0.4, 0.3, 0.6, HORIZON + 0.02, (84, 64, 46))
        top = margin + (0.03 + sway) * height
        draw.ellipse((x - 0.3 * reach, top, x + 1.3 * reach, top + 0.38 * height), fill=_lighter((60, 104, 48), tone))
    elif camera.furniture == "bricks":
        for row, top in enumerate(np.arange(-SCENE_MARGIN, HORIZON - 0.05, 0.06)):
            left = 0.7 * (row % 2)
            block(left, top, left + 0.65, top + 0.045, (166, 92, 70), rng.uniform(0.8, 1.15))
    else:
        red, green, blue = rng.integers(50, 190, 3).tolist()
        block(0, 0.5, 1.4, HORIZON + 0.06, (red, green, blue), 1)
        block(0.25, 0.43, 1.1, 0.5, (red, green, blue), 0.6)

"""Maps of numbers over frames, and the bar that says what their colours mean.

Frames are grey under a map, so that all colour is the map's. The colours are those of matplotlib's inferno: lightness
rises evenly with the value, which reads the same without colour and with any kind of colour blindness.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from strf_cuda.markdown import one_line
from strf_cuda.pictures import GREY, INK, fitted

OPACITY = 0.65
BAR_WIDTH, BAR_HEIGHT = 220, 12
TITLE_SIZE, TITLE_LINE = 19, 25
RING, RING_EDGE = (64, 224, 255), (0, 0, 0)
Point = tuple[float, float]
Colour = tuple[int, int, int]


@cache
def _colour_table() -> np.ndarray:
    from matplotlib import colormaps

    return (255 * colormaps["inferno"](np.arange(256))[:, :3]).round().astype(np.uint8)


def overlay(frame: np.ndarray, values: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """A frame uint8 [H, W, 3] in grey under a map [h, w] of values from 0 to 1: uint8 [H, W, 3].

    Args:
        smooth: interpolate linearly between the middles of the map's positions; otherwise each one is a rectangle.
    """
    height, width = frame.shape[:2]
    filter_ = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    large = np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), filter_))
    colours = _colour_table()[np.clip(255 * large, 0, 255).round().astype(np.uint8)]
    grey = np.asarray(Image.fromarray(frame).convert("L"))[..., None]
    return ((1 - OPACITY) * grey + OPACITY * colours).round().astype(np.uint8)


def colour_bar(canvas: Image.Image, left: int, middle: int, low: str, high: str) -> int:
    """Draws a bar between its two labels, with its left end and vertical middle given; returns the right end of all."""
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    draw.text((left, middle), low, INK, font, anchor="lm")
    left += round(font.getlength(low)) + 8
    # As a map looks over a frame of middle grey.
    ramp = overlay(np.full((BAR_HEIGHT, BAR_WIDTH, 3), 128, np.uint8), np.linspace(0, 1, BAR_WIDTH)[None])
    top = middle - BAR_HEIGHT // 2
    canvas.paste(Image.fromarray(ramp), (left, top))
    draw.rectangle([left - 1, top - 1, left + BAR_WIDTH, top + BAR_HEIGHT], outline=GREY)
    right = left + BAR_WIDTH + 8
    draw.text((right, middle), high, INK, font, anchor="lm")
    return right + round(font.getlength(high))


def ring(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    """A light frame with dark edges around a rectangle: visible on any ground."""
    left, top, right, bottom = (round(side) for side in box)
    draw.rectangle([left - 2, top - 2, right + 1, bottom + 1], outline=RING_EDGE)
    draw.rectangle([left - 1, top - 1, right, bottom], outline=RING, width=2)
    draw.rectangle([left + 1, top + 1, right - 2, bottom - 2], outline=RING_EDGE)


def write(
    canvas: Image.Image,
    at: Point,
    words: str,
    size: int,
    colour: Colour = INK,
    *,
    width: int | None = None,
    anchor: str = "lm",
) -> None:
    """One line of text at a point, cut to `width` pixels."""
    words = one_line(words) if width is None else fitted(words, size, width)
    ImageDraw.Draw(canvas).text(at, words, colour, ImageFont.load_default(size), anchor=anchor)


def write_title(canvas: Image.Image, left: int, top: int, lines: Sequence[str]) -> None:
    """The lines of a title that `wrapped` has made for `TITLE_SIZE`."""
    for number, line in enumerate(lines):
        write(canvas, (left, top + 10 + TITLE_LINE * number), line, TITLE_SIZE)


def wrapped(sentences: Sequence[str], size: int, width: int) -> list[str]:
    """Sentences as lines of at most `width` pixels, each sentence beginning a line."""
    font = ImageFont.load_default(size)
    lines = []
    for sentence in sentences:
        line = ""
        for word in map(one_line, sentence.split()):
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines

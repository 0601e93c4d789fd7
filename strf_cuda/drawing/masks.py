"""Where one position of a unit's output takes its values from: a column of every mask, over the frames of a clip."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from strf_cuda.drawing.overlays import TITLE_LINE, TITLE_SIZE, colour_bar, overlay, ring, wrapped, write, write_title
from strf_cuda.errors import InputError
from strf_cuda.files import replacing
from strf_cuda.pictures import BLUE, GREY, INK, WHITE

FRAME_GAP, MAP_GAP, GROUP_GAP, ROW_GAP = 2, 22, 34, 16
LABEL_WIDTH, CAPTION_HEIGHT = 190, 40
MARGIN, TITLE_GAP, HEADER_HEIGHT, NOTE_HEIGHT = 24, 19, 62, 18
LEAST_MAP_WIDTH = 136  # for the words above and below


@dataclass(frozen=True)
class MaskColumn:
    """The head of a column of maps: what is shown, a note on it, and the group that it begins, if any."""

    title: str
    note: str
    group: str = ""


@dataclass(frozen=True)
class MaskRow:
    """One position of one clip.

    Attributes:
        labels: lines of text that name the tracklet and the position, the first one in blue.
        frames: uint8 [T, H, W, 3], at the size at which they are drawn.
        position: (row, column) on the grid of positions.
        weights: for each column [h, w], 0 or more.
        captions: for each column two lines of text.
    """

    labels: Sequence[str]
    frames: np.ndarray
    position: tuple[int, int]
    weights: Sequence[np.ndarray]
    captions: Sequence[tuple[str, str]]


def draw_masks(
    rows: Sequence[MaskRow],
    columns: Sequence[MaskColumn],
    path: str | os.PathLike,
    *,
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Writes a PNG: a row for each position, its clip's frames at the left, then a map of weights for each column.

    Weights are drawn over the mean of the frames, since they hold for all of them, each map scaled by its largest
    weight. The position itself is framed everywhere.

    Raises:
        InputError: there is nothing to draw, or the file cannot be written.
    """
    if not rows:
        raise InputError("there are no positions to draw")
    frames, height, width = (max(row.frames.shape[side] for row in rows) for side in range(3))
    map_width = max(width, LEAST_MAP_WIDTH)
    lefts, left = [], MARGIN + LABEL_WIDTH + frames * (width + FRAME_GAP) - FRAME_GAP
    for column in columns:
        left += GROUP_GAP if column.group else MAP_GAP
        lefts.append(left)
        left += map_width
    total_width = left + MARGIN
    row_height = height + CAPTION_HEIGHT + ROW_GAP
    heading = wrapped([title], TITLE_SIZE, total_width - 2 * MARGIN)
    footer = wrapped(notes, 13, total_width - 2 * MARGIN)
    header = MARGIN + len(heading) * TITLE_LINE + TITLE_GAP
    first_top = header + HEADER_HEIGHT
    total_height = first_top + len(rows) * row_height + NOTE_HEIGHT * (1 + len(footer)) + MARGIN
    canvas = Image.new("RGB", (total_width, total_height), WHITE)
    write_title(canvas, MARGIN, MARGIN, heading)

    write(canvas, (MARGIN + LABEL_WIDTH, header + 28), "frames", 15)
    for place, (column, left) in enumerate(zip(columns, lefts, strict=True)):
        if column.group:
            following = (lefts[later] for later in range(place + 1, len(columns)) if columns[later].group)
            room = next(following, total_width - MARGIN + GROUP_GAP) - GROUP_GAP - left
            write(canvas, (left, header + 6), column.group, 13, GREY, width=room)
        write(canvas, (left, header + 28), column.title, 15, width=map_width)
        write(canvas, (left, header + 46), column.note, 12, GREY, width=map_width)
    for number, row in enumerate(rows):
        _draw_row(canvas, row, lefts, first_top + number * row_height, map_width)

    middle = first_top + len(rows) * row_height + 4
    colour_bar(canvas, MARGIN, middle, "0", "the largest weight of the map")
    for number, sentence in enumerate(footer, start=1):
        write(canvas, (MARGIN, middle + number * NOTE_HEIGHT + 6), sentence, 13, GREY)
    with replacing(path) as temporary:
        canvas.save(temporary, format="PNG")


def _draw_row(canvas: Image.Image, row: MaskRow, lefts: Sequence[int], top: int, map_width: int) -> None:
    draw = ImageDraw.Draw(canvas)
    _, height, width, _ = row.frames.shape
    for number, label in enumerate(row.labels):
        at = (MARGIN, top + height // 2 + 20 * number - 10 * (len(row.labels) - 1))
        write(canvas, at, label, 13 if number else 15, GREY if number else BLUE, width=LABEL_WIDTH - 12)

    def place(picture: np.ndarray, left: int, grid: tuple[int, int]) -> None:
        canvas.paste(Image.fromarray(picture), (left, top))
        across, down = width / grid[1], height / grid[0]
        x, y = left + row.position[1] * across, top + row.position[0] * down
        ring(draw, (x, y, x + across, y + down))

    grid = row.weights[0].shape
    for number, frame in enumerate(row.frames):
        place(frame, MARGIN + LABEL_WIDTH + number * (width + FRAME_GAP), grid)
    mean = row.frames.mean(0).round().astype(np.uint8)
    for left, weights, caption in zip(lefts, row.weights, row.captions, strict=True):
        place(overlay(mean, weights / weights.max(), smooth=False), left, grid)
        for line, words in enumerate(caption):
            write(canvas, (left, top + height + 12 + 17 * line), words, 13, INK if line else GREY, width=map_width)

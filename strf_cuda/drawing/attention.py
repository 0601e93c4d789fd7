"""Attention maps of one or two models over the frames of clips, as in Figure 5 of the paper."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from strf_cuda.drawing.overlays import TITLE_LINE, TITLE_SIZE, colour_bar, overlay, wrapped, write, write_title
from strf_cuda.errors import InputError
from strf_cuda.files import replacing
from strf_cuda.pictures import BLUE, GREY, WHITE

BLOCKS_A_LINE = 4
FRAME_GAP, BLOCK_GAP, LINE_GAP = 2, 22, 26
LABEL_WIDTH, LABEL_HEIGHT = 180, 40
MARGIN, TITLE_GAP, NOTE_HEIGHT = 24, 15, 18


@dataclass(frozen=True)
class AttentionBlock:
    """One clip and the maps of each model.

    Attributes:
        label: names the tracklet; note: what else to know of it.
        frames: uint8 [T, H, W, 3], at the size at which they are drawn.
        maps: of each model [T, h, w], from 0 to 1.
    """

    label: str
    note: str
    frames: np.ndarray
    maps: Sequence[np.ndarray]


def draw_attention(
    blocks: Sequence[AttentionBlock],
    models: Sequence[str],
    path: str | os.PathLike,
    *,
    title: str,
    full_scale: str,
    notes: Sequence[str] = (),
) -> None:
    """Writes a PNG: a block for each clip, its frames above, and a row of maps over them for each model.

    Args:
        models: their names, in the order of every block's maps.
        full_scale: what the value 1 means, said at the colour bar.
        notes: sentences under the picture.

    Raises:
        InputError: there is nothing to draw, or the file cannot be written.
    """
    if not blocks:
        raise InputError("there are no clips to draw")
    frames, height, width = (max(block.frames.shape[side] for block in blocks) for side in range(3))
    block_width = frames * (width + FRAME_GAP) - FRAME_GAP
    line_height = LABEL_HEIGHT + (1 + len(models)) * (height + FRAME_GAP)
    columns = min(BLOCKS_A_LINE, len(blocks))
    lines = -(-len(blocks) // columns)
    total_width = 2 * MARGIN + LABEL_WIDTH + columns * (block_width + BLOCK_GAP) - BLOCK_GAP
    heading = wrapped([title], TITLE_SIZE, total_width - 2 * MARGIN)
    footer = wrapped(notes, 13, total_width - 2 * MARGIN)
    first_top = MARGIN + len(heading) * TITLE_LINE + TITLE_GAP
    total_height = first_top + lines * (line_height + LINE_GAP) + NOTE_HEIGHT * (1 + len(footer)) + MARGIN
    canvas = Image.new("RGB", (total_width, total_height), WHITE)
    write_title(canvas, MARGIN, MARGIN, heading)

    for line in range(lines):
        top = first_top + line * (line_height + LINE_GAP) + LABEL_HEIGHT
        for row, name in enumerate(["frames", *models]):
            words = wrapped([name], 16, LABEL_WIDTH - 10)
            middle = top + row * (height + FRAME_GAP) + height // 2 - 10 * (len(words) - 1)
            for number, line_of_name in enumerate(words):
                write(canvas, (MARGIN, middle + 20 * number), line_of_name, 16, width=LABEL_WIDTH - 10)
        for column, block in enumerate(blocks[line * columns : (line + 1) * columns]):
            left = MARGIN + LABEL_WIDTH + column * (block_width + BLOCK_GAP)
            write(canvas, (left, top - 29), block.label, 15, BLUE, width=block_width)
            write(canvas, (left, top - 11), block.note, 12, GREY, width=block_width)
            rows = [block.frames, *(map(overlay, block.frames, maps) for maps in block.maps)]
            for row, pictures in enumerate(rows):
                for place, picture in enumerate(pictures):
                    corner = (left + place * (width + FRAME_GAP), top + row * (height + FRAME_GAP))
                    canvas.paste(Image.fromarray(picture), corner)

    middle = first_top + lines * (line_height + LINE_GAP)
    colour_bar(canvas, MARGIN, middle, "0", full_scale)
    for number, sentence in enumerate(footer, start=1):
        write(canvas, (MARGIN, middle + NOTE_HEIGHT // 2 + number * NOTE_HEIGHT), sentence, 13, GREY)
    with replacing(path) as temporary:
        canvas.save(temporary, format="PNG")

"""The answers of several models to the same queries, one row a model, as in Figure 4 of the paper's supplement."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from strf_cuda.data.tracklets import Tracklet
from strf_cuda.drawing.overlays import TITLE_LINE, TITLE_SIZE, wrapped, write, write_title
from strf_cuda.errors import InputError
from strf_cuda.files import replacing
from strf_cuda.pictures import (
    CELL_HEIGHT,
    CELL_WIDTH,
    GREY,
    INK,
    LEGEND_HEIGHT,
    LINE,
    MARGIN,
    ROW_HEIGHT,
    WHITE,
    Names,
    draw_answers,
    draw_legend,
    draw_query,
    draw_ranks,
    width_of_answers,
)

MODEL_WIDTH, MODEL_GAP = 192, 24
TITLE_GAP, SECTION_HEIGHT, RANKS_HEIGHT, NOTE_HEIGHT = 15, 40, 30, 20
QUERY_GAP = 14


@dataclass(frozen=True)
class Answers:
    """What one model finds for a query: a name and lines of text, gallery indices [k] and distances [k]."""

    name: str
    lines: Sequence[str]
    ranking: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True)
class Section:
    """Queries under one heading; each with its label and the answers of every model."""

    heading: str
    queries: Sequence[tuple[Tracklet, str, Sequence[Answers]]]


def draw_compared_rankings(
    sections: Sequence[Section],
    gallery: Sequence[Tracklet],
    path: str | os.PathLike,
    *,
    title: str,
    notes: Sequence[str] = (),
    names: Names = (None, None),
) -> None:
    """Writes a PNG: a query at the left, and beside it the nearest tracklets in a row for each model.

    Args:
        gallery: what rankings point into, -1 for none.
        notes: sentences under the picture.
        names: of persons and cameras, for data sets that have them.

    Raises:
        InputError: there is nothing to draw, a frame cannot be read, or the file cannot be written.
    """
    rows = [answers for section in sections for _, _, found in section.queries for answers in found]
    if not rows:
        raise InputError("there are no queries to draw")
    model_left = MARGIN + CELL_WIDTH + MODEL_GAP
    answers_left = model_left + MODEL_WIDTH
    most = max(len(answers.ranking) for answers in rows)
    width = answers_left + width_of_answers(most) + MARGIN
    heading, footer = wrapped([title], TITLE_SIZE, width - 2 * MARGIN), wrapped(notes, 14, width - 2 * MARGIN)
    top = MARGIN + len(heading) * TITLE_LINE + TITLE_GAP
    queries = sum(len(section.queries) for section in sections)
    heads = sum(SECTION_HEIGHT + (RANKS_HEIGHT if section.queries else 0) for section in sections)
    height = top + heads + len(rows) * ROW_HEIGHT + queries * QUERY_GAP
    height += LEGEND_HEIGHT + len(footer) * NOTE_HEIGHT + MARGIN
    canvas = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(canvas)

    write_title(canvas, MARGIN, MARGIN, heading)
    for section in sections:
        write(canvas, (MARGIN, top + SECTION_HEIGHT // 2), section.heading, 17, width=width - 2 * MARGIN)
        top += SECTION_HEIGHT
        if section.queries:
            draw_ranks(canvas, answers_left, top + RANKS_HEIGHT // 2, most)
            top += RANKS_HEIGHT
        for query, label, found in section.queries:
            draw.line([(MARGIN, top - 2), (width - MARGIN, top - 2)], LINE)
            top += QUERY_GAP // 2
            draw_query(canvas, MARGIN, top, query, names)
            write(canvas, (MARGIN + CELL_WIDTH // 2, top + CELL_HEIGHT + 47), label, 13, GREY, anchor="mm")
            for answers in found:
                name = wrapped([answers.name], 16, MODEL_WIDTH - 12)
                middle = top + CELL_HEIGHT // 2 - 10 * (len(name) + len(answers.lines) - 1)
                for number, line in enumerate([*name, *answers.lines]):
                    size, colour = (16, INK) if number < len(name) else (14, GREY)
                    write(canvas, (model_left, middle + 20 * number), line, size, colour, width=MODEL_WIDTH - 12)
                draw_answers(canvas, answers_left, top, query, gallery, answers.ranking, answers.distances, names)
                top += ROW_HEIGHT
            top += QUERY_GAP - QUERY_GAP // 2
    draw_legend(canvas, top + LEGEND_HEIGHT // 2, distances=True)
    for number, sentence in enumerate(footer):
        write(canvas, (MARGIN, top + LEGEND_HEIGHT + NOTE_HEIGHT // 2 + number * NOTE_HEIGHT), sentence, 14)
    with replacing(path) as temporary:
        canvas.save(temporary, format="PNG")

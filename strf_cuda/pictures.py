"""Pictures of rankings: queries with their nearest gallery tracklets, as in Figure 4 of the paper's supplement.

One row a query. Right answers are framed green and carry a tick, wrong ones are framed red and carry a cross, so that
the picture can be read without telling green from red. Labels are blue: person and camera.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from strf_cuda.data.frames import read_frame
from strf_cuda.data.tracklets import DISTRACTOR_PERSON, JUNK_PERSON, Tracklet
from strf_cuda.errors import InputError
from strf_cuda.files import replacing
from strf_cuda.markdown import one_line

FRAME_HEIGHT, FRAME_WIDTH = 192, 96
BORDER = 5
GAP = 12
QUERY_GAP = 34
LABEL_HEIGHT = 40
MARGIN = 24
TITLE_HEIGHT = 34
BADGE = 11
LEGEND_HEIGHT = 22
CELL_HEIGHT, CELL_WIDTH = FRAME_HEIGHT + 2 * BORDER, FRAME_WIDTH + 2 * BORDER
ROW_HEIGHT = CELL_HEIGHT + LABEL_HEIGHT + GAP

WHITE, INK, GREY = (255, 255, 255), (40, 40, 46), (118, 118, 126)
GREEN, RED, BLUE, QUERY_FRAME = (23, 138, 63), (208, 44, 44), (28, 84, 190), (40, 40, 46)
LINE = (216, 216, 222)

Names = tuple[Mapping[int, str] | None, Mapping[int, str] | None]  # of persons and of cameras, by number


def draw_rankings(
    queries: Sequence[Tracklet],
    gallery: Sequence[Tracklet],
    ranking: np.ndarray,
    path: str | os.PathLike,
    *,
    distances: np.ndarray | None = None,
    person_names: Mapping[int, str] | None = None,
    camera_names: Mapping[int, str] | None = None,
) -> None:
    """Writes a PNG with one row a query and its ranked answers beside it; the middle frame stands for a tracklet.

    The file appears whole: it is written under a temporary name and renamed.

    Args:
        queries: the Q queries to draw, from top to bottom.
        gallery: what `ranking` points into.
        ranking: gallery indices [Q, k] without junk, nearest first, -1 for none (`strf_cuda.metrics.top_matches`).
        path: the PNG file; its folder is made if need be.
        distances: [Q, k], written under the answers when given.
        person_names, camera_names: names by number, for data sets that have them.

    Raises:
        InputError: there is nothing to draw, the shapes disagree, or a frame cannot be read.
    """
    ranking = np.asarray(ranking)
    if ranking.ndim != 2 or ranking.shape[0] != len(queries) or not ranking.size:
        raise InputError(
            f"the ranking's shape is {list(ranking.shape)}, but it must be {len(queries)} queries x at least one answer"
        )
    if distances is not None and np.shape(distances) != ranking.shape:
        raise InputError(f"distances are {list(np.shape(distances))}, but the ranking is {list(ranking.shape)}")

    answers_left = MARGIN + CELL_WIDTH + QUERY_GAP
    width = answers_left + width_of_answers(ranking.shape[1]) + MARGIN
    height = MARGIN + TITLE_HEIGHT + len(queries) * ROW_HEIGHT + LEGEND_HEIGHT + MARGIN
    canvas = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(canvas)
    names = (person_names, camera_names)

    draw_ranks(canvas, answers_left, MARGIN + 8, ranking.shape[1])
    top = MARGIN + TITLE_HEIGHT
    for row, query in enumerate(queries):
        draw_query(canvas, MARGIN, top, query, names)
        line = answers_left - QUERY_GAP // 2
        draw.line([(line, top), (line, top + CELL_HEIGHT)], LINE, 2)
        found = None if distances is None else distances[row]
        draw_answers(canvas, answers_left, top, query, gallery, ranking[row], found, names)
        top += ROW_HEIGHT
    draw_legend(canvas, top + LEGEND_HEIGHT // 2, distances is not None)

    with replacing(path) as temporary:
        canvas.save(temporary, format="PNG")


def width_of_answers(count: int) -> int:
    """Pixels that `draw_answers` takes."""
    return count * (CELL_WIDTH + GAP) - GAP


def draw_ranks(canvas: Image.Image, answers_left: int, middle: int, count: int) -> None:
    """The word query over the queries, and the ranks 1, 2, ... over the answers."""
    draw, heading = ImageDraw.Draw(canvas), ImageFont.load_default(17)
    draw.text((MARGIN + CELL_WIDTH / 2, middle), "query", INK, heading, anchor="mm")
    for rank in range(count):
        left = answers_left + rank * (CELL_WIDTH + GAP)
        draw.text((left + CELL_WIDTH / 2, middle), str(rank + 1), INK, heading, anchor="mm")


def draw_query(canvas: Image.Image, left: int, top: int, query: Tracklet, names: Names = (None, None)) -> None:
    """A query with its label and challenge."""
    challenge = query.challenge if query.challenge not in (None, "none") else ""
    _draw_tracklet(canvas, left, top, query, QUERY_FRAME, tracklet_label(query, *names), challenge)


def draw_answers(
    canvas: Image.Image,
    left: int,
    top: int,
    query: Tracklet,
    gallery: Sequence[Tracklet],
    ranking: Sequence[int],
    distances: Sequence[float] | None = None,
    names: Names = (None, None),
) -> None:
    """The answers to one query side by side, right ones green with a tick, wrong ones red with a cross.

    Where nobody knows who it is (`JUNK_PERSON`), query or answer, there is neither.
    """
    for rank, index in enumerate(ranking):
        if index >= 0:
            answer = gallery[index]
            known = JUNK_PERSON not in (answer.person_id, query.person_id)
            right = answer.person_id == query.person_id
            colour = (GREEN if right else RED) if known else GREY
            note = "" if distances is None else f"{distances[rank]:.3f}"
            _draw_tracklet(canvas, left, top, answer, colour, tracklet_label(answer, *names), note)
            if known:
                corner = (left + CELL_WIDTH - BORDER - BADGE - 3, top + BORDER + BADGE + 3)
                _draw_badge(ImageDraw.Draw(canvas), *corner, right)
        left += CELL_WIDTH + GAP


def draw_legend(canvas: Image.Image, middle: int, distances: bool) -> None:
    """What labels and colours mean, in one line."""
    legend = "person / camera" + (", and the distance to the query" if distances else "")
    legend += "; green with a tick: the query's person; red with a cross: somebody else"
    legend = fitted(legend, 13, canvas.width - 2 * MARGIN)
    ImageDraw.Draw(canvas).text((MARGIN, middle), legend, GREY, ImageFont.load_default(13), anchor="lm")


def _draw_tracklet(
    canvas: Image.Image, left: int, top: int, tracklet: Tracklet, colour: tuple[int, int, int], label: str, note: str
) -> None:
    """A framed picture of the tracklet, its label in blue, and a grey note under that."""
    draw = ImageDraw.Draw(canvas)
    bottom = top + CELL_HEIGHT
    draw.rectangle([left, top, left + CELL_WIDTH - 1, bottom - 1], colour)
    pixels = read_frame(tracklet.paths[len(tracklet) // 2], FRAME_HEIGHT, FRAME_WIDTH)
    canvas.paste(Image.fromarray(pixels), (left + BORDER, top + BORDER))
    middle, width = left + CELL_WIDTH / 2, CELL_WIDTH + GAP
    draw.text((middle, bottom + 13), fitted(label, 15, width), BLUE, ImageFont.load_default(15), anchor="mm")
    draw.text((middle, bottom + 31), fitted(note, 12, width), GREY, ImageFont.load_default(12), anchor="mm")


def _draw_badge(draw: ImageDraw.ImageDraw, x: int, y: int, right: bool) -> None:
    """A tick or a cross on a disc, centred at (x, y)."""
    draw.ellipse([x - BADGE, y - BADGE, x + BADGE, y + BADGE], GREEN if right else RED, WHITE, 2)
    if right:
        draw.line([(x - 5, y), (x - 1, y + 4), (x + 5, y - 5)], WHITE, 3, joint="curve")
    else:
        draw.line([(x - 4, y - 4), (x + 4, y + 4)], WHITE, 3)
        draw.line([(x - 4, y + 4), (x + 4, y - 4)], WHITE, 3)


def tracklet_label(
    tracklet: Tracklet, person_names: Mapping[int, str] | None = None, camera_names: Mapping[int, str] | None = None
) -> str:
    """Who is seen by which camera, by the names that the data set has for them."""
    if tracklet.person_id == DISTRACTOR_PERSON:
        person = "distractor"
    elif tracklet.person_id == JUNK_PERSON:
        person = "unknown"
    else:
        person = (person_names or {}).get(tracklet.person_id, f"{tracklet.person_id:04d}")
    return f"{person} / {(camera_names or {}).get(tracklet.camera_id, f'c{tracklet.camera_id}')}"


def fitted(text: str, size: int, width: int) -> str:
    """`text` in one line, its end replaced by dots where it is wider than `width` pixels."""
    text, font = one_line(text), ImageFont.load_default(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."

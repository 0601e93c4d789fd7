"""A contact sheet of a data set: people in rows, cameras in columns, some frames of one tracklet in each cell."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from strf_cuda.data.frames import read_frame, read_header
from strf_cuda.data.tracklets import DISTRACTOR_PERSON, Tracklet, TrackletDataset
from strf_cuda.errors import InputError
from strf_cuda.files import replacing
from strf_cuda.pictures import GREY, INK, RED, WHITE, fitted

PEOPLE = 6  # of the training people, and as many of those who are tested
MOST_CAMERAS = 8
FRAMES_A_ROW = 20  # shared among the cameras
FRAME_HEIGHT = 96
NARROWEST, WIDEST = 24, 128
CAPTION_HEIGHT, TITLE_HEIGHT, LABEL_WIDTH = 16, 32, 118
GAP, FRAME_GAP, MARGIN = 10, 2, 20
EMPTY, BEHIND = (238, 238, 241), (220, 220, 225)

Cells = dict[int, dict[int, list[Tracklet]]]  # tracklets by person and camera


def draw_contact_sheet(dataset: TrackletDataset, path: str | os.PathLike) -> None:
    """Writes a PNG: some training people and some of the test, at even distances through their numbers.

    A cell shows the first tracklet of its person and camera by frames at even distances; all frames are scaled into
    boxes of one size. A frame that cannot be read is a crossed box.

    Raises:
        InputError: the file cannot be written, or the data set is empty.
    """
    test = {id(tracklet): tracklet for tracklet in [*dataset.query, *dataset.gallery]}.values()
    sections = [("train", _cells(dataset.train)), ("test", _cells(test))]
    sections = [(title, cells) for title, cells in sections if cells]
    if not sections:
        raise InputError(f"the data set {dataset.name} has no tracklets to draw")
    cameras = _cameras([*dataset.train, *test])
    shown = [(title, {person: cells[person] for person in _people(cells)}) for title, cells in sections]
    firsts = [seen[0] for _, cells in shown for views in cells.values() for seen in views.values()]
    frames = min(6, max(2, FRAMES_A_ROW // len(cameras)))
    sheet = _Sheet(dataset, cameras, frames, _width_of_frames(firsts), [len(cells) for _, cells in shown])
    for title, cells in shown:
        sheet.section(title, cells)
    with replacing(path) as temporary:
        sheet.canvas.save(temporary, format="PNG")


def _cells(tracklets) -> Cells:
    cells = defaultdict(lambda: defaultdict(list))
    for tracklet in tracklets:
        cells[tracklet.person_id][tracklet.camera_id].append(tracklet)
    return cells


def _cameras(tracklets: Sequence[Tracklet]) -> list[int]:
    """The cameras in order; of many, those with the most tracklets."""
    numbers, counts = np.unique([tracklet.camera_id for tracklet in tracklets], return_counts=True)
    return sorted(numbers[np.argsort(-counts, kind="stable")][:MOST_CAMERAS].tolist())


def _people(cells: Cells) -> list[int]:
    """People at even distances, of those seen by two cameras where there are any, and the distractors last."""
    people = sorted(person for person in cells if person != DISTRACTOR_PERSON)
    people = [person for person in people if len(cells[person]) > 1] or people
    chosen = [people[index * len(people) // PEOPLE] for index in range(PEOPLE)] if len(people) > PEOPLE else people
    return chosen + [DISTRACTOR_PERSON] * (DISTRACTOR_PERSON in cells)


def _width_of_frames(tracklets: Sequence[Tracklet]) -> int:
    """The width, in pixels, that suits most frames at the common height."""
    ratios = []
    for tracklet in tracklets:
        try:
            header = read_header(tracklet.paths[0])
        except InputError:
            continue
        ratios.append(header.width / header.height)
    return round(min(max(FRAME_HEIGHT * np.median(ratios or [0.5]), NARROWEST), WIDEST))


class _Sheet:
    """The canvas, and where the next section begins."""

    def __init__(
        self, dataset: TrackletDataset, cameras: Sequence[int], frames: int, frame_width: int, rows: Sequence[int]
    ):
        self.dataset, self.cameras, self.frames, self.frame_width = dataset, cameras, frames, frame_width
        self.cell_width = frames * (frame_width + FRAME_GAP) - FRAME_GAP
        self.row_height = FRAME_HEIGHT + CAPTION_HEIGHT + GAP
        width = 2 * MARGIN + LABEL_WIDTH + len(cameras) * (self.cell_width + GAP) - GAP
        height = 2 * MARGIN + sum(TITLE_HEIGHT + count * self.row_height for count in rows)
        self.canvas = Image.new("RGB", (width, height), WHITE)
        self.draw = ImageDraw.Draw(self.canvas)
        self.top = MARGIN
        self.queries = {id(tracklet) for tracklet in dataset.query}

    def section(self, title: str, cells: Mapping[int, Mapping[int, list[Tracklet]]]) -> None:
        middle = self.top + TITLE_HEIGHT // 2 - 4
        self._write(MARGIN, middle, title, 15, INK, LABEL_WIDTH + GAP)
        for column, camera in enumerate(self.cameras):
            name = self.dataset.camera_names.get(camera, f"camera {camera}")
            self._write(self._left(column), middle, name, 15, INK, self.cell_width)
        self.top += TITLE_HEIGHT
        for person, views in cells.items():
            name = self.dataset.person_names.get(person, f"{person:04d}")
            if person == DISTRACTOR_PERSON:
                name = "distractor"
            self._write(MARGIN, self.top + FRAME_HEIGHT // 2 - 9, name, 15, INK, LABEL_WIDTH - GAP)
            total = sum(map(len, views.values()))
            self._write(MARGIN, self.top + FRAME_HEIGHT // 2 + 9, _counted(total, "tracklet"), 12, GREY, LABEL_WIDTH)
            for column, camera in enumerate(self.cameras):
                self._cell(self._left(column), views.get(camera, []))
            self.top += self.row_height

    def _left(self, column: int) -> int:
        return MARGIN + LABEL_WIDTH + column * (self.cell_width + GAP)

    def _cell(self, left: int, tracklets: Sequence[Tracklet]) -> None:
        if not tracklets:
            self.draw.rectangle(self._box(left, self.cell_width), EMPTY)
            return
        tracklet = tracklets[0]
        chosen = np.unique(np.linspace(0, len(tracklet) - 1, self.frames).round().astype(int)).tolist()
        for place, frame in enumerate(chosen):
            self._frame(left + place * (self.frame_width + FRAME_GAP), tracklet.paths[frame])
        words = _counted(len(tracklet), "frame")
        if len(tracklets) > 1:
            words = f"1 of {len(tracklets):,}: {words}"
        if id(tracklet) in self.queries:
            words += ", query"
        middle = self.top + FRAME_HEIGHT + CAPTION_HEIGHT // 2
        self._write(left, middle, words, 12, GREY, self.cell_width)

    def _frame(self, left: int, path: str) -> None:
        """The frame as large as its box allows, in the middle of it."""
        box = self._box(left, self.frame_width)
        self.draw.rectangle(box, BEHIND)
        try:
            header = read_header(path)
            scale = min(FRAME_HEIGHT / header.height, self.frame_width / header.width)
            size = [max(1, round(scale * side)) for side in (header.height, header.width)]
            pixels = read_frame(path, *size)
        except InputError:
            self.draw.rectangle(box, WHITE, RED)
            self.draw.line([box[:2], box[2:]], RED)
            self.draw.line([(box[0], box[3]), (box[2], box[1])], RED)
            return
        corner = (left + (self.frame_width - size[1]) // 2, self.top + (FRAME_HEIGHT - size[0]) // 2)
        self.canvas.paste(Image.fromarray(pixels), corner)

    def _box(self, left: int, width: int) -> tuple[int, int, int, int]:
        return left, self.top, left + width - 1, self.top + FRAME_HEIGHT - 1

    def _write(self, left: int, middle: int, text: str, size: int, colour: tuple[int, int, int], width: int) -> None:
        words = fitted(text, size, width)
        self.draw.text((left, middle), words, colour, ImageFont.load_default(size), anchor="lm")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"

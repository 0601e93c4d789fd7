"""Answers as people read them: in words and tables, as JSON, and as tracklets to draw."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.data.tracklets import DISTRACTOR_PERSON, JUNK_PERSON, Tracklet
from strf_cuda.files import write_json
from strf_cuda.markdown import aligned_text, one_line
from strf_cuda.retrieval.finding import Answers
from strf_cuda.retrieval.gallery import Gallery, Labels
from strf_cuda.retrieval.queries import UNKNOWN_CAMERA, Queries
from strf_cuda.retrieval.times import show_span

NO_CAMERAS = (0, UNKNOWN_CAMERA)  # of folders that name none, and of another data set
_SPECIAL = {JUNK_PERSON: "unknown", DISTRACTOR_PERSON: "distractor"}


class Namer:
    """Persons and cameras of a gallery in words."""

    def __init__(self, gallery: Gallery):
        self.persons = {**gallery.person_names, **_SPECIAL}
        self.cameras = {**gallery.camera_names, **dict.fromkeys(NO_CAMERAS, "?")}

    def person(self, number: int) -> str:
        return self.persons.get(number, str(number))

    def camera(self, number: int) -> str:
        return self.cameras.get(number, str(number))


def query_in_words(queries: Queries, index: int, namer: Namer) -> str:
    """What is known of a query, in one line."""
    labels = queries.labels
    words = [f"person {namer.person(int(labels.persons[index]))}", f"camera {namer.camera(int(labels.cameras[index]))}"]
    span = show_span(labels.start[index], labels.end[index])
    words += [span] if span else []
    words += [f"{queries.frames[index]:,} frames", *queries.paths[index][:1]]
    return one_line(f"{queries.titles[index]}: {', '.join(words)}")


def left_out_in_words(answers: Answers, known: bool, junk_left_out: bool) -> str:
    """What was left out for a query, and why."""
    if not known:
        return "nobody knows who this is in the gallery, so nothing is left out as junk"
    if not junk_left_out:
        return "junk is kept: tracklets of the same person by the same camera, and of unknown people, may answer"
    return (
        f"left out as junk: {answers.same_camera:,} of the same person by the same camera, {answers.unknown:,} of "
        "unknown people; --keep_junk keeps them"
    )


def table(gallery: Gallery, answers: Answers, namer: Namer) -> str:
    """One line for each answer."""
    labels = gallery.labels
    spans = [show_span(labels.start[row], labels.end[row]) for row in answers.rows.tolist()]
    timed = any(spans)
    rows = [("rank", "distance", "row", "person", "camera", *(["time"] if timed else []), "frames")]
    for rank, (row, distance, span) in enumerate(zip(answers.rows.tolist(), answers.distances, spans, strict=True), 1):
        person, camera = namer.person(int(labels.persons[row])), namer.camera(int(labels.cameras[row]))
        time = [span or "?"] if timed else []
        rows.append((str(rank), f"{distance:.4f}", str(row), person, camera, *time, f"{gallery.frames[row]:,}"))
    paths = (gallery.paths_of(row) for row in answers.rows.tolist())
    firsts = ["first frame", *(one_line(each[0]) if each else "?" for each in paths)]
    return "\n".join(f"{line}  {first}" for line, first in zip(aligned_text(rows).splitlines(), firsts, strict=True))


def write_matches(path: str | Path, gallery: Gallery, queries: Queries, answers: Sequence[Answers]) -> None:
    """Writes all answers as JSON."""
    namer = Namer(gallery)
    content = []
    for index, found in enumerate(answers):
        described = _described(queries.labels, index, int(queries.frames[index]), queries.paths[index], namer)
        content.append(
            {
                "query": {"title": queries.titles[index], **described},
                "left_out": {"same_person_and_camera": found.same_camera, "unknown_people": found.unknown},
                "answers": [
                    {
                        "row": row,
                        "distance": float(distance),
                        **_described(gallery.labels, row, int(gallery.frames[row]), gallery.paths_of(row), namer),
                    }
                    for row, distance in zip(found.rows.tolist(), found.distances, strict=True)
                ],
            }
        )
    write_json(path, content)


def draw_matches(path: str | Path, gallery: Gallery, queries: Queries, answers: Sequence[Answers]) -> None:
    """Draws every query with its answers.

    Raises:
        InputError: a frame cannot be read.
    """
    from strf_cuda.pictures import draw_rankings

    namer = Namer(gallery)
    width = max(len(found.rows) for found in answers)
    tracklets: list[Tracklet] = []
    ranking = np.full((len(answers), width), -1)
    distances = np.zeros((len(answers), width))
    for index, found in enumerate(answers):
        for place, row in enumerate(found.rows.tolist()):
            ranking[index, place], distances[index, place] = len(tracklets), found.distances[place]
            paths = _readable(gallery.description, gallery.paths_of(row))
            tracklets.append(Tracklet(paths, int(gallery.labels.persons[row]), int(gallery.labels.cameras[row])))
    shown = [
        Tracklet(
            _readable(gallery.description, paths) if own >= 0 else paths,
            int(queries.labels.persons[index]),
            int(queries.labels.cameras[index]),
        )
        for index, (paths, own) in enumerate(zip(queries.paths, queries.own_rows, strict=True))
    ]
    draw_rankings(
        shown,
        tracklets,
        ranking,
        path,
        distances=distances,
        person_names=namer.persons,
        camera_names=namer.cameras,
    )


def _described(labels: Labels, index: int, frames: int, paths: list[str], namer: Namer) -> dict[str, Any]:
    person, camera = int(labels.persons[index]), int(labels.cameras[index])
    return {
        "person": person,
        "person_name": namer.person(person),
        "camera": camera,
        "camera_name": namer.camera(camera),
        "start": _number(labels.start[index]),
        "end": _number(labels.end[index]),
        "frames": frames,
        "first_frame": next(iter(paths), None),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _readable(description: dict[str, Any], paths: list[str]) -> list[str]:
    """The middle frame, which is what is drawn: of a packed data set, from its shard."""
    middle = paths[len(paths) // 2]
    data = description.get("data", {})
    if data.get("name") != "packed":
        return [middle]
    from strf_cuda.data.packed import Archive, PackedFrame

    archive = Archive(data["root"])
    return [PackedFrame(archive, int(np.flatnonzero(archive.arrays["frame_name"] == os.fsencode(middle))[0]))]

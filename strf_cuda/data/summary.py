"""What the lists of a data set hold, in tables that line up. No file is opened."""

from collections import Counter, defaultdict

import numpy as np

from strf_cuda.data.inspection import Frames
from strf_cuda.data.tracklets import DISTRACTOR_PERSON, LISTS, Tracklet, TrackletDataset
from strf_cuda.markdown import aligned_text

# A clip of training has 4 frames and, at the paper's stride of 8, spans 32.
SHORT = (4, 32)
MOST_CAMERAS = 20


def population(dataset: TrackletDataset) -> str:
    """People, tracklets, frames and lengths of each list."""
    header = ["", "people", "tracklets", "frames", "shortest", "median", "mean", "longest"]
    rows = [header + [f"under {length}" for length in SHORT]]
    for name in LISTS:
        tracklets = getattr(dataset, name)
        lengths = np.array([len(tracklet) for tracklet in tracklets], dtype=int)
        people = {tracklet.person_id for tracklet in tracklets} - {DISTRACTOR_PERSON}
        cells = [f"{len(people):,}", f"{len(tracklets):,}", f"{lengths.sum():,}"]
        if tracklets:
            cells += [f"{lengths.min():,}", f"{np.median(lengths):,g}", f"{lengths.mean():,.1f}", f"{lengths.max():,}"]
            cells += [f"{(lengths < length).sum():,}" for length in SHORT]
        rows.append([name, *cells, *["-"] * (len(header) + len(SHORT) - 1 - len(cells))])
    return aligned_text(rows)


def cameras(dataset: TrackletDataset) -> str:
    """Tracklets and frames of each camera in each list."""
    seen = {name: Counter(tracklet.camera_id for tracklet in getattr(dataset, name)) for name in LISTS}
    frames = {name: Counter() for name in LISTS}
    for name in LISTS:
        for tracklet in getattr(dataset, name):
            frames[name][tracklet.camera_id] += len(tracklet)
    numbers = sorted(set().union(*seen.values()))
    rows = [["camera", *(cell for name in LISTS for cell in (f"{name}: tracklets", "frames"))]]
    for number in numbers[:MOST_CAMERAS]:
        cells = [cell for name in LISTS for cell in (seen[name][number], frames[name][number])]
        rows.append([dataset.camera_names.get(number, str(number)), *(f"{cell:,}" for cell in cells)])
    more = len(numbers) - MOST_CAMERAS
    return aligned_text(rows) + (f"\nand {more:,} more cameras" if more > 0 else "")


def remarks(dataset: TrackletDataset) -> list[list[str]]:
    """Pairs of a heading and a sentence: what training and ranking find in the lists."""
    found = []
    if dataset.train:
        tracklets = Counter(tracklet.person_id for tracklet in dataset.train)
        views = defaultdict(set)
        for tracklet in dataset.train:
            views[tracklet.person_id].add(tracklet.camera_id)
        found.append(
            [
                "a training person",
                f"{_spread(tracklets.values())} tracklets, seen by {_spread(map(len, views.values()))} cameras",
            ]
        )
    if dataset.query:
        found += _matches(dataset.query, dataset.gallery)
    asked = {tracklet.person_id for tracklet in dataset.query}
    nobody = sum(tracklet.person_id == DISTRACTOR_PERSON for tracklet in dataset.gallery)
    others = [
        tracklet.person_id for tracklet in dataset.gallery if tracklet.person_id not in asked | {DISTRACTOR_PERSON}
    ]
    if nobody:
        found.append(["distractors", f"{nobody:,} gallery tracklets of unnamed people, who match nobody"])
    if others:
        found.append(["without a query", f"{len(others):,} gallery tracklets of {len(set(others)):,} people"])
    if dataset.junk:
        found.append(["junk", f"{dataset.junk:,} tracklets that the data set marks as junk, in no list"])
    kinds = Counter(tracklet.challenge for tracklet in dataset.query if tracklet.challenge is not None)
    if kinds:
        found.append(["challenges", "queries: " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())])
    return found


def _matches(query: list[Tracklet], gallery: list[Tracklet]) -> list[list[str]]:
    """How many right answers the queries have, and how many are left out of their rankings."""
    people = Counter(tracklet.person_id for tracklet in gallery)
    views = Counter((tracklet.person_id, tracklet.camera_id) for tracklet in gallery)
    same = [views[tracklet.person_id, tracklet.camera_id] for tracklet in query]
    right = [people[tracklet.person_id] - left_out for tracklet, left_out in zip(query, same, strict=True)]
    matched = [count for count in right if count]
    sentence = f"{len(matched):,} of {len(query):,} have a match by another camera"
    if matched:
        sentence += f", {_spread(matched)} each, {sum(matched):,} in all"
    found = [["queries", sentence]]
    if any(same):
        ranked = f"{sum(same):,} pairs of a query and a gallery tracklet of its person and camera are left out"
        found.append(["rankings", ranked])
    return found


def frames(found: Frames, total: int) -> list[list[str]]:
    """Pairs of a heading and a sentence: sizes and formats of the frames that were decoded.

    Args:
        total: how many frames the data set has.
    """
    count = found.kinds.total()
    if not count:
        return []
    sizes = Counter()
    formats = Counter()
    for (height, width, kind, mode), times in found.kinds.items():
        sizes[height, width] += times
        formats[kind, mode] += times
    (height, width), times = sizes.most_common(1)[0]
    sentence = f"{height}x{width} (height x width) in all {count:,} that were decoded"
    if times < count:
        ranges = [f"{min(side):,} to {max(side):,}" for side in zip(*sizes, strict=True)]
        sentence = (
            f"height {ranges[0]}, width {ranges[1]}; {height}x{width} in {times:,} of {count:,} that were decoded"
        )
    kinds = ", ".join(f"{kind} {mode} {times:,}" for (kind, mode), times in formats.most_common())
    size = f"{_bytes(found.bytes / count * total)} in {total:,} frames"
    size = size if total == count else f"about {size}"
    return [["frame sizes", sentence], ["frame files", f"{kinds}; {found.bytes / count / 1e3:,.1f} kB a frame, {size}"]]


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _spread(counts) -> str:
    """Such as "2 to 6 (median 4)"."""
    counts = list(counts)
    if min(counts) == max(counts):
        return f"{counts[0]:,}"
    return f"{min(counts):,} to {max(counts):,} (median {np.median(counts):,g})"

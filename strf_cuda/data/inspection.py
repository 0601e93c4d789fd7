"""A look into the frames themselves: sizes, formats, fingerprints, and what cannot be decoded."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from strf_cuda.data.frames import read_frame, read_header
from strf_cuda.data.parallel import map_in_processes
from strf_cuda.data.tracklets import LISTS, Tracklet, TrackletDataset
from strf_cuda.errors import InputError

TRACKLETS_A_TASK = 4


@dataclass
class Frames:
    """What was found in some frames.

    Attributes:
        kinds: how many are of each (height, width, format, mode).
        bytes: of their files.
        faults: a sentence for each frame that cannot be decoded.
        plain: how many are of one colour all over.
        digests: for each tracklet a digest of every frame's pixels, uint64, 0 where it is plain or a fault.
    """

    kinds: Counter[tuple[int, int, str, str]] = field(default_factory=Counter)
    bytes: int = 0
    faults: list[str] = field(default_factory=list)
    plain: int = 0
    digests: list[np.ndarray] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.kinds.total() + len(self.faults)

    def add(self, other: "Frames") -> None:
        self.kinds += other.kinds
        self.bytes += other.bytes
        self.faults += other.faults
        self.plain += other.plain
        self.digests += other.digests


def sample(tracklets: Sequence[Tracklet], size: int) -> list[list[str]]:
    """The paths of `size` frames, or as many as there are, at even distances through all frames of the tracklets."""
    ends = np.cumsum([len(tracklet) for tracklet in tracklets])
    if not len(ends):
        return []
    chosen = np.unique(np.linspace(0, ends[-1] - 1, size).astype(int))
    owners = np.searchsorted(ends, chosen, side="right")
    return [
        [tracklets[owner].paths[int(frame - ends[owner])]] for owner, frame in zip(owners.tolist(), chosen, strict=True)
    ]


def distinct(dataset: TrackletDataset) -> list[Tracklet]:
    """All tracklets, those once that are a query and in the gallery."""
    return list({tracklet.paths: tracklet for name in LISTS for tracklet in getattr(dataset, name)}.values())


def inspect(tracklets: Sequence[Sequence[str]], *, workers: int) -> Frames:
    """Decodes every frame as training does.

    Args:
        tracklets: the paths of their frames.
        workers: processes. With more than one, a script that calls this needs the usual
            `if __name__ == "__main__"`.
    """
    found = Frames()
    total = sum(map(len, tracklets))
    with tqdm(total=total, unit="frame", desc="decoding", disable=None, leave=False) as bar:
        for one in map_in_processes(inspect_tracklet, tracklets, workers, TRACKLETS_A_TASK):
            found.add(one)
            bar.update(one.count)
    return found


def inspect_tracklet(paths: Sequence[str]) -> Frames:
    """Decodes the frames of one tracklet."""
    found = Frames(digests=[np.zeros(len(paths), np.uint64)])
    for index, path in enumerate(paths):
        try:
            header = read_header(path)
            pixels = read_frame(path, header.height, header.width)
        except InputError as error:
            found.faults.append(str(error))
            continue
        found.kinds[header.height, header.width, header.format, header.mode] += 1
        found.bytes += header.bytes
        if (pixels == pixels[0, 0]).all():
            found.plain += 1
        else:
            digest = hashlib.blake2b(pixels, digest_size=8, key=repr(pixels.shape).encode()).digest()
            found.digests[0][index] = int.from_bytes(digest, "little")
    return found

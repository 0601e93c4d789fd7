"""Draws videos of walkers seen by three cameras, with the tracks that a tracker would give, to try cutting with.

python tools/walkers_video.py FOLDER

Writes cam1.mp4, cam1.txt and so on: 640x360 pixels, 25 frames a second. The same people walk before every camera, but a
tracker does not know that: each camera numbers its tracks by itself, from 1, in the order in which they appear. Where
one walker hides another there is no box. names.csv says who the persons are that `strf_cuda.tracklets` makes of them.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageDraw

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from strf_cuda.data.walkers.cameras import CAMERA_TABLE, HORIZON, SCENE_MARGIN, Camera, scene  # noqa: E402
from strf_cuda.data.walkers.config import WalkersConfig  # noqa: E402
from strf_cuda.data.walkers.figure import Polygon, View, figure  # noqa: E402
from strf_cuda.data.walkers.people import Walker, sample_people  # noqa: E402
from strf_cuda.video.reading import import_av  # noqa: E402

HEIGHT, WIDTH, FRAMES, RATE = 360, 640, 300, 25
CAMERAS, PEOPLE = CAMERA_TABLE[:3], 6
ENLARGED = 2  # drawn larger and reduced, which smooths edges
# Below these shares of a box the tracker loses it: within the picture, and not covered by one nearer walker.
LEAST_INSIDE, LEAST_VISIBLE = 0.3, 0.6


@dataclass(frozen=True)
class Passage:
    """One walker's way through the picture, in pixels of the enlarged picture.

    Attributes:
        first: the frame in which it begins.
        polygons: image points [n, K, 2] of each part, and its colour.
        boxes: [n, 4], left, top, right and bottom.
        ground: where the feet stand, which decides who is in front of whom.
    """

    first: int
    polygons: list[Polygon]
    boxes: np.ndarray
    ground: float


def draw_passage(walker: Walker, camera: Camera, rng: np.random.Generator) -> Passage:
    """Across the picture, in a direction and at a distance of one's own."""
    horizon = (SCENE_MARGIN + HORIZON) / (1 + 2 * SCENE_MARGIN) * HEIGHT * ENLARGED
    near = rng.uniform(0.35, 0.95)
    ground = horizon + near * (HEIGHT * ENLARGED - horizon)
    size = (0.3 + 0.28 * near) * HEIGHT * ENLARGED * walker.appearance.height
    heading = 1 if rng.random() < camera.rightwards else -1
    view = View(heading, np.deg2rad(camera.yaw + rng.uniform(-8, 8)), np.deg2rad(camera.pitch))
    speed = 0.8 * size * walker.gait.pace / RATE
    frames = int((WIDTH * ENLARGED + size) / speed)
    time = np.arange(frames)
    phases = rng.uniform(0, 2 * np.pi) + 2 * np.pi * walker.gait.pace * time / RATE
    across = -size / 2 + speed * time
    across = across if heading > 0 else WIDTH * ENLARGED - across
    polygons = [
        (np.stack([across[:, None] + size * points[..., 0], ground - size * points[..., 1]], -1), colour)
        for points, colour in figure(walker, phases, view)
    ]
    points = np.concatenate([points for points, _ in polygons], 1)
    boxes = np.concatenate([points.min(1) - 0.02 * size, points.max(1) + 0.02 * size], 1)
    return Passage(int(rng.integers(0, FRAMES // 2)), polygons, boxes, ground)


def hidden(box: np.ndarray, nearer: list[np.ndarray]) -> bool:
    """Whether too little of a box is left beside those in front of it."""
    area = np.prod(box[2:] - box[:2])
    covered = [
        np.prod(np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None)) for other in nearer
    ]
    return max(covered, default=0) > (1 - LEAST_VISIBLE) * area


def draw_camera(folder: Path, camera: Camera, people: list[Walker]) -> dict[int, int]:
    """The camera's video, and its tracks; returns the walker of each track."""
    av = import_av()
    rng = np.random.default_rng(camera.number)
    passages = [(draw_passage(walker, camera, rng), walker.person_id) for walker in people]
    passages.sort(key=lambda each: each[0].ground)
    height = round(HEIGHT * ENLARGED / (1 + 2 * SCENE_MARGIN))
    background = scene(camera, 0, height, height // 2).crop((0, 0, WIDTH * ENLARGED, HEIGHT * ENLARGED))
    noise = rng.normal(0, camera.noise / 2, (HEIGHT, WIDTH, 3)).astype(np.float32)
    tracks: dict[int, int] = {}
    lines = []
    with av.open(str(folder / f"cam{camera.number}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "20", "preset": "fast"}
        for frame in range(FRAMES):
            present = [(each, who, frame - each.first) for each, who in passages]
            present = [(each, who, age) for each, who, age in present if 0 <= age < len(each.boxes)]
            canvas = background.copy()
            draw = ImageDraw.Draw(canvas)
            for passage, _, age in present:
                for points, colour in passage.polygons:
                    draw.polygon(np.rint(points[age]).astype(int).reshape(-1).tolist(), fill=colour)
            boxes = [passage.boxes[age] / ENLARGED for passage, _, age in present]
            for place, (_, who, _) in enumerate(present):
                left, top, right, bottom = boxes[place]
                inside = min(right, WIDTH) - max(left, 0)
                if inside > LEAST_INSIDE * (right - left) and not hidden(boxes[place], boxes[place + 1 :]):
                    track = tracks.setdefault(who, len(tracks) + 1)
                    box = f"{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f}"
                    lines.append(f"{frame + 1},{track},{box},0.9,-1,-1,-1\n")
            lit = np.asarray(canvas.reduce(ENLARGED), np.float32) * np.float32(camera.gains)
            picture = np.clip(lit + np.roll(noise, rng.integers(0, HEIGHT, 2), (0, 1)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    (folder / f"cam{camera.number}.txt").write_text("".join(lines), encoding="utf-8")
    return {track: who for who, track in tracks.items()}


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tools/walkers_video.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    people = sample_people(WalkersConfig(), "test")[-PEOPLE:]
    names = ["person,name"]
    for camera in CAMERAS:
        tracks = draw_camera(folder, camera, people)
        names += [f"cam{camera.number}-{track:04d},walker{who}" for track, who in tracks.items()]
    (folder / "names.csv").write_text("\n".join(names) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Draws and saves the frames of a planned tracklet: scene, walker and occluder enlarged, reduced, lit and noised."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from strf_cuda.data.tracklets import JUNK_PERSON
from strf_cuda.data.walkers.cameras import CAMERA_TABLE, SCENE_FRAMES, SCENE_MARGIN, Camera, scene
from strf_cuda.data.walkers.config import FRAMES_PER_SECOND, RENDERING, WalkersConfig, stream
from strf_cuda.data.walkers.disturbances import Box, misplaced, missed, occluder, well_placed
from strf_cuda.data.walkers.figure import Polygon, View, figure
from strf_cuda.data.walkers.plan import TrackletPlan

# Figures are drawn larger than a frame and reduced, which smooths their edges and lets limbs move by less than a pixel:
# at twice the size, at four times where frames are so small that this costs next to nothing.
_SMALL_FRAME = 96

# With full colour resolution: halving it would blur clothes that are a few pixels wide.
JPEG_QUALITY = 92

# The ground line's height above a frame's lower edge, in frame heights.
GROUND = 0.035


def draw_tracklet(plan: TrackletPlan, config: WalkersConfig) -> Iterator[Image.Image]:
    """The frames of a tracklet, RGB images of config.height x config.width, in order."""
    rng = stream(config.seed, RENDERING, *plan.stream_key)
    camera = CAMERA_TABLE[plan.camera - 1]
    enlarged = 4 if config.height <= _SMALL_FRAME else 2
    height, width = config.height * enlarged, config.width * enlarged
    view = _view(camera, rng)
    time = np.arange(plan.num_frames) / FRAMES_PER_SECOND
    phases = rng.uniform(0, 2 * np.pi) + 2 * np.pi * plan.walker.gait.pace * time
    box = _box(plan, rng)

    size = camera.scale * plan.walker.appearance.height * rng.uniform(0.97, 1.03)
    shadow = [_shadow(plan.num_frames, size, camera)]
    walker = [(size * points, colour) for points, colour in figure(plan.walker, phases, view)]
    front = occluder(plan.num_frames, width / height, view, rng) if plan.challenge == "occluded" else []
    polygons = [(_to_pixels(points, box, height, width), colour) for points, colour in shadow + walker + front]

    background = scene(camera, config.seed, height, width)
    # The scene passes at a slow speed of its own: at the walker's, the background would tell the gait.
    speed = rng.uniform(0.05, 0.25) * view.heading * height
    lefts = (rng.uniform(0, SCENE_FRAMES * width) + speed * time - box.right * height) % (SCENE_FRAMES * width)
    tops = np.clip(SCENE_MARGIN + box.up, 0, 2 * SCENE_MARGIN) * height
    corners = np.stack([lefts, tops], -1).astype(int).tolist()
    exposure = _Exposure(camera, plan.num_frames, config, rng)
    for frame, (left, top) in enumerate(corners):
        canvas = background.crop((left, top, left + width, top + height))
        draw = ImageDraw.Draw(canvas)
        for points, colour in polygons:
            draw.polygon(points[frame], fill=colour)
        yield exposure.develop(canvas.reduce(enlarged), frame)


def save_tracklet(folder: Path, config: WalkersConfig, plan: TrackletPlan) -> int:
    """Draws a tracklet into the person's folder below `folder`, which exists; returns how many frames it has."""
    person = folder / f"bbox_{plan.split}" / plan.folder
    for frame, image in enumerate(draw_tracklet(plan, config)):
        image.save(person / plan.frame_name(frame), quality=JPEG_QUALITY, subsampling=0)
    return plan.num_frames


def _view(camera: Camera, rng: np.random.Generator) -> View:
    heading = 1 if rng.random() < camera.rightwards else -1
    return View(heading, np.deg2rad(camera.yaw + rng.uniform(-8, 8)), np.deg2rad(camera.pitch))


def _box(plan: TrackletPlan, rng: np.random.Generator) -> Box:
    if plan.person_id == JUNK_PERSON:
        return missed(plan.num_frames, rng)
    return misplaced(plan.num_frames, rng) if plan.challenge == "misaligned" else well_placed(plan.num_frames, rng)


def _shadow(num_frames: int, size: float, camera: Camera) -> Polygon:
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ellipse = size * np.stack([0.2 * np.cos(angles), 0.02 * np.sin(angles) + 0.005], -1)
    return np.broadcast_to(ellipse, (num_frames, 12, 2)), tuple(round(0.6 * value) for value in camera.ground)


def _to_pixels(points: np.ndarray, box: Box, height: int, width: int) -> list[list[int]]:
    """Image points [F, K, 2] in frame heights as a flat list x, y, x, y ... of pixels for each frame."""
    zoom = box.zoom[:, None]
    x = width / 2 + height * (points[..., 0] * zoom + box.right[:, None])
    y = height * (1 - GROUND - points[..., 1] * zoom - box.up[:, None])
    return np.rint(np.stack([x, y], -1)).astype(int).reshape(len(points), -1).tolist()


class _Exposure:
    """Light, cast, contrast, noise and resolution of one tracklet."""

    def __init__(self, camera: Camera, num_frames: int, config: WalkersConfig, rng: np.random.Generator):
        flicker = 1 + 0.04 * np.sin(2 * np.pi * (rng.uniform(0.2, 1) * np.linspace(0, 1, num_frames) + rng.uniform()))
        light = rng.normal(1, 0.06) * (1 + rng.normal(0, 0.02, 3))
        self.gains = (flicker[:, None] * light * camera.gains * camera.contrast).astype(np.float32)
        self.offset = np.float32(128 * (1 - camera.contrast))
        self.low = (max(1, round(config.width * camera.detail)), max(1, round(config.height * camera.detail)))
        self.size = (config.width, config.height)
        # One sheet of noise a tracklet, looked at through a window that jumps: far cheaper than fresh noise a frame.
        sheet = (2 * config.height, 2 * config.width, 3)
        self.noise = rng.standard_normal(sheet, dtype=np.float32) * np.float32(camera.noise)
        self.windows = rng.integers(0, [config.height + 1, config.width + 1], (num_frames, 2)).tolist()

    def develop(self, image: Image.Image, frame: int) -> Image.Image:
        """The frame as the camera delivers it."""
        if self.low != self.size:
            image = image.resize(self.low, Image.Resampling.BOX).resize(self.size, Image.Resampling.BILINEAR)
        top, left = self.windows[frame]
        values = np.asarray(image, dtype=np.float32) * self.gains[frame]
        values += self.offset + self.noise[top : top + self.size[1], left : left + self.size[0]]
        return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8))

"""From the boxes of a tracker to tracklets: which crops are cut out of which frames, before any frame is decoded."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from strf_cuda.errors import InputError
from strf_cuda.video.config import CutConfig
from strf_cuda.video.tracks import Tracks, told


@dataclass(frozen=True)
class Plan:
    """A tracklet to be cut.

    Attributes:
        track: the track's number.
        frames: int64 [n], ascending, as the tracks count them.
        boxes: int64 [n, 4], left, top, right and bottom of each crop in whole pixels, within the frame.
        bridged: bool [n], where the tracker has no box.
    """

    track: int
    frames: np.ndarray
    boxes: np.ndarray
    bridged: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)


def plan_tracklets(tracks: Tracks, height: int, width: int, config: CutConfig) -> tuple[list[Plan], dict[str, int]]:
    """Divides tracks into tracklets.

    Boxes that do not qualify are left out first, then a track is divided where more than `config.gap` frames in a row
    have no box, and shorter gaps are bridged. A box that is partly outside the frame is clipped to it.

    Args:
        height, width: of the video's frames in pixels.

    Returns:
        The tracklets by track and frame, and the number of boxes left out by reason, those of the tracks among them.

    Raises:
        InputError: most boxes are outside the frame, or nothing is left.
    """
    corners = np.concatenate([tracks.boxes[:, :2], tracks.boxes[:, :2] + tracks.boxes[:, 2:]], axis=1)
    inside = np.clip(corners, 0, [width, height, width, height])
    seen = inside[:, 2:] - inside[:, :2]  # width and height within the frame
    outside = (seen <= 0).any(1)
    if outside.sum() * 2 > len(tracks):
        raise _elsewhere(tracks, outside, height, width)
    hidden = ~outside & (seen.prod(1) < config.visible * tracks.boxes[:, 2:].prod(1))
    small = ~outside & ~hidden & (seen < [config.min_width, config.min_height]).any(1)
    left_out = Counter(
        {
            **tracks.left_out,
            "outside the frame": int(outside.sum()),
            f"less than {config.visible:g} within the frame": int(hidden.sum()),
            f"smaller than {config.min_height}x{config.min_width} (height x width)": int(small.sum()),
        }
    )
    kept = np.flatnonzero(~(outside | hidden | small))
    kept = kept[np.lexsort((tracks.frames[kept], tracks.ids[kept]))]
    frames, ids = tracks.frames[kept], tracks.ids[kept]
    breaks = (np.diff(ids) != 0) | (np.diff(frames) > config.gap + 1)
    plans = []
    for rows in np.split(kept, np.flatnonzero(breaks) + 1):
        plan = _plan(tracks, corners, rows, height, width, config) if len(rows) else None
        if plan is None or len(plan) < config.min_length:
            left_out[f"in tracklets of fewer than {config.min_length} frames"] += len(rows)
        else:
            plans.append(plan)
    left_out = {reason: count for reason, count in left_out.items() if count}
    if not plans:
        raise InputError(f"no tracklet is left: {told(left_out)}")
    return plans, left_out


def _elsewhere(tracks: Tracks, outside: np.ndarray, height: int, width: int) -> InputError:
    row = int(outside.argmax())
    left, top, box_width, box_height = tracks.boxes[row]
    return InputError(
        f"tracks outside the frame: {outside.sum():,} of {len(tracks):,} boxes, where the video's frames are "
        f"{height}x{width} (height x width); track {tracks.ids[row]} has left {left:g}, top {top:g}, width "
        f"{box_width:g}, height {box_height:g} in frame {tracks.frames[row]}; are these the tracks of this video, at "
        "this size?"
    )


def _plan(
    tracks: Tracks, corners: np.ndarray, rows: np.ndarray, height: int, width: int, config: CutConfig
) -> Plan | None:
    """The tracklet of boxes without long gaps; nothing where no frame of it is to be taken."""
    known = tracks.frames[rows]
    frames = np.arange(known[0], known[-1] + 1)
    frames = frames[(frames - config.first_frame) % config.every == 0]
    if not len(frames):
        return None
    sides = np.stack([np.interp(frames, known, corners[rows, side]) for side in range(4)], 1)
    extra = config.margin * (sides[:, 2:] - sides[:, :2])
    sides += np.concatenate([-extra, extra], 1)
    boxes = np.floor(np.clip(sides, 0, [width, height, width, height]) + 0.5).astype(np.int64)
    boxes[:, :2] = np.minimum(boxes[:, :2], [width - 1, height - 1])  # what is left of a box has at least a pixel
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return Plan(int(tracks.ids[rows[0]]), frames, boxes, ~np.isin(frames, known))

"""What the four numbers of a tracker's boxes are: sizes, corners or centres, pixels or shares of the frame."""

from pathlib import Path
from typing import Literal

import numpy as np

from strf_cuda.errors import InputError

Form = Literal["sizes", "corners", "centers"]
MEANING = {
    "sizes": "left, top, width, height",
    "corners": "left, top, right, bottom",
    "centers": "centre, width, height",
}
_LARGEST_SHARE = 2  # predicted boxes reach beyond the frame; no box in pixels ends within the first two
_FEWEST = 10  # boxes from which anything is concluded
_BEYOND = 0.3  # of the boxes, which end beyond the frame as sizes and within it as corners


def in_pixels(
    boxes: np.ndarray, form: Form | None, height: int, width: int, path: Path
) -> tuple[np.ndarray, list[str]]:
    """Boxes as left, top, width and height in pixels.

    Args:
        boxes: float64 [n, 4].
        form: what their numbers are; None takes them as sizes, unless they behave like corners.
        height, width: of the video's frames.

    Returns:
        float64 [n, 4], where corners that are no box have a width or height of 0 or less, and notes.

    Raises:
        InputError: without a form, boxes that are shares of the frame, or behave like corners in two ways or more.
    """
    notes = []
    if len(boxes) and np.abs(boxes).max() <= _LARGEST_SHARE:
        if form is None:
            raise InputError(
                f"the boxes of {path} are shares of the frame, at most {np.abs(boxes).max():g}: give --boxes centers "
                "to strf_cuda.tracklets if they begin with the centre, or --boxes sizes or corners"
            )
        boxes = boxes * [width, height, width, height]
    elif form is None and (signs := signs_of_corners(boxes, height, width)):
        what = f"corners ({MEANING['corners']}), for as sizes ({MEANING['sizes']}) {' and '.join(signs)}"
        if len(signs) > 1:
            raise InputError(
                f"the boxes of {path} look like {what}: give --boxes corners to strf_cuda.tracklets, or --boxes sizes "
                "if they are sizes"
            )
        notes.append(f"the boxes of {path.name} may be {what}: look at the crops, and give --boxes corners if so")
    first, second = boxes[:, :2], boxes[:, 2:]
    if form == "corners":
        second = second - first
    elif form == "centers":
        first = first - second / 2
    return np.concatenate([first, second], axis=1), notes


def signs_of_corners(boxes: np.ndarray, height: int, width: int) -> list[str]:
    """In how many ways boxes behave like corners; in none where some box could not be one.

    Corners have the larger numbers last in every box, which sizes have only of people at the left and upper edge. One
    sign may be chance then: somebody who comes closer grows wider too, and one who is close reaches beyond the frame.
    """
    near, far = np.split(boxes[(boxes[:, 2:] > 0).all(1)], 2, axis=1)
    possible = (far > near).all(1)
    if possible.sum() < _FEWEST or possible.mean() < 0.99:
        return []
    near, far = near[possible], far[possible]
    between = far - near
    shape, shape_between = np.log(far[:, 0] / far[:, 1]), np.log(between[:, 0] / between[:, 1])
    beyond = (near + far > [width, height]).any(1).mean()
    signs = {
        "they grow wider the further right they begin": between[:, 0].var() < far[:, 0].var(),
        "their shape changes more": shape_between.std() < shape.std(),
        "most are wider than high": np.median(shape) > 0 > np.median(shape_between),
        f"{beyond:.0%} end beyond the frame": beyond - (far > [width, height]).any(1).mean() > _BEYOND,
    }
    return [sign for sign, seen in signs.items() if seen]

"""Which frames of a tracklet make a clip: the random clip of training and the clips that cover it in evaluation.

The training rule is the one of AP3D (github.com/guxinqian/AP3D), whose experiments the STRF paper follows: 4 frames
with a stride of 8 (supplement, "Hyperparameters Details"). In evaluation the paper cuts the whole tracklet into
consecutive 4-frame clips and fills the last one by repeating its frames. Everything here is index arithmetic; no file
is read.
"""

import numpy as np


def training_frames(length: int, frames: int, stride: int, random: np.random.Generator) -> np.ndarray:
    """Draw the frames of one training clip, in ascending order.

    A tracklet of at least `frames * stride` frames gives every `stride`-th frame from a uniformly drawn start; a
    shorter one gives distinct random frames; one shorter than `frames` gives random frames with repetition.

    Args:
        length: number of frames of the tracklet, at least 1.

    Returns:
        Frame indexes int64 [frames], within 0..length-1.
    """
    if length >= frames * stride:
        start = random.integers(length - (frames - 1) * stride)
        return start + stride * np.arange(frames)
    return np.sort(random.choice(length, frames, replace=length < frames))


def clip_count(length: int, frames: int) -> int:
    """How many clips `evaluation_clips` cuts a tracklet into, whatever the stride."""
    return -(-length // frames)


def evaluation_clips(length: int, frames: int, stride: int = 1) -> np.ndarray:
    """Cut a whole tracklet into clips so that each frame is seen.

    With stride 1, the paper's protocol, the clips are consecutive. With a larger stride every span of `frames * stride`
    frames gives `stride` interleaved clips, so a clip moves at the pace it had in training. What is left at the end is
    interleaved over as few clips as hold it, thus at a smaller stride: at the full one its clips would hold a frame or
    two and show no motion. A clip that lacks frames repeats its own, from the first on; apart from that every frame is
    used exactly once.

    Args:
        length: number of frames of the tracklet, at least 1.

    Returns:
        Frame indexes int64 [clip_count(length, frames), frames], within 0..length-1.
    """
    span = frames * stride
    covered = length - length % span
    whole = np.arange(covered).reshape(-1, frames, stride).swapaxes(1, 2).reshape(-1, frames)

    rest = length - covered
    rest_stride = clip_count(rest, frames)
    offset = np.arange(rest_stride)[:, None]  # [clips of the rest, 1]
    own = -(-(rest - offset) // max(rest_stride, 1))  # frames that each of these clips has before it repeats
    filled = covered + offset + np.arange(frames) % own * rest_stride
    return np.concatenate((whole, filled))


def whole_clips(length: int, stride: int = 1) -> list[np.ndarray]:
    """Cut a tracklet into as few clips as keep their frames `stride` apart: with stride 1, one clip of all frames.

    Clip i of these min(stride, length) clips holds the frames i, i + stride, i + 2 stride, ... to the end. Each frame
    is used exactly once, and the clips differ by one frame at most.

    Args:
        length: number of frames of the tracklet, at least 1.

    Returns:
        Frame indexes int64 of each clip, within 0..length-1, the longer clips first.
    """
    return [np.arange(first, length, stride) for first in range(min(stride, length))]

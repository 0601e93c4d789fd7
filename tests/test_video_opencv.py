"""Frames as OpenCV gives them to trackers: as many, turned alike, at the same times, with the same pixels."""

import numpy as np
import pytest

import videos
from strf_cuda.video.reading import Video

cv2 = pytest.importorskip("cv2", reason="compares with OpenCV, which nothing here needs")

# Where sizes are even: for odd ones OpenCV converts to BGR by other code than FFmpeg has for RGB.
KINDS = {
    "unnamed colours": {},
    "BT.709": {"space": 1, "full": False},
    "BT.709, full range": {"space": 1, "full": True},
    "BT.601": {"space": 5, "full": False},
    "full range": {"pixels": "yuvj420p"},
    "turned left": {"rotation": 90},
    "turned right": {"rotation": -90},
    "upside down": {"rotation": 180},
    "changing duration": {"times": np.cumsum([5, 3, 9, 1, 4] * 4).tolist()},
    "MPEG-4": {"codec": "mpeg4"},
}


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_of_opencv(tmp_path, kind, container):
    path = videos.write_video(tmp_path / f"video.{container}", videos.scene(), **{"pixels": "yuv420p", **KINDS[kind]})
    capture, theirs, times = cv2.VideoCapture(str(path)), [], []
    while (read := capture.read())[0]:
        theirs.append(read[1][:, :, ::-1])
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    with Video(path) as video:
        ours = list(video)
        assert len(ours) == len(theirs) == 20
        for frame, pixels, seconds in zip(ours, theirs, times, strict=True):
            assert np.array_equal(frame.pixels(), pixels)
            assert frame.seconds == pytest.approx(seconds - times[0], abs=1e-6)

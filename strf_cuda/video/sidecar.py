"""tracklets.json: from which video and when the tracklets of a folder were cut, beside the folders of the persons.

    {"format": 1, "videos": [{
        "video", "video_fingerprint", "tracks", "tracks_fingerprint", "camera", "prefix", "options",
        "height", "width", "frames_a_second", "left_out", "notes",
        "tracklets": [{"name", "person", "track", "first_frame", "last_frame", "start", "end", "frames", "bridged"}]}]}

Frames are numbered as the tracks number them, times are seconds by the camera's clock (`CutConfig.start`), null where
the video has none. A tracklet's name is that of its folder, and no other has it, so that it is known wherever it is
moved to. While a video is being cut, the same lies in `.cutting/PREFIX`.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

from strf_cuda.contents import read_json
from strf_cuda.errors import InputError
from strf_cuda.files import write_json

NAME = "tracklets.json"
UNFINISHED = ".cutting"
FINISHED_TRACKLETS = "tracklets.jsonl"
FORMAT = 1


def read_sidecar(folder: str | os.PathLike) -> dict[str, tuple[float, float]]:
    """Start and end of the tracklets that were cut into a folder, by the name of the tracklet's own folder.

    Tracklets that the user has moved between persons keep their names. Tracklets of a video that is still being cut,
    or whose cutting was interrupted, are among them.

    Args:
        folder: what `cut_tracklets` wrote to; in any other there is nothing, and the answer is empty.

    Returns:
        Seconds at which the first and the last frame are shown, by the camera's clock; NaN where the video does not
        say.

    Raises:
        InputError: tracklets.json is damaged or of another format.
    """
    folder = Path(folder)
    tracklets = [tracklet for video in read_videos(folder) for tracklet in video["tracklets"]]
    for unfinished in sorted(folder.glob(f"{UNFINISHED}/*/{FINISHED_TRACKLETS}")):
        tracklets += read_finished(unfinished)
    return {
        tracklet["name"]: tuple(math.nan if tracklet[end] is None else tracklet[end] for end in ("start", "end"))
        for tracklet in tracklets
    }


def read_videos(folder: Path) -> list[dict[str, Any]]:
    """What tracklets.json says of each video; nothing where there is none.

    Raises:
        InputError: it is damaged or of another format.
    """
    path = folder / NAME
    try:
        content = read_json(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise InputError(f"{path} has format {found}, but this version reads format {FORMAT}")
    return content["videos"]


def write_videos(folder: Path, videos: list[dict[str, Any]]) -> None:
    """Replaces tracklets.json."""
    write_json(folder / NAME, {"format": FORMAT, "videos": videos})


def read_finished(path: Path) -> list[dict[str, Any]]:
    """The tracklets of a cut that has not ended; a last line of which only a part was written is none.

    Raises:
        InputError: the file is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; remove its folder, and what was cut of that video") from None

"""Where tracklets go while they are cut: a hidden folder, from which each is renamed into its place when it is whole.

    OUT/person/camera/tracklet/*.jpg              whole tracklets and nothing else
    OUT/tracklets.json                            see `strf_cuda.video.sidecar`
    OUT/.cutting/PREFIX/cut.json                  what is being cut, and how
    OUT/.cutting/PREFIX/tracklets.jsonl           whole tracklets, a line each
    OUT/.cutting/PREFIX/open/tracklet/person/...  the others

A line is written after the last crop of a tracklet and before it is renamed, so after a kill it is known for each
tracklet whether it is whole. The last folder goes when the video's tracklets are in tracklets.json.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from strf_cuda.data.folder import SPLITS, visible
from strf_cuda.errors import InputError
from strf_cuda.files import replacing, write_json
from strf_cuda.video import sidecar

_SAMPLE = 2**20
_DESCRIPTION = "cut.json"


class Store:
    """What one cut writes. The folder must be claimed (`strf_cuda.files.claimed`) as long as it is used.

    Args:
        out: the folder of all tracklets.
        description: "video", "video_fingerprint", "tracks", "tracks_fingerprint", "camera", "prefix", "options".

    Attributes:
        complete: what tracklets.json says of this very cut; None where it was not finished.
        finished: the whole tracklets of a cut that was interrupted, by name, as in tracklets.json.

    Raises:
        InputError: the folder holds something else, or another cut of the video, which would mix with this one.
    """

    def __init__(self, out: Path, description: Mapping[str, Any]):
        self.out, self.description = out, description
        self._hidden = out / sidecar.UNFINISHED / description["prefix"]
        _check_folder(out)
        self.complete = self._find_complete()
        self.finished = {}
        if self.complete:
            self._clear()  # which a kill may have left
            return
        begun = _read_begun(self._hidden / _DESCRIPTION)
        if begun:
            self.finished = {found["name"]: found for found in sidecar.read_finished(self._lines)}
        if self.finished:
            self._check_same(begun, "was begun")

    def begin(self, tracklets: Iterable[tuple[str, str]]) -> None:
        """Makes ready for writing these tracklets, each a name and a person, and removes parts of any.

        Raises:
            InputError: one of them has its place taken.
        """
        for name, tracklet in self.finished.items():
            self._place(name, tracklet["person"])
        for name, person in tracklets:
            if self._target(name, person).exists():
                raise InputError(
                    f"{self._target(name, person)} exists already, but {sidecar.NAME} does not know it: give another "
                    "folder or prefix, or remove it"
                )
        shutil.rmtree(self._hidden / "open", ignore_errors=True)
        self._hidden.mkdir(parents=True, exist_ok=True)
        write_json(self._hidden / _DESCRIPTION, self.description)
        with replacing(self._lines) as temporary:  # without the part of a line that a kill may have left
            temporary.write_text("".join(map(_line, self.finished.values())), encoding="utf-8")

    @property
    def _lines(self) -> Path:
        return self._hidden / sidecar.FINISHED_TRACKLETS

    def folder(self, name: str, person: str) -> Path:
        """A new folder for the crops of a tracklet."""
        path = self._open(name) / person / self.description["camera"] / name
        path.mkdir(parents=True)
        return path

    def finish(self, tracklet: dict[str, Any]) -> None:
        """Puts a tracklet whose crops are all written into its place."""
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(_line(tracklet))
        self.finished[tracklet["name"]] = tracklet
        self._place(tracklet["name"], tracklet["person"])

    def discard(self, name: str) -> None:
        """Removes the crops of a tracklet."""
        shutil.rmtree(self._open(name))

    def complete_with(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Enters the finished tracklets, and what else was found, into tracklets.json; returns the whole entry."""
        order = sorted(self.finished.values(), key=lambda tracklet: (tracklet["track"], tracklet["first_frame"]))
        self.complete = {**self.description, **found, "tracklets": order}
        sidecar.write_videos(self.out, [*sidecar.read_videos(self.out), self.complete])
        self._clear()
        return self.complete

    def _open(self, name: str) -> Path:
        return self._hidden / "open" / name

    def _target(self, name: str, person: str) -> Path:
        return self.out / person / self.description["camera"] / name

    def _place(self, name: str, person: str) -> None:
        """Renames the uppermost folder that is not there yet, so that no person or camera is ever empty."""
        camera = self.description["camera"]
        if not (self._open(name) / person / camera / name).is_dir():
            return  # it has its place already
        for path in (Path(person), Path(person, camera), Path(person, camera, name)):
            if not (self.out / path).exists():
                (self._open(name) / path).rename(self.out / path)
                break
        else:
            raise InputError(f"{self._target(name, person)} exists already: remove it, or give another folder")
        shutil.rmtree(self._open(name))

    def _clear(self) -> None:
        shutil.rmtree(self._hidden, ignore_errors=True)
        if self._hidden.parent.is_dir() and not os.listdir(self._hidden.parent):
            self._hidden.parent.rmdir()

    def _find_complete(self) -> dict[str, Any] | None:
        complete = sidecar.read_videos(self.out)
        for known in [*complete, *_all_begun(self.out)]:
            same = known["video_fingerprint"] == self.description["video_fingerprint"]
            if same and known["prefix"] != self.description["prefix"]:
                raise InputError(
                    f"{self.description['video']} has the content of {known['video']}, which has been cut into "
                    f"{self.out} as camera {known['camera']} with the prefix {known['prefix']}: give these, or another "
                    "folder"
                )
        for known in complete:
            if known["prefix"] == self.description["prefix"]:
                self._check_same(known, "has been cut")
                return known
        return None

    def _check_same(self, known: Mapping[str, Any], what: str) -> None:
        """Another cut under one prefix would mix with it."""
        wanted, prefix = self.description, known["prefix"]
        if known["video_fingerprint"] != wanted["video_fingerprint"]:
            raise InputError(
                f"{known['video']} {what} into {self.out} with the prefix {prefix}, and {wanted['video']} is another "
                "video: give it another --prefix or --camera"
            )
        differences = []
        if known["tracks_fingerprint"] != wanted["tracks_fingerprint"]:
            differences.append(f"the tracks {known['tracks']}, now {wanted['tracks']} with other content")
        if known["camera"] != wanted["camera"]:
            differences.append(f"camera {known['camera']}, now {wanted['camera']}")
        for name, value in wanted["options"].items():
            if known["options"].get(name) != value:
                differences.append(f"{name} {known['options'].get(name)}, now {value}")
        if differences:
            raise InputError(
                f"{wanted['video']} {what} into {self.out} with {'; '.join(differences)}: give the same, another "
                "folder, or --replace to cut it anew"
            )


def remove_cut(out: Path, prefix: str) -> int:
    """Removes a video's tracklets and forgets them; returns how many stay because the user has moved them."""
    videos = sidecar.read_videos(out)
    hidden = out / sidecar.UNFINISHED / prefix
    begun = _read_begun(hidden / _DESCRIPTION)
    cuts = [known for known in videos if known["prefix"] == prefix]
    if begun:
        cuts.append({**begun, "tracklets": sidecar.read_finished(hidden / sidecar.FINISHED_TRACKLETS)})
    there = {path.name: path for path in out.glob("*/*/*")} if cuts else {}
    moved = 0
    for cut in cuts:
        for tracklet in cut["tracklets"]:
            place = out / tracklet["person"] / cut["camera"] / tracklet["name"]
            moved += there.get(tracklet["name"], place) != place
            _remove_with_empty_parents(place, hidden / "removed")
    if cuts:
        sidecar.write_videos(out, [known for known in videos if known["prefix"] != prefix])
    shutil.rmtree(hidden, ignore_errors=True)
    return moved


def _remove_with_empty_parents(tracklet: Path, grave: Path) -> None:
    """By a rename first, so that nobody ever finds a part of it, nor a person or camera without tracklets."""
    if not tracklet.is_dir():
        return
    uppermost = tracklet
    for parent in (tracklet.parent, tracklet.parent.parent):
        if len(visible(parent)) == 1:
            uppermost = parent
        else:
            break
    shutil.rmtree(grave, ignore_errors=True)
    grave.parent.mkdir(parents=True, exist_ok=True)
    uppermost.rename(grave)
    shutil.rmtree(grave)


def fingerprint(path: Path) -> str:
    """Tells files apart by size, beginning and end, since a video may have many gigabytes; folders by their texts."""
    if path.is_dir():
        texts = sorted(path.rglob("*.txt"))
        return hashlib.sha256("".join(f"{text.name} {fingerprint(text)}\n" for text in texts).encode()).hexdigest()[:16]
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_SAMPLE))
        file.seek(max(0, size - _SAMPLE))
        digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:16]


def _check_folder(out: Path) -> None:
    """It is new, empty, or holds tracklets that were cut, and only these."""
    names = visible(out)
    if names and sidecar.NAME not in names and not (out / sidecar.UNFINISHED).exists():
        raise InputError(f"{out} holds other things, such as {names[0]}: give a new folder or an empty one")
    divided = [split for split in SPLITS if split in names]
    if divided:
        raise InputError(
            f"{out} is divided by hand into {', '.join(divided)}, beside which no other tracklets are read: cut into "
            "another folder, and move them"
        )


def _read_begun(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _all_begun(out: Path) -> list[dict[str, Any]]:
    """Cuts that were interrupted after a tracklet was whole."""
    begun = [path.parent for path in sorted(out.glob(f"{sidecar.UNFINISHED}/*/{_DESCRIPTION}"))]
    return [
        _read_begun(path / _DESCRIPTION) for path in begun if sidecar.read_finished(path / sidecar.FINISHED_TRACKLETS)
    ]


def _line(tracklet: Mapping[str, Any]) -> str:
    return json.dumps(tracklet, allow_nan=False) + "\n"

"""Cuts that are interrupted: what is there is whole at any moment, and in the end nothing tells them from others."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import killing_cuts
import videos
from strf_cuda.data import TrackletFolder
from strf_cuda.errors import InputError
from strf_cuda.video import CutConfig, cut_tracklets, cutting, read_sidecar
from videos import GREEN, GROUND, RED, Mover


@pytest.fixture
def inputs(tmp_path):
    """A video of the three movers and its tracks."""
    (tmp_path / "tracks.txt").write_text(videos.tracks())
    return str(videos.write_video(tmp_path / "cam1.mp4", videos.scene())), str(tmp_path / "tracks.txt")


@pytest.fixture
def cut(inputs, tmp_path):
    def cut(out="people", **options):
        return cut_tracklets(CutConfig(*inputs, str(tmp_path / out), **options), progress=False)

    return cut


@pytest.fixture
def fail_at(monkeypatch):
    """Raises an error instead of cutting a frame, until it is called with None."""
    plain = cutting._Cutter.cut

    def fail_at(number, error=None):
        def cut(self, frame, frame_number, begun):
            if frame_number == number:
                raise error
            plain(self, frame, frame_number, begun)

        monkeypatch.setattr(cutting._Cutter, "cut", cut)

    return fail_at


def files(folder):
    """All that a folder holds, its lock left aside: a process that is killed leaves that behind."""
    paths = [path for path in folder.rglob("*") if path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def check_valid(folder, names):
    """These tracklets are all that the folder holds, they are whole, and their times are known."""
    assert sorted(path.parents[2].name for path in folder.glob("*/cam1/*/000010.jpg")) == sorted(names)
    data = TrackletFolder(folder, test_fraction=0.0)
    assert set(data.person_names.values()) == set(names)
    times = read_sidecar(folder)
    for tracklet in data.train:
        first, last = (int(Path(tracklet.paths[place]).stem) for place in (0, -1))
        assert times[Path(tracklet.paths[0]).parent.name] == pytest.approx(((first - 1) / 25, (last - 1) / 25))


def kill(moment, inputs, folder):
    """Cuts in a process that kills itself."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, killing_cuts.__file__, moment, *inputs, str(folder)]
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("moment", "there"),
    [
        ("in a tracklet", []),
        ("in the second tracklet's line", ["cam1-0002"]),
        ("before the second tracklet's rename", ["cam1-0002"]),
        ("before the end", ["cam1-0001", "cam1-0002", "cam1-0003"]),
        ("before the hidden folder goes", ["cam1-0001", "cam1-0002", "cam1-0003"]),
    ],
)
def test_a_cut_that_is_killed_goes_on_and_ends_like_any_other(cut, inputs, tmp_path, moment, there):
    kill(moment, inputs, tmp_path / "people")
    if there:
        check_valid(tmp_path / "people", there)
    else:
        assert not list((tmp_path / "people").glob("cam1*"))
    assert cut().found == len(there) + (moment == "before the second tracklet's rename")
    cut(out="whole")
    assert files(tmp_path / "people") == files(tmp_path / "whole")


@pytest.mark.parametrize("moment", ["in a tracklet", "before the end"])
def test_of_a_truncated_video_the_same_is_told_after_a_kill(cut, inputs, tmp_path, moment):
    whole = videos.write_video(
        tmp_path / "whole.mp4", videos.scene(frames=60), codec="mjpeg", pixels="yuvj444p", movflags="faststart"
    )
    Path(inputs[0]).write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    lasting, late = Mover(6, GROUND, 100, 10, last=60), Mover(7, GROUND, 100, 10, first=50, last=60)
    Path(inputs[1]).write_text(videos.tracks([GREEN, lasting, late]))
    kill(moment, inputs, tmp_path / "people")
    assert "tracklets that end early: 1, that are missing: 1" in cut().notes[-1]
    cut(out="whole")
    assert files(tmp_path / "people") == files(tmp_path / "whole")


def test_a_cut_that_is_stopped_says_how_far_it_is_and_goes_on(cut, fail_at, tmp_path):
    fail_at(20, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match="^1 tracklets are whole, and the same command goes on with the others"):
        cut()
    check_valid(tmp_path / "people", ["cam1-0002"])
    fail_at(None)
    assert cut().found == 1
    cut(out="whole")
    assert files(tmp_path / "people") == files(tmp_path / "whole")


def test_a_full_disk_is_told_and_the_cut_goes_on(cut, fail_at, tmp_path):
    fail_at(19, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(InputError, match=r"cannot write to .*people: No space left on device; 1 tracklets are whole"):
        cut()
    fail_at(None)
    cut()
    cut(out="whole")
    assert files(tmp_path / "people") == files(tmp_path / "whole")


def test_what_the_user_has_moved_meanwhile_is_not_cut_again(cut, fail_at, tmp_path):
    fail_at(20, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        cut()
    (tmp_path / "people/cam1-0002").rename(tmp_path / "people/anna")
    fail_at(None)
    cut()
    check_valid(tmp_path / "people", ["anna", "cam1-0001", "cam1-0003"])


def test_a_complete_cut_is_left_as_it_is(cut, tmp_path):
    cut()
    before = files(tmp_path / "people")
    (tmp_path / "people/cam1-0002").rename(tmp_path / "people/anna")
    assert cut().found == 3
    (tmp_path / "people/anna").rename(tmp_path / "people/cam1-0002")
    assert files(tmp_path / "people") == before


def test_a_cut_of_a_version_without_the_option_boxes_is_still_complete(cut, tmp_path):
    cut()
    path = tmp_path / "people/tracklets.json"
    content = json.loads(path.read_text())
    assert content["videos"][0]["options"].pop("boxes") is None
    assert content["videos"][0]["options"]["first_frame"] == 1
    path.write_text(json.dumps(content))
    assert cut().found == 3


def test_other_options_are_refused_where_tracklets_would_mix_and_only_there(cut, fail_at):
    fail_at(18, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        cut()
    fail_at(20, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):  # nothing was whole yet
        cut(gap=3)
    with pytest.raises(
        InputError, match=r"cam1.mp4 was begun into .*people with gap 3, now 4; quality 95, now 80: give"
    ):
        cut(gap=4, quality=80)
    with pytest.raises(InputError, match="which has been cut into .* as camera cam1 with the prefix cam1: give these"):
        cut(gap=3, camera="cam2")
    fail_at(None)
    cut(gap=3)
    with pytest.raises(InputError, match="cam1.mp4 has been cut into .*people with gap 3, now 5: give the same"):
        cut(gap=5)


def test_other_tracks_or_names_of_a_video_are_refused(cut, inputs, tmp_path):
    cut()
    with pytest.raises(
        InputError,
        match="has the content of .*cam1.mp4, which has been cut into .* as camera cam1 with the prefix cam1: give",
    ):
        cut(camera="cam2")
    with pytest.raises(InputError, match="has been cut into .*people with camera cam1, now cam2: give the same"):
        cut(camera="cam2", prefix="cam1")
    (tmp_path / "tracks.txt").write_text(videos.tracks([RED]))
    with pytest.raises(InputError, match=r"with the tracks .*tracks.txt, now .*tracks.txt with other content"):
        cut()


def test_two_videos_of_one_name_are_told_apart(cut, tmp_path):
    cut()
    (tmp_path / "day2").mkdir()
    other = videos.write_video(tmp_path / "day2/cam1.mp4", videos.scene([GREEN]))
    (tmp_path / "tracks.txt").write_text(videos.tracks([GREEN]))
    config = CutConfig(str(other), str(tmp_path / "tracks.txt"), str(tmp_path / "people"))
    with pytest.raises(InputError, match=r"day2/cam1.mp4 is another video: give it another --prefix or --camera"):
        cut_tracklets(config, progress=False)


def test_a_cut_is_replaced_only_when_asked(cut, tmp_path):
    cut()
    folder = tmp_path / "people"
    (folder / "cam1-0002").rename(folder / "anna")
    shutil.rmtree(folder / "cam1-0003")
    found = cut(min_length=16, replace=True)
    assert found.notes == ["1 tracklets of an earlier cut were moved elsewhere and have stayed"]
    assert sorted(path.name for path in folder.iterdir()) == ["anna", "cam1-0001", "cam1-0002", "tracklets.json"]
    cut(out="whole", min_length=16)
    (tmp_path / "whole/anna/cam1").mkdir(parents=True)
    assert {path for path in files(folder) if "anna/" not in path} == {
        path for path in files(tmp_path / "whole") if "anna/" not in path
    }


def test_a_folder_that_holds_other_things_is_refused(cut, tmp_path):
    folder = tmp_path / "people"
    (folder / "holiday").mkdir(parents=True)
    with pytest.raises(InputError, match="people holds other things, such as holiday: give a new folder or an empty"):
        cut()
    (folder / "holiday").rmdir()
    cut()
    (folder / "train").mkdir()
    with pytest.raises(InputError, match="people is divided by hand into train, beside which"):
        cut(gap=1)


def test_a_place_that_is_taken_is_refused(cut, tmp_path):
    (tmp_path / "people/.cutting").mkdir(parents=True)
    (tmp_path / "people/cam1-0002/cam1/cam1-0002-000003").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cam1-0002-000003 exists already, but tracklets.json does not know it"):
        cut()


def test_two_processes_do_not_cut_into_one_folder(inputs, tmp_path):
    code = (
        "import sys; from strf_cuda.files import claimed\n"
        "with claimed(sys.argv[1]): print(flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "people")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match=f"process {other.pid} on .* works in .*people now"):
            cut_tracklets(CutConfig(*inputs, str(tmp_path / "people")), progress=False)
        other.stdin.close()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "tracklets.json is damaged: "), ("[]", "has format None, but"), ('{"format": 9}', "has format 9, but")],
)
def test_a_damaged_sidecar_is_told(tmp_path, content, sentence):
    (tmp_path / "tracklets.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_sidecar(tmp_path)


def test_damaged_lines_of_a_cut_that_has_not_ended_are_told(tmp_path):
    (tmp_path / ".cutting/cam1").mkdir(parents=True)
    (tmp_path / ".cutting/cam1/tracklets.jsonl").write_text("\0\0\n")
    with pytest.raises(InputError, match="cam1/tracklets.jsonl is damaged: .*; remove its folder"):
        read_sidecar(tmp_path)


def test_a_folder_without_a_sidecar_has_no_times(tmp_path):
    assert read_sidecar(tmp_path) == {}

"""Files are whole or absent, and what keeps them from being written is told in one sentence."""

import errno
import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from strf_cuda.errors import InputError
from strf_cuda.files import claimed, expanded, new_folder, remove_unfinished, replacing, writable_folder, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_content_appears_under_its_name_at_the_end_only(tmp_path):
    path = tmp_path / "new" / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("content")
        assert temporary.parent == path.parent and temporary.suffix == path.suffix and not path.exists()
    assert path.read_text() == "content" and names(path.parent) == ["file.txt"]


@pytest.mark.parametrize(
    "name", ["[x]*?.ckpt", "x" * 250 + ".ckpt", "a\nb:%d", "-", "é" * 125, os.fsdecode(b"\xff.ckpt")]
)
def test_a_file_may_have_any_name_that_the_system_allows(tmp_path, name):
    path = tmp_path / name
    with replacing(path) as temporary:
        temporary.write_text("content")
        temporary.with_name(f"{temporary.stem}2{path.suffix}").touch()  # as after a kill
    assert path.read_text() == "content" and len(names(tmp_path)) == 2
    remove_unfinished(path)
    assert names(tmp_path) == [name]
    with new_folder(tmp_path / f"{name[:-7]}-model") as temporary:
        (temporary / "file").touch()


def test_home_is_meant_by_a_tilde_where_there_is_such_a_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a" and expanded("a~") == Path("a~")
    assert expanded("~no such user/a") == Path("~no such user/a")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["file.txt"]


def test_a_new_file_has_the_rights_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    with replacing(tmp_path / "file") as temporary:
        temporary.touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    sentence = r"^cannot write .*/file.txt: No space left on device$"
    with pytest.raises(InputError, match=sentence), replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old" and names(tmp_path) == ["file.txt"]


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^cannot write .*/file/run/x.json: Not a directory$"):
        write_json(tmp_path / "file" / "run" / "x.json", {})
    with pytest.raises(InputError, match=r"^cannot make the folder .*/file: File exists$"):
        writable_folder(tmp_path / "file")
    with pytest.raises(InputError, match=r"^cannot make the folder .*/file/deep: Not a directory$"):
        writable_folder(tmp_path / "file" / "deep")


def test_a_folder_without_the_right_to_write_is_refused_before_the_work(tmp_path, monkeypatch):
    assert writable_folder(tmp_path / "new" / "folder").is_dir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match=r"^cannot write to the folder .*: permission denied$"):
        writable_folder(tmp_path)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    for name in ("last.ckpt", ".last-x1y2.ckpt", ".last-ab.ckpt", ".best-x1y2.ckpt", ".last-x.json", "last-x.ckpt"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path / "last.ckpt")
    assert names(tmp_path) == [".best-x1y2.ckpt", ".last-x.json", "last-x.ckpt", "last.ckpt"]


HOLDER = """
import sys, time
from strf_cuda.files import claimed
with claimed(sys.argv[1]):
    print("claimed", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has claimed the folder "run"."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_works_in_is_refused_until_that_has_ended_however_it_ended(tmp_path, holder):
    sentence = (
        rf"^process {holder.pid} on .* works in {tmp_path}/run now: wait until it has ended, or end it; two would"
    )
    with pytest.raises(InputError, match=sentence), claimed(tmp_path / "run"):
        pass
    assert names(tmp_path / "run") == [".lock"]
    holder.kill()
    holder.wait()
    with claimed(tmp_path / "run"):
        assert names(tmp_path / "run") == [".lock"]
    assert names(tmp_path / "run") == []


def test_a_forked_process_does_not_hold_the_folder(tmp_path):
    """A worker may live a few seconds longer than the run that was killed."""
    code = HOLDER.replace("    time.sleep", "    os.fork()\n    time.sleep").replace("import sys", "import os, sys")
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout.readline() == "claimed\n"
        while not (children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert Path(f"/proc/{children[0]}").exists()
        with claimed(tmp_path):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_a_file_system_without_locks_is_used_without_one(tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with claimed(tmp_path / "run"), claimed(tmp_path / "other"):
        pass


def test_json_is_readable_and_holds_no_nan(tmp_path):
    path = tmp_path / "figures.json"
    write_json(path, {"mAP": 0.5, "rank-1": None})
    assert json.loads(path.read_text()) == {"mAP": 0.5, "rank-1": None} and path.read_text().endswith("}\n")
    with pytest.raises(ValueError):
        write_json(path, {"mAP": math.nan})
    assert json.loads(path.read_text())["mAP"] == 0.5


def test_a_new_folder_appears_whole_and_is_left_alone_afterwards(tmp_path):
    place = tmp_path / "deep" / "folder"
    with new_folder(place) as temporary:
        (temporary / "a").write_text("a")
        assert not place.exists() and temporary.parent == place.parent
    assert [path.read_text() for path in place.iterdir()] == ["a"]
    with pytest.raises(InputError, match="folder exists already: give another place, or remove it"), new_folder(place):
        raise AssertionError("nothing is begun")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_of_a_folder_that_could_not_be_finished_nothing_stays(tmp_path, error):
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected), new_folder(tmp_path / "folder") as temporary:
        (temporary / "a").write_text("a")
        raise error
    assert os.listdir(tmp_path) == []

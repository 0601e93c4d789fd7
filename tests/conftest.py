"""Fixtures that several test files share."""

import os
import random

# Read when torch is loaded: threads that spin while they wait keep other processes of the tests from their cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path

import pytest
import torch

import triton_interpreter

triton_interpreter.begin()

# The training package is imported by the fixtures that need it: the operator's tests run without its dependencies.
TINY = dict(
    train_people=4, test_people=4, gait_groups=1, pace_groups=0, cameras_per_person=3, distractors=1, junk=1,
    height=32, width=16, frames=10,
)  # fmt: skip


REAL_LISTS = (
    "ilidsvid_frames.txt.gz",
    "ilidsvid_official_10.json",
    "prid2011_frames.txt.gz",
    "prid2011_torchreid_10.json",
    "prid2011_other_10.json",
)


def pytest_addoption(parser):
    parser.addoption(
        "--real-lists",
        metavar="DIR",
        help=f"folder with frame names and splits of published data sets ({', '.join(REAL_LISTS)}): tests of their "
        "readers run on these too",
    )


@pytest.fixture(scope="session")
def real_lists(request):
    """The folder with lists of published data sets, which this project does not hold."""
    given = request.config.getoption("--real-lists")
    if given is None:
        pytest.skip("needs the published frame names and splits: give their folder with --real-lists DIR")
    missing = [name for name in REAL_LISTS if not (Path(given) / name).is_file()]
    if missing:
        pytest.skip(f"--real-lists {given} lacks {', '.join(missing)}")
    return Path(given)


@pytest.fixture
def shuffled_folders(monkeypatch):
    """Folders are listed in another order than usual, as another file system may do; returns the folders listed."""
    listed = []

    def shuffled(entries, folder):
        listed.append(os.fspath(folder))
        entries = sorted(entries, key=lambda entry: os.fsdecode(getattr(entry, "name", entry)))
        random.Random(len(listed)).shuffle(entries)
        return entries

    class Scan(list):
        """What os.scandir returns is a context manager too."""

        def __enter__(self):
            return iter(self)

        def __exit__(self, *_):
            return None

    listdir, scandir = os.listdir, os.scandir
    monkeypatch.setattr(os, "listdir", lambda folder=".": shuffled(listdir(folder), folder))
    monkeypatch.setattr(os, "scandir", lambda folder=".": Scan(shuffled(scandir(folder), folder)))
    return listed


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The tensors here are tiny, and threads that wait for each other slow them down on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory):
    """Indexes of the data sets that the tests write are not left in the cache folder of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        own = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        patch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR") or os.path.join(own, "matplotlib"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_walkers(tmp_path_factory):
    """The folder of a very small set of walkers: 4 + 4 people, 6 tracklets each, frames of 32x16."""
    from strf_cuda.data.walkers import WalkersConfig, make_walkers

    return make_walkers(tmp_path_factory.mktemp("data") / "walkers", WalkersConfig(**TINY), progress=False)


@pytest.fixture(scope="session")
def tiny_run():
    """Options of a very small training run: 6 batches of 2 people x 2 clips an epoch."""
    return [
        "--data.height=32",
        "--data.width=16",
        "--data.people=2",
        "--data.clips=2",
        "--data.stride=2",
        "--data.workers=0",
        "--model.depth=[1, 1, 1, 1]",
        "--evaluation.every=1",
        "--evaluation.stride=2",
        "--epochs=3",
        "--device=cpu",
    ]


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_walkers, tiny_run, tmp_path_factory):
    """A checkpoint of `tiny_run` with STRF units and random weights, on the tiny walkers."""
    from untrained import write_checkpoint

    options = [*tiny_run, "--model.width=16", f"--data.root={tiny_walkers}"]
    return write_checkpoint(tmp_path_factory.mktemp("strf") / "best.ckpt", *options)


@pytest.fixture(scope="session")
def tiny_baseline(tiny_walkers, tiny_run, tmp_path_factory):
    """The same without units."""
    from untrained import write_checkpoint

    options = [*tiny_run, "--model.width=16", "--model.unit=none", f"--data.root={tiny_walkers}"]
    return write_checkpoint(tmp_path_factory.mktemp("baseline") / "best.ckpt", *options)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def options(tiny_walkers, tiny_run, folder):
    return [*tiny_run, f"--data.root={tiny_walkers}", f"--out={folder}"]


@pytest.fixture
def fails(options, folder, capsys):
    """Runs a command that must end with status 2 and one sentence, which is returned."""
    from reading import one_sentence
    from running import command

    def fails(*argv):
        assert command(*options, *argv) == 2
        lines = capsys.readouterr().err.splitlines(keepends=True)
        return one_sentence("".join(line for line in lines if not line.startswith("warning: ")))

    return fails


@pytest.fixture
def whole_run(tiny_walkers, tiny_run, tmp_path):
    """The weights at the end of the run that `options` describe, without any fault."""
    from running import command
    from strf_cuda.checkpoints import read_checkpoint

    assert command(*tiny_run, f"--data.root={tiny_walkers}", f"--out={tmp_path}/whole") == 0
    return read_checkpoint(tmp_path / "whole" / "last.ckpt")["state_dict"]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Processes that commands start are those of stand_in.py, until the test ends."""
    from standing_in import StandIn

    found = StandIn(tmp_path)
    monkeypatch.setattr("sys.executable", str(found.executable))
    return found

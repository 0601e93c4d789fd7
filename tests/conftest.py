"""Fixtures that several test files share."""

import os

# Read when torch is loaded: threads that spin while they wait keep other processes of the tests from their cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

import triton_interpreter

triton_interpreter.begin()

# The training package is imported by the fixtures that need it: the operator's tests run without its dependencies.
TINY = dict(
    train_people=4, test_people=4, gait_groups=1, pace_groups=0, cameras_per_person=3, distractors=1, junk=1,
    height=32, width=16, frames=10,
)  # fmt: skip


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


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def options(tiny_walkers, tiny_run, folder):
    return [*tiny_run, f"--data.root={tiny_walkers}", f"--out={folder}"]


@pytest.fixture
def fails(options, folder, capsys):
    """Runs a command that must end with status 2 and one sentence, which is returned."""
    from running import command

    def fails(*argv):
        assert command(*options, *argv) == 2
        (sentence,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
        assert sentence.startswith("error: ")
        return sentence.removeprefix("error: ")

    return fails

"""A run killed with SIGKILL and resumed ends with the same weights, to the bit, as one that was not."""

import json
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

SIGKILLED = -9
MOMENTS = ("middle of epoch", "before epoch end", "after epoch end", "writing last", "writing best")


@pytest.fixture(scope="module")
def run_in_child():
    """Runs training in a child process, see killing.py; returns what that answers, with names for its keys."""
    script = Path(__file__).parent / "killing.py"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, script], **pipes) as parent:

        def run_in_child(argv, log, kill=None, after=None):
            parent.stdin.write(json.dumps({"argv": argv, "kill": kill, "after": after, "log": str(log)}) + "\n")
            parent.stdin.flush()
            return SimpleNamespace(**json.loads(parent.stdout.readline()))

        yield run_in_child
        parent.stdin.close()


@pytest.fixture
def carry_out(run_in_child, tmp_path):
    """Exit codes of runs, one after the other, each of (argv, moment to be killed at); and what they printed."""

    def carry_out(runs):
        log = tmp_path / "log.txt"
        return [run_in_child(argv, log, kill).code for argv, kill in runs], log.read_text()

    return carry_out


def final_state(folder):
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    return {
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"],
        "epoch": checkpoint["epoch"],
        "step": checkpoint["global_step"],
        "history": json.loads((folder / "metrics.json").read_text())["history"],
    }


def assert_same(one, other, place="run"):
    assert type(one) is type(other), place
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert list(one) == list(other), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), place
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}[{index}]")
    else:
        assert one == other, place


BEYOND = [
    "--optimizer.ema=0.9", "--optimizer.label_smoothing=0.1", "--optimizer.schedule=cosine", "--optimizer.warmup=1",
]  # fmt: skip


@pytest.mark.parametrize(("workers", "more"), [(0, []), (2, BEYOND)], ids=["as in the paper", "beyond it"])
def test_a_killed_run_resumes_to_the_same_weights_whenever_it_was_killed(
    workers, more, carry_out, tiny_walkers, tiny_run, tmp_path
):
    options = [*tiny_run, f"--data.root={tiny_walkers}", f"--data.workers={workers}", *more]
    runs = [([*options, f"--out={tmp_path}/whole"], None)]
    for moment in MOMENTS:
        out = f"--out={tmp_path}/{moment.replace(' ', '-')}"
        runs += [([*options, out], moment), (["--resume", out], None)]
    codes, log = carry_out(runs)
    assert codes == [0] + [SIGKILLED, 0] * len(MOMENTS), log
    whole = final_state(tmp_path / "whole")
    assert whole["epoch"] == 2 and whole["step"] == 18 and len(whole["history"]) == 3
    assert any(name.startswith("average.") for name in whole["weights"]) == bool(more)
    for moment in MOMENTS:
        folder = tmp_path / moment.replace(" ", "-")
        assert_same(final_state(folder), whole, moment)
        assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] in (0, 1, 2)


def kill_at_random(run_in_child, options, folder, kills):
    """Carries out a run as a whole, and again with so many kills at random moments; returns how these found it.

    One in four moments is counted from the start of a process, the others from its first step, so that they spread over
    the whole run however long it takes to begin.
    """
    seed = random.SystemRandom().randrange(2**32)
    print(f"moments of seed {seed}")  # shown where the test fails
    moments = random.Random(seed)
    whole = run_in_child([*options, f"--out={folder}/whole"], folder / "log.txt")
    out = f"--out={folder}/killed"
    found = []
    for number in range(kills):
        argv = ["--resume", out] if (folder / "killed" / "config.yaml").exists() else [*options, out]
        after = "step", moments.uniform(0, 1.5 * whole.steps / kills)
        if number % 4 == 3:
            after = "start", moments.uniform(0, whole.start)
        found.append(run_in_child(argv, folder / "log.txt", after=after))
    end = run_in_child(["--resume", out], folder / "log.txt")
    log = (folder / "log.txt").read_text()
    print(log)
    assert whole.code == end.code == 0 and {each.code for each in found} <= {SIGKILLED, 0}
    assert "Traceback" not in log
    assert_same(final_state(folder / "killed"), final_state(folder / "whole"))
    return found


def test_a_run_killed_at_three_random_moments_ends_with_the_same_weights(
    run_in_child, tiny_walkers, tiny_run, tmp_path
):
    options = [*tiny_run, f"--data.root={tiny_walkers}", "--epochs=12", "--evaluation.every=4"]
    found = kill_at_random(run_in_child, options, tmp_path, 3)
    assert [each.code for each in found].count(SIGKILLED) >= 2, "the kills should meet a living run"
    assert all(each.phase != "start" for each in found)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_with_the_same_weights(
    run_in_child, tiny_walkers, tiny_run, tmp_path
):
    """Most of them in the middle of its work, and all over the run."""
    options = [*tiny_run, f"--data.root={tiny_walkers}", "--epochs=120", "--evaluation.every=2", "--data.workers=2"]
    found = kill_at_random(run_in_child, options, tmp_path, 20)
    for each in found:
        print(each)
    killed = [each for each in found if each.code == SIGKILLED]
    assert len(killed) >= 15, "most kills should meet a living run"
    assert len({each.phase for each in killed}) >= 3 and sum(each.phase != "start" for each in killed) >= 10
    tenths = {each.step // 72 for each in killed if each.phase != "start"}
    assert len(tenths) >= 4, "all over the run"


def test_an_evaluation_too_large_for_the_memory_is_continued_with_a_smaller_batch(
    carry_out, tiny_walkers, tiny_run, tmp_path
):
    """The same limit of the system lets it pass then."""
    run = [*tiny_run, f"--data.root={tiny_walkers}", "--evaluation.every=2", "--evaluation.stride=1"]
    out = f"--out={tmp_path}/run"
    codes, log = carry_out(
        [
            ([*run, "--evaluation.batch=64", f"--out={tmp_path}/whole"], None),
            ([*run, "--evaluation.batch=64", out], "little memory"),
            (["--resume", out, "--evaluation.batch=2"], "little memory"),
        ]
    )
    (sentence,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert codes == [0, 2, 0], log
    assert sentence.startswith("error: out of memory in the evaluation, with batches of 64 clips: "), sentence
    assert "; a smaller --evaluation.batch needs less, also in a continued run. The finished epochs are" in sentence
    resumed, whole = final_state(tmp_path / "run"), final_state(tmp_path / "whole")
    figures, expected = resumed.pop("history"), whole.pop("history")
    assert_same(resumed, whole)
    assert [row["epoch"] for row in figures] == [2, 3]
    for row, other in zip(figures, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize("moment", ["worker in a step", "worker in an evaluation"])
def test_a_worker_killed_by_the_system_ends_the_run_in_one_sentence(
    carry_out, tiny_walkers, tiny_run, tmp_path, moment
):
    """As the kernel does when memory runs out. The finished epochs are kept, and the run goes on as if nothing was."""
    options = [*tiny_run, f"--data.root={tiny_walkers}", "--data.workers=2", "--evaluation.batch=4"]
    out = f"--out={tmp_path}/run"
    codes, log = carry_out([([*options, f"--out={tmp_path}/whole"], None), ([*options, out], moment)])
    assert codes == [0, 2], log
    (sentence,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert sentence.startswith("error: a process that reads frames ended: ") and "Traceback" not in log
    assert "fewer --data.workers need less. The finished epochs are saved; continue with" in sentence
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["epoch"] == 0
    codes, log = carry_out([(["--resume", out], None)])
    assert codes == [0], log
    assert_same(final_state(tmp_path / "run"), final_state(tmp_path / "whole"))


def test_more_epochs_continue_the_same_run(carry_out, tiny_walkers, tiny_run, tmp_path):
    """A run of one epoch, continued to three, equals a run of three but for the evaluation at its first end."""
    options = [*tiny_run, f"--data.root={tiny_walkers}"]
    codes, log = carry_out(
        [
            ([*options, f"--out={tmp_path}/whole"], None),
            ([*options, f"--out={tmp_path}/parts", "--epochs=1"], None),
            ([f"--out={tmp_path}/parts", "--resume", "--epochs=3"], None),
            ([f"--out={tmp_path}/parts", "--resume", "--epochs=3"], None),
            ([f"--out={tmp_path}/parts", "--resume", "--epochs=2"], None),
            ([f"--out={tmp_path}/parts", "--resume", "--epochs=3", "--data.people=4"], None),
            ([f"--out={tmp_path}/none", "--resume"], None),
            (["--resume"], None),
            ([*options, f"--out={tmp_path}/parts"], None),
        ]
    )
    assert codes == [0, 0, 0, 0, 2, 2, 2, 2, 2], log
    assert_same(final_state(tmp_path / "parts"), final_state(tmp_path / "whole"))
    sentences = [line for line in log.splitlines() if line.startswith("error: ")]
    assert sentences == [
        f"error: epochs is 2, but the run in {tmp_path}/parts has 3 epochs behind it already",
        f"error: data.people is 4, but the run in {tmp_path}/parts was started with 2, and a run continues as it began",
        f"error: there is no run to resume in {tmp_path}/none: {tmp_path}/none/config.yaml does not exist",
        "error: --resume needs --out, the folder of the run to continue",
        f"error: {tmp_path}/parts holds a run already: add --resume to continue it, or give another --out",
    ]

"""A run killed with SIGKILL and resumed ends with the same weights, to the bit, as one that was not."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SIGKILLED = -9
MOMENTS = ("middle of epoch", "before epoch end", "after epoch end", "writing last", "writing best")


def carry_out(runs, folder):
    """Exit codes of runs, one after the other; each is (argv, moment to be killed at, seconds to be killed after)."""
    log = folder / "log.txt"
    listed = [{"argv": argv, "kill": kill, "after": after, "log": str(log)} for argv, kill, after in runs]
    (folder / "runs.json").write_text(json.dumps(listed))
    script = Path(__file__).parent / "killing.py"
    done = subprocess.run([sys.executable, script, folder / "runs.json"], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), log.read_text()


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
    workers, more, tiny_walkers, tiny_run, tmp_path
):
    options = [*tiny_run, f"--data.root={tiny_walkers}", f"--data.workers={workers}", *more]
    runs = [([*options, f"--out={tmp_path}/whole"], None, None)]
    for moment in MOMENTS:
        out = f"--out={tmp_path}/{moment.replace(' ', '-')}"
        runs += [([*options, out], moment, None), (["--resume", out], None, None)]
    codes, log = carry_out(runs, tmp_path)
    assert codes == [0] + [SIGKILLED, 0] * len(MOMENTS), log
    whole = final_state(tmp_path / "whole")
    assert whole["epoch"] == 2 and whole["step"] == 18 and len(whole["history"]) == 3
    assert any(name.startswith("average.") for name in whole["weights"]) == bool(more)
    for moment in MOMENTS:
        folder = tmp_path / moment.replace(" ", "-")
        assert_same(final_state(folder), whole, moment)
        assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] in (0, 1, 2)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_with_the_same_weights(tiny_walkers, tiny_run, tmp_path):
    options = [*tiny_run, f"--data.root={tiny_walkers}", "--epochs=120", "--evaluation.every=30", "--data.workers=2"]
    moments = random.Random(5)
    out = f"--out={tmp_path}/killed"
    runs = [([*options, f"--out={tmp_path}/whole"], None, None), ([*options, out], None, 2.0)]
    runs += [(["--resume", out], None, moments.uniform(0.5, 3.0)) for _ in range(19)]
    codes, log = carry_out([*runs, (["--resume", out], None, None)], tmp_path)
    assert codes[0] == codes[-1] == 0, log
    assert codes.count(SIGKILLED) >= 10, "most kills should meet a living run"
    assert_same(final_state(tmp_path / "killed"), final_state(tmp_path / "whole"))


def test_more_epochs_continue_the_same_run(tiny_walkers, tiny_run, tmp_path):
    """A run of one epoch, continued to three, equals a run of three but for the evaluation at its first end."""
    options = [*tiny_run, f"--data.root={tiny_walkers}"]
    codes, log = carry_out(
        [
            ([*options, f"--out={tmp_path}/whole"], None, None),
            ([*options, f"--out={tmp_path}/parts", "--epochs=1"], None, None),
            ([f"--out={tmp_path}/parts", "--resume", "--epochs=3"], None, None),
            ([f"--out={tmp_path}/parts", "--resume", "--epochs=3"], None, None),
            ([f"--out={tmp_path}/parts", "--resume", "--epochs=2"], None, None),
            ([f"--out={tmp_path}/parts", "--resume", "--epochs=3", "--data.people=4"], None, None),
            ([f"--out={tmp_path}/none", "--resume"], None, None),
            (["--resume"], None, None),
            ([*options, f"--out={tmp_path}/parts"], None, None),
        ],
        tmp_path,
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

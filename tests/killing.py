"""Runs training in child processes that are killed at chosen moments; a script, so that importing happens once.

    python killing.py RUNS.json     each run: {"argv": [...], "kill": null | name of a moment, "after": seconds}

The parent imports everything and computes nothing, so its children can be forked. Prints one JSON list of exit codes.
"""

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

from strf_cuda import callbacks, checkpoints, data, engine, evaluation, train
from strf_cuda.cli import run
from strf_cuda.data import loader

BATCHES_AN_EPOCH = 6


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_the_middle_of_epoch_2() -> None:
    step = engine.Training.training_step

    def training_step(self, batch, batch_index):
        if self.global_step == BATCHES_AN_EPOCH + 2:
            die()
        return step(self, batch, batch_index)

    engine.Training.training_step = training_step


def die_before_the_end_of_epoch_2() -> None:
    """After the last step and before evaluation and checkpoint."""
    end = callbacks.EvaluateAndSave.on_train_epoch_end

    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch == 1:
            die()
        end(self, trainer, module)

    callbacks.EvaluateAndSave.on_train_epoch_end = on_train_epoch_end


def die_after_the_end_of_epoch_2() -> None:
    """Right after the checkpoint is in place."""
    end = callbacks.EvaluateAndSave.on_train_epoch_end

    def on_train_epoch_end(self, trainer, module):
        end(self, trainer, module)
        if trainer.current_epoch == 1:
            die()

    callbacks.EvaluateAndSave.on_train_epoch_end = on_train_epoch_end


def die_while_writing(name: str) -> None:
    """With half of the second checkpoint of that name on the disk."""
    save, written = torch.save, []

    def half_of_it(checkpoint, path):
        save(checkpoint, path)
        if Path(path).name.startswith(f".{name}-"):
            written.append(path)
            if len(written) == 2:
                os.truncate(path, os.path.getsize(path) // 2)
                die()

    torch.save = half_of_it


def die_while_writing_best() -> None:
    """Every evaluation counts as the best one so far, or there might be no second best.ckpt."""
    rising = itertools.count()
    callbacks.EvaluateAndSave.best = property(lambda self: next(rising))
    die_while_writing("best")


MOMENTS = {
    "middle of epoch": die_in_the_middle_of_epoch_2,
    "before epoch end": die_before_the_end_of_epoch_2,
    "after epoch end": die_after_the_end_of_epoch_2,
    "writing last": lambda: die_while_writing("last"),
    "writing best": die_while_writing_best,
}


def fork(argv: list[str], kill: str | None, after: float | None, log: str) -> int:
    """Exit code of the run, negative for a signal."""
    child = os.fork()
    if child == 0:
        os.setsid()
        with open(log, "a") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        torch.set_num_threads(1)
        if kill is not None:
            MOMENTS[kill]()
        code = 70
        try:
            code = run(lambda: train.main(argv))
        finally:
            sys.stdout.flush()
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    import lightning.pytorch.loggers  # noqa: F401  (imported by a run when it starts)

    assert callable(checkpoints.read_checkpoint) and callable(evaluation.evaluate) and data and loader
    print(json.dumps([fork(**one) for one in json.loads(Path(sys.argv[1]).read_text())]))

"""Runs training in child processes that are killed at chosen or random moments; a script, so as to import only once.

It reads a line of JSON for each run, {"argv": [...], "kill": name of a moment or null, "after": [from, seconds] or
null, "log": FILE}, where `after` counts from the "start" of the process or from its first "step", and answers with a
line of JSON: {"code": exit code, negative for a signal, "phase": what the run was doing at its end, "step": how far it
was, "start": seconds to its first step, "steps": seconds from there to its end}.

The parent imports everything and computes nothing, so its children can be forked.
"""

import itertools
import json
import mmap
import multiprocessing
import os
import resource
import signal
import struct
import sys
import time
from pathlib import Path

import torch

from strf_cuda import callbacks, checkpoints, data, embedding, engine, evaluation, train
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


def starve_in_epoch_2() -> None:
    """Lets the memory of the process grow by 16 MB only from then on: enough for the steps, which have theirs."""
    step = engine.Training.training_step

    def training_step(self, batch, batch_index):
        if self.global_step == BATCHES_AN_EPOCH + 1:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + 2**24
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        return step(self, batch, batch_index)

    engine.Training.training_step = training_step


def kill_a_worker() -> None:
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)


def kill_worker_in_epoch_2() -> None:
    """In its first step, before its last batch is asked for."""
    step = engine.Training.training_step

    def training_step(self, batch, batch_index):
        if self.global_step == BATCHES_AN_EPOCH:
            kill_a_worker()
        return step(self, batch, batch_index)

    engine.Training.training_step = training_step


def kill_worker_in_evaluation_2() -> None:
    """After its first batch."""
    evaluate_run, normalise, evaluations = callbacks.evaluate_run, embedding.normalise, []

    def evaluate_noted(module, dataset):
        evaluations.append(module.current_epoch)
        return evaluate_run(module, dataset)

    def normalise_and_kill(clips):
        if len(evaluations) == 2:
            kill_a_worker()
            evaluations.append(None)
        return normalise(clips)

    callbacks.evaluate_run, embedding.normalise = evaluate_noted, normalise_and_kill


MOMENTS = {
    "middle of epoch": die_in_the_middle_of_epoch_2,
    "before epoch end": die_before_the_end_of_epoch_2,
    "after epoch end": die_after_the_end_of_epoch_2,
    "writing last": lambda: die_while_writing("last"),
    "writing best": die_while_writing_best,
    "little memory": starve_in_epoch_2,
    "worker in a step": kill_worker_in_epoch_2,
    "worker in an evaluation": kill_worker_in_evaluation_2,
}


PHASES = ("start", "step", "evaluation", "checkpoint")


class Progress:
    """What a child is doing, in memory that it shares with its parent."""

    def __init__(self):
        self._memory = mmap.mmap(-1, 16)

    def read(self) -> tuple[str, int]:
        """The phase, and the number of steps that the run has behind it."""
        phase, step = struct.unpack("qq", self._memory[:])
        return PHASES[phase], step

    def follow(self) -> None:
        """In the child: notes every step, evaluation and checkpoint."""
        phase, step = 0, 0

        def note(new_phase, new_step):
            nonlocal phase, step
            phase, step = new_phase, new_step
            self._memory[:] = struct.pack("qq", phase, step)

        def noted(owner, name, number):
            plain = getattr(owner, name)

            def call(*args, **options):
                before = phase
                note(number, step)
                result = plain(*args, **options)
                note(before, step)
                return result

            setattr(owner, name, call)

        training_step = engine.Training.training_step

        def noted_step(self, batch, batch_index):
            note(1, self.global_step)
            return training_step(self, batch, batch_index)

        engine.Training.training_step = noted_step
        noted(callbacks, "evaluate_run", 2)
        noted(checkpoints.AtomicCheckpointIO, "save_checkpoint", 3)


def fork(argv: list[str], kill: str | None, after: tuple[str, float] | None, log: str) -> dict:
    progress, started, first_step = Progress(), time.monotonic(), None
    child = os.fork()
    if child == 0:
        os.setsid()
        with open(log, "a") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        torch.set_num_threads(1)
        progress.follow()
        if kill is not None:
            MOMENTS[kill]()
        code = 70
        try:
            code = run(lambda: train.main(argv))
        finally:
            sys.stdout.flush()
            os._exit(code)
    status = None
    while status is None:
        now = time.monotonic()
        if first_step is None and progress.read()[0] != "start":
            first_step = now
        since = {"start": started, "step": first_step}[after[0]] if after is not None else None
        if since is not None and now - since >= after[1]:
            os.killpg(child, signal.SIGKILL)
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            status = None
            time.sleep(0.002)
    phase, step = progress.read()
    now = time.monotonic()
    first_step = now if first_step is None else first_step
    return {
        "code": os.waitstatus_to_exitcode(status),
        "phase": phase,
        "step": step,
        "start": first_step - started,
        "steps": now - first_step,
    }


if __name__ == "__main__":
    import lightning.pytorch.loggers  # noqa: F401  (imported by a run when it starts)

    assert callable(evaluation.evaluate) and data and loader
    for line in sys.stdin:
        print(json.dumps(fork(**json.loads(line))), flush=True)

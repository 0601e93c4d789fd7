"""Runs training and evaluation commands as processes of their own, one after the other or side by side.

A run that is finished is left alone, a stopped one continues, a failed one is told and the others go on. Each run's
output goes to a file FOLDER.log beside its folder. Training locks its folder, so that two commands never train in the
same one, even where one of them was killed and its process lives on.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from tqdm import tqdm

from strf_cuda.cli import flat_dict, from_dict
from strf_cuda.config import PRESETS, TrainConfig
from strf_cuda.errors import InputError
from strf_cuda.files import writable_folder
from strf_cuda.meaning import meant
from strf_cuda.values import read_yaml, written

# Options that do not decide a run's figures.
MAY_DIFFER = (
    "out", "resume", "device", "data.root", "data.workers", "data.on_corrupt", "model.recompute", "evaluation.every",
    "evaluation.batch",
)  # fmt: skip
EPOCH_LINE = re.compile(r"epoch (\d+)/\d+: ")  # what strf_cuda.train prints after each epoch, into a file


@dataclass(frozen=True)
class Run:
    """One training run, and evaluations of its model in other ways.

    Attributes:
        folder: of the run.
        config: its complete configuration but for `out` and `resume`.
        evaluations: options of `strf_cuda.evaluate`, by the name of the folder for the results inside `folder`.
    """

    folder: Path
    config: TrainConfig
    evaluations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def places(self) -> list[Path]:
        """The folders in which a metrics.json says that a step is finished: training, then evaluations."""
        return [self.folder, *(self.folder / name for name in self.evaluations)]

    @property
    def finished(self) -> bool:
        return all(finished(place) for place in self.places)


def finished(place: Path) -> bool:
    return (place / "metrics.json").exists()


def metrics(place: Path) -> dict[str, Any]:
    """The content of a finished step's metrics.json."""
    return json.loads((place / "metrics.json").read_text(encoding="utf-8"))


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Options as the command line takes them."""
    return [f"--{name}={written(value)}" for name, value in options.items()]


def training_options(config: TrainConfig) -> dict[str, Any]:
    """The options in which a configuration differs from its preset, and the preset."""
    preset = from_dict(TrainConfig, {**read_yaml(PRESETS[config.preset]), "preset": config.preset}, config.preset)
    usual = flat_dict(preset)
    differing = {name: value for name, value in flat_dict(config).items() if value != usual[name]}
    return {"preset": config.preset, **differing}


def in_shell(module: str, words: Sequence[str]) -> str:
    """A command as it is typed."""
    return shlex.join(["python", "-m", f"strf_cuda.{module}", *words])


def check_runs(runs: Sequence[Run]) -> None:
    """Raises an `InputError` when a folder holds a run of another configuration."""
    for run in runs:
        saved_file = run.folder / "config.yaml"
        if not saved_file.exists():
            continue
        saved = flat_dict(meant(from_dict(TrainConfig, read_yaml(saved_file), str(saved_file))))
        for name, value in flat_dict(meant(run.config)).items():
            if name not in MAY_DIFFER and value != saved[name]:
                raise InputError(
                    f"{run.folder} holds a run with {name} {written(saved[name])}, and now it is {written(value)}: "
                    "give another --out"
                )


def run_all(
    runs: Sequence[Run],
    environments: Sequence[Mapping[str, str]],
    done: Callable[[Run, dict[Path, str]], None] = lambda run, failures: None,
) -> dict[Path, str]:
    """Runs everything that is not finished; `done` is called in this thread after each run, with the failures so far.

    Args:
        runs: in the order in which they begin.
        environments: variables for each of the processes that work at the same time.

    Returns:
        For each step that failed its folder and a sentence.

    Raises:
        KeyboardInterrupt: stopped by Ctrl-C, SIGTERM or SIGHUP, after the processes have saved their state and ended.
    """
    check_runs(runs)
    fleet = _Fleet(runs, environments)
    with _interrupted_by_signals(), ThreadPoolExecutor(len(environments)) as pool:
        futures = {pool.submit(fleet.work, run): run for run in runs}
        try:
            for future in as_completed(futures):
                future.result()
                done(futures[future], fleet.failures)
        except BaseException:
            fleet.stop(futures)
            raise
        finally:
            fleet.bar.close()
    return fleet.failures


class _Fleet:
    """The processes at work, and what is known of them."""

    def __init__(self, runs: Sequence[Run], environments: Sequence[Mapping[str, str]]):
        self.failures: dict[Path, str] = {}
        self._runs = len(runs)
        self._ended = sum(run.finished for run in runs)
        self._environments: SimpleQueue[Mapping[str, str]] = SimpleQueue()
        for environment in environments:
            self._environments.put(environment)
        self._stopping = False
        self._living: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        ready = sum(run.config.epochs for run in runs if finished(run.folder))
        total = sum(run.config.epochs for run in runs)
        self._epochs_left, self._new_epochs = total - ready, 0
        self.bar = tqdm(total=total, initial=ready, desc="all runs", unit="epoch", dynamic_ncols=True, disable=None)

    def work(self, run: Run) -> None:
        """Does what is left of a run, in a thread of its own."""
        if run.finished:
            return
        environment = self._environments.get()
        try:
            if not self._stopping:
                writable_folder(run.folder.parent)
                with Path(f"{run.folder}.log").open("a", encoding="utf-8") as log:
                    self._steps(run, {**os.environ, **environment}, log)
        finally:
            self._environments.put(environment)
        if not self._stopping:
            self._tell(run)

    def _steps(self, run: Run, environment: dict[str, str], log: TextIO) -> None:
        train, *evaluations = run.places
        if not finished(train):
            begun = ["--resume"] if (train / "config.yaml").exists() else []
            words = [*option_words(training_options(run.config)), f"--out={train}", *begun]
            self._step(run, train, "train", words, environment, log)
        if not finished(train):
            return
        for place, options in zip(evaluations, run.evaluations.values(), strict=True):
            if not finished(place) and not self._stopping:
                self._step(run, place, "evaluate", evaluation_words(run, place, options), environment, log)

    def _step(
        self, run: Run, place: Path, module: str, words: list[str], environment: dict[str, str], log: TextIO
    ) -> None:
        log.write(f"$ {in_shell(module, words)}\n")
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", f"strf_cuda.{module}", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
        )
        with self._lock:
            self._living.add(process)
        if self._stopping:
            process.send_signal(signal.SIGINT)
        last, epoch = "", 0
        for line in process.stdout:
            log.write(line)
            log.flush()
            last = line.strip() or last
            if found := EPOCH_LINE.match(line):
                self._advance(int(found[1]) - epoch, new=1)
                epoch = int(found[1])
        code = process.wait()
        with self._lock:
            self._living.discard(process)
        if code and not self._stopping:
            reason = f"ended by signal {-code}" if code < 0 else last.removeprefix("error: ") or f"ended with {code}"
            self.failures[place] = f"{reason} (see {log.name})"
        if module == "train" and not self._stopping:
            self._advance(run.config.epochs - epoch, new=0)  # nothing more is to come of this run

    def _advance(self, epochs: int, new: int) -> None:
        """Moves the bar; of its epochs only `new` took time in this command."""
        with self._lock:
            self.bar.update(epochs)
            self._epochs_left -= epochs
            self._new_epochs += new

    def _tell(self, run: Run) -> None:
        """A line for a run that has ended."""
        failed = [self.failures[place] for place in run.places if place in self.failures]
        if failed:
            text = f"failed: {'; '.join(failed)}"
        else:
            found = metrics(run.folder)
            shown = [f"{figure} {100 * found[figure]:.1f}" for figure in ("mAP", "rank-1") if found[figure] is not None]
            text = ", ".join([*shown, f"{found['seconds']:.0f} s"])
        with self._lock:
            self._ended += 1
            passed = time.monotonic() - self._began
            left = passed / self._new_epochs * self._epochs_left if self._new_epochs else 0
            times = f"{tqdm.format_interval(passed)} passed, {tqdm.format_interval(left)} left"
            tqdm.write(f"{self._ended} of {self._runs} runs ({times}) {'/'.join(run.folder.parts[-2:])}: {text}")
            sys.stdout.flush()

    def stop(self, futures: Mapping[Future, Run]) -> None:
        """Asks the processes to save and end, and waits for them; Ctrl-C once more ends them at once."""
        self._stopping = True
        for future in futures:
            future.cancel()
        try:
            self._signal(signal.SIGINT)
            wait(futures)
        except KeyboardInterrupt:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._lock:
            living = list(self._living)
        for process in living:
            process.send_signal(number)


def evaluation_words(run: Run, place: Path, options: Mapping[str, Any]) -> list[str]:
    """The options of the command that evaluates a run's last state in another way."""
    device = {"device": run.config.device, "precision": run.config.precision}
    return option_words({"checkpoint": run.folder / "last.ckpt", "out": place, **options, **device, "queries": 0})


@contextmanager
def _interrupted_by_signals():
    """SIGTERM and the end of the terminal raise KeyboardInterrupt, in the main thread, where signals can be handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number, frame):
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in signals}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

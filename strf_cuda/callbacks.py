"""What happens around the steps of a run: one progress bar, evaluation every few epochs, checkpoints."""

import math
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn
from tqdm import tqdm

from strf_cuda.data.tracklets import TrackletDataset
from strf_cuda.devices import autocast_type
from strf_cuda.distributed import take_buffers_of_first
from strf_cuda.engine import Training
from strf_cuda.evaluation import Evaluation, evaluate
from strf_cuda.faults import evaluation_needs, faults_told
from strf_cuda.processes import Team
from strf_cuda.stopping import hear


class RunProgress(Callback):
    """The loss, the accuracy and the remaining time: one bar over all steps of the run, or a line for each epoch.

    The lines are for a log: they take the bar's place where stderr is no terminal.
    """

    def __init__(self):
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, module: Training) -> None:
        self._started, self._start_step = time.monotonic(), trainer.global_step
        self._total = trainer.max_epochs * trainer.num_training_batches
        self._bar = tqdm(
            total=self._total,
            initial=trainer.global_step,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            disable=None,
        )

    def on_train_epoch_start(self, trainer: L.Trainer, module: Training) -> None:
        self._bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(self, trainer: L.Trainer, module: Training, outputs: Any, batch: Any, index: int) -> None:
        if index % trainer.log_every_n_steps == 0 and not self._bar.disable:  # reading a figure waits for the device
            self._bar.set_postfix(_figures(trainer), refresh=False)
        self._bar.update()

    def on_train_epoch_end(self, trainer: L.Trainer, module: Training) -> None:
        if self._bar.disable:
            seconds = time.monotonic() - self._started
            left = seconds / (trainer.global_step - self._start_step) * (self._total - trainer.global_step)
            figures = ", ".join(f"{name} {value}" for name, value in _figures(trainer).items())
            _say(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {figures}, "
                f"{tqdm.format_interval(seconds)} passed, {tqdm.format_interval(left)} left"
            )

    def on_train_end(self, trainer: L.Trainer, module: Training) -> None:
        self._bar.close()

    def on_exception(self, trainer: L.Trainer, module: Training, exception: BaseException) -> None:
        if self._bar is not None:
            self._bar.close()


class StopOnCtrlC(Callback):
    """What asks to stop ends the run before the next batch, in training or in evaluation; the second time, at once.

    At once is not always clean: in destructors and around forks, where every loader ends and begins, Python drops the
    exception or leaves half-made objects behind. The loader's processes leave Ctrl-C to this one, which ends them. The
    trainer puts the signals' handlers back. Its own one for SIGTERM would let several processes exchange tensors in
    the middle of whatever they do.

    Attributes:
        pressed: whether one of the signals has come.
    """

    def __init__(self):
        self.pressed = False
        self._hooks = []

    def on_train_start(self, trainer: L.Trainer, module: Training) -> None:
        if threading.current_thread() is threading.main_thread():
            self._process = os.getpid()
            networks = {module.model, module.evaluated}
            self._hooks = [network.register_forward_pre_hook(self._stop) for network in networks]
            hear(self._note)

    def teardown(self, trainer: L.Trainer, module: Training, stage: str) -> None:
        self._remove_hooks()

    def on_exception(self, trainer: L.Trainer, module: Training, exception: BaseException) -> None:
        self._remove_hooks()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def _stop(self, model: nn.Module, inputs: tuple) -> None:
        if self.pressed:
            raise KeyboardInterrupt

    def _remove_hooks(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()


class EvaluateAndSave(Callback):
    """At the end of an epoch: evaluates when it is due, then writes last.ckpt, and best.ckpt when mAP has risen.

    The evaluation comes first, so that a checkpoint knows every figure of its epoch and nothing is lost or done twice
    when the run is killed anywhere in between.

    Args:
        folder: for the checkpoints.
        dataset: its query and gallery are evaluated.
        every: epochs between evaluations; the last epoch is always evaluated.
        team: the processes of the run; all embed, the first one ranks and tells the others the figures.

    Attributes:
        history: a row of figures for each evaluation of the run, None where no query has a match.
        evaluated: whether there was an evaluation in this process.
        latest: the last one, None in all processes but the first.
    """

    def __init__(self, folder: Path, dataset: TrackletDataset, every: int, team: Team):
        self.folder, self.dataset, self.every, self.team = folder, dataset, every, team
        self.history: list[dict[str, float | None]] = []
        self.evaluated = False
        self.latest: Evaluation | None = None

    @property
    def best(self) -> float:
        """The highest mAP so far."""
        return max((row["mAP"] for row in self.history if row["mAP"] is not None), default=-math.inf)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]

    def on_train_epoch_end(self, trainer: L.Trainer, module: Training) -> None:
        epoch = trainer.current_epoch + 1
        improved = False
        if epoch % self.every == 0 or epoch == trainer.max_epochs:
            before = self.best
            self._evaluate(trainer, module, epoch)
            improved = self.best > before
        # best.ckpt first: a run killed between the two repeats the epoch and writes both again.
        if improved:
            trainer.save_checkpoint(self.folder / "best.ckpt")
        trainer.save_checkpoint(self.folder / "last.ckpt")

    def _evaluate(self, trainer: L.Trainer, module: Training, epoch: int) -> None:
        self.latest, self.evaluated = evaluate_run(module, self.dataset), True
        figures = self.team.first_decides(lambda: _overall(self.latest))
        self.history = [*self.history, {"epoch": epoch, **figures}]
        if not self.team.is_first:
            return
        if figures["mAP"] is None:
            _say(f"epoch {epoch}: no query has a match, so there is no mAP")
            return
        trainer.logger.log_metrics(
            {f"evaluation/{name}": value for name, value in figures.items()}, trainer.global_step
        )
        _say(f"epoch {epoch}: mAP {100 * figures['mAP']:.1f}, rank-1 {100 * figures['rank-1']:.1f}")


def evaluate_run(module: Training, dataset: TrackletDataset) -> Evaluation | None:
    """Evaluates a run's model as it stands, by the run's own protocol; None in all processes but the first."""
    config = module.config
    take_buffers_of_first(module)
    module.evaluated.eval()
    with faults_told(*evaluation_needs(config.evaluation, during_training=True)):
        evaluation = evaluate(
            module.evaluated,
            dataset,
            config.data,
            config.evaluation,
            autocast=autocast_type(config.precision, config.device),
        )
    module.evaluated.train()
    return evaluation


def _overall(evaluation: Evaluation) -> dict[str, float | None]:
    overall = evaluation.overall
    figures = {"mAP": overall.mAP, "rank-1": overall.rank(1), "rank-5": overall.rank(5)}
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _figures(trainer: L.Trainer) -> dict[str, str]:
    figures = trainer.callback_metrics
    return {"loss": f"{figures['train/loss']:.3f}", "accuracy": f"{figures['train/accuracy']:.2f}"}


def _say(line: str) -> None:
    """Prints above the bar, at once, so that a log file can be followed."""
    tqdm.write(line)
    sys.stdout.flush()

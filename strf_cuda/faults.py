"""What can go wrong in the middle of a run: noticed before it spoils a checkpoint, and told in one sentence.

The sentences are for faults of the machine, the data and the numbers. A mistake in the program keeps its traceback.
"""

import errno
import itertools
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from strf_cuda.config import ProtocolConfig, TrainConfig
from strf_cuda.engine import Training
from strf_cuda.errors import InputError

# How PyTorch's allocator on the CPU, oneDNN, the C++ library, cuBLAS and this package's own operator say it, all with
# the class RuntimeError.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "could not create a primitive",
    "could not create a memory",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "out of memory",
)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Diverged(InputError):
    """The loss or the weights of a run are not finite numbers."""


class WorkerDied(InputError):
    """A process that reads frames has ended."""


@contextmanager
def faults_told(doing: str, remedy: str, workers: str = "--data.workers") -> Iterator[None]:
    """Raises an `InputError` for memory that does not suffice and for a loader's process that ended.

    Args:
        doing: what needed the memory, "the evaluation" for example.
        remedy: what needs less.
        workers: the command's option for the number of processes that read frames.
    """
    try:
        yield
    except Exception as error:
        fault = machine_fault(error, doing, remedy, workers)
        if fault is None:
            raise
        if isinstance(fault, WorkerDied):
            hear_no_more_of_workers()
        raise fault from None  # the traceback would hold the tensors


def hear_no_more_of_workers() -> None:
    """For a command that ends because a worker has died, and has yet to say so.

    DataLoader has a handler raise an error in the main thread, wherever it is, when a worker was killed by a signal.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def evaluation_needs(
    protocol: ProtocolConfig, *, during_training: bool, work: str = "evaluation"
) -> tuple[str, str, str]:
    """What `faults_told` is to say of an evaluation, or of other work that embeds tracklets as one does."""
    prefix, resumable = ("evaluation.", ", also in a continued run") if during_training else ("", "")
    workers = "--data.workers" if during_training else "--workers"
    if protocol.frames == "all":
        cut = f"into clips of fewer frames, --{prefix}frames=32 for example, or a larger --{prefix}stride"
        return f"the {work}, with clips of whole tracklets", f"tracklets cut {cut}, need less", workers
    doing = f"the {work}, with batches of {protocol.batch} clips"
    return doing, f"a smaller --{prefix}batch needs less{resumable}", workers


def machine_fault(error: BaseException, doing: str, remedy: str, workers: str = "--data.workers") -> InputError | None:
    """The `InputError` for a fault of the machine, or None where `error` is something else; see `faults_told`."""
    reason = _first_line(error)
    died = isinstance(error, RuntimeError) and reason.startswith("DataLoader worker")
    if died or isinstance(error, (ConnectionError, EOFError)):  # the latter while a batch is taken from it
        return WorkerDied(
            f"a process that reads frames ended: {reason.rstrip('.') or 'it closed its connection'}. Where memory or "
            f"shared memory ran out, fewer {workers} need less"
        )
    if not _is_out_of_memory(error):
        return None
    if reason.startswith("Caught "):  # a loader's process has passed it on with its traceback
        return InputError(f"out of memory in a process that reads frames: fewer {workers} need less")
    reason = ". ".join(reason.rpartition("DefaultCPUAllocator: ")[2].split(". ")[:3]) or type(error).__name__
    return InputError(f"out of memory in {doing}: {reason}; {remedy}")


def training_fault(error: BaseException, trainer: L.Trainer, config: TrainConfig) -> InputError | None:
    """`machine_fault` in a step of training."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, OSError) and error.errno in _NO_SPACE:  # of TensorBoard: others raise InputErrors
        return InputError(f"cannot write the curves in {trainer.logger.log_dir}: {error.strerror}")
    data = config.data
    doing = (
        f"step {trainer.global_step + 1} of the run, in epoch {trainer.current_epoch + 1}, with batches of "
        f"{data.people} people x {data.clips} clips of {data.frames} frames of {data.height}x{data.width} pixels"
    )
    remedy = "fewer --data.people need less"
    if trainer.precision == "32-true":
        remedy = f"--precision=bf16-mixed and {remedy}"
    remedy += ", in a new run"
    if not config.model.recompute:
        remedy = f"--model.recompute needs less and gives the same weights, also in a continued run; {remedy}"
    return machine_fault(error, doing, remedy)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        return any(words in str(error) for words in _OUT_OF_MEMORY)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")


class _Loss(NamedTuple):
    """The loss of a step on its way to the CPU; `arrived` is None where it is there already."""

    step: int
    batch: int
    value: Tensor
    arrived: torch.cuda.Event | None


class StopAtNaN(Callback):
    """Ends a run whose loss or weights are NaN or infinite, before a checkpoint is written of them.

    On a GPU no step waits for the loss of another: it is copied in the background and read once it has arrived, a few
    steps later, but in any case before the epoch's checkpoint. Infinite gradients are no fault as such: with 16-mixed
    precision the scaler leaves out their steps.
    """

    def __init__(self):
        self._losses: deque[_Loss] = deque()

    def on_train_batch_end(self, trainer: L.Trainer, module: Training, outputs: Any, batch: Any, index: int) -> None:
        self._losses.append(_Loss(trainer.global_step, index, *_to_cpu(outputs["loss"])))
        while self._losses and (self._losses[0].arrived is None or self._losses[0].arrived.query()):
            self._check(self._losses.popleft(), trainer, module)

    def on_train_epoch_end(self, trainer: L.Trainer, module: Training) -> None:
        while self._losses:
            if self._losses[0].arrived is not None:
                self._losses[0].arrived.synchronize()
            self._check(self._losses.popleft(), trainer, module)
        spoiled = not_finite(module.state_dict())
        if spoiled:
            more = f" and {len(spoiled) - 1} more" if len(spoiled) > 1 else ""
            raise Diverged(
                f"weights are not finite numbers at the end of epoch {trainer.current_epoch + 1}: {spoiled[0]}{more}; "
                f"{_way_out(trainer)}"
            )

    def _check(self, loss: _Loss, trainer: L.Trainer, module: Training) -> None:
        if torch.isfinite(loss.value):
            return
        raise Diverged(
            f"the loss is {loss.value.item()} in step {loss.step} of the run, batch {loss.batch + 1} of epoch "
            f"{trainer.current_epoch + 1}, with {describe_batch(module, loss.batch)}; {_way_out(trainer)}"
        )


def _to_cpu(loss: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    if loss.device.type != "cuda":
        return loss, None
    value = loss.to("cpu", non_blocking=True)  # into pinned memory
    arrived = torch.cuda.Event()
    arrived.record()
    return value, arrived


def _way_out(trainer: L.Trainer) -> str:
    finished = trainer.current_epoch
    left = f"last.ckpt holds the state after epoch {finished}" if finished else "no checkpoint has been written yet"
    return (
        f"{left}. A continued run would come to the same place: start another with a lower --optimizer.learning_rate, "
        "or with --precision=32 if it had less"
    )


def not_finite(state: dict[str, Tensor]) -> list[str]:
    """The names of the tensors that hold NaN or infinity; reads a device once where there are none."""
    tensors = {name: value for name, value in state.items() if value.is_floating_point() and value.numel()}
    largest = torch.nn.utils.get_total_norm(tensors.values(), norm_type=float("inf"))
    if torch.isfinite(largest):
        return []
    return [name for name, value in tensors.items() if not torch.isfinite(value).all()]


def describe_batch(module: Training, number: int) -> str:
    """The tracklets of a batch of the current epoch, counted from 0: persons, cameras and first frames.

    The batch is drawn again, since it is a function of (seed, epoch): so no step has to keep it.
    """
    requests = next(itertools.islice(module.epoch_loader().batch_sampler, number, None))
    tracklets = [module.tracklets[index] for index in dict.fromkeys(request.tracklet for request in requests)]
    firsts = [tracklet.paths[0] for tracklet in tracklets]
    root = os.path.commonpath([os.path.dirname(path) for path in firsts])
    people: dict[int, list[str]] = {}
    for tracklet, first in zip(tracklets, firsts, strict=True):
        seen = f"camera {tracklet.camera_id} {os.path.relpath(first, root)}"
        people.setdefault(tracklet.person_id, []).append(seen)
    listed = "; ".join(f"person {person}: {', '.join(seen)}" for person, seen in people.items())
    return f"the tracklets that begin in {root or 'the data set'} with ({listed})"

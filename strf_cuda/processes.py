"""Several processes that train or evaluate together: how they start, join, and end together.

Either torchrun starts them, on any number of machines, or `start` here does. Each runs the whole command and joins the
others in `joined`, by the environment variables that torchrun sets. Whatever ends one of them ends all: the first to
fail says why, the others end in silence, and the launcher ends those that do not notice.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from strf_cuda.cli import report, to_dict
from strf_cuda.errors import InputError
from strf_cuda.values import yaml_text

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store

_LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_FOREVER = timedelta(days=30)  # for what one process does while the others wait: who died is the launcher's business
_SECONDS_TO_END = 10.0  # for a process that was asked to, before it is killed


@dataclass
class Team:
    """The processes of a run, and which of them this one is.

    Attributes:
        process, processes: this one's number and how many there are.
        local_process, local_processes: the same on this machine.
        machine, machines: the same for machines.
        advice: how to go on after the run was ended from outside, for whoever has to say it.
    """

    process: int = 0
    processes: int = 1
    local_process: int = 0
    local_processes: int = 1
    advice: str = ""
    _store: "Store | None" = None
    _decisions: int = field(default=0, repr=False)

    @property
    def is_first(self) -> bool:
        return self.process == 0

    @property
    def machine(self) -> int:
        return self.process // self.local_processes

    @property
    def machines(self) -> int:
        return self.processes // self.local_processes

    def connect(self, device: "torch.device") -> None:
        """Makes the processes the default group of torch.distributed, and their GPU the current one of each."""
        if self.processes == 1:
            return
        import torch
        import torch.distributed as dist

        gpu = None
        if device.type == "cuda":
            gpu = torch.device("cuda", self.local_process)
            torch.cuda.set_device(gpu)
        dist.init_process_group(
            "gloo" if gpu is None else "nccl",
            store=dist.PrefixStore("group", self._store),
            rank=self.process,
            world_size=self.processes,
            device_id=gpu,
        )

    def first_decides(self, decide: Callable[[], Any]) -> Any:
        """What `decide` returns in the first process, as JSON has it; the others wait for it, however long it takes."""
        if self.processes == 1:
            return decide()
        self._decisions += 1
        name = f"decision {self._decisions}"
        if self.is_first:
            self._store.set(name, json.dumps(decide()))
        self._store.wait([name], _FOREVER)
        return json.loads(self._store.get(name))

    @contextmanager
    def one_on_each_machine_first(self) -> Iterator[None]:
        """Lets the others of a machine begin when one of them is through: what it draws or caches is then there."""
        if self.processes == 1:
            yield
            return
        self._decisions += 1
        name = f"machine {self.machine} decision {self._decisions}"
        if self.local_process:
            self._store.wait([name], _FOREVER)
        yield
        if not self.local_process:
            self._store.set(name, "done")

    def _may_speak(self) -> bool:
        """Whether this process is the first that has to say why all end."""
        try:
            return self._store.add("told", 1) == 1
        except Exception:  # the launcher that held the store, of the first machine, is gone
            return self.local_process == 0

    def _wait_for_another_to_speak(self) -> None:
        """Until somebody did, the launcher asks this process to end, or neither comes."""
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
        end = time.monotonic() + _SECONDS_TO_END / 2
        while not asked and time.monotonic() < end:
            try:
                if self._store.add("told", 0):
                    return
            except Exception:
                return
            time.sleep(0.05)


def launched() -> bool:
    """Whether torchrun or `start` has started this process."""
    return all(name in os.environ for name in _LAUNCHED)


@contextmanager
def joined() -> Iterator[Team]:
    """Joins the processes that were started together, if this one was, and leaves them.

    An error ends the process here, with the status that `strf_cuda.cli.report` gives it, without waiting for others;
    unless another process has told its own, it is printed.
    """
    if not launched():
        yield Team()
        return
    process, processes, local_process, local_processes = (int(os.environ[name]) for name in _LAUNCHED[:4])
    team = Team(process, processes, local_process, local_processes)
    if processes == 1:
        yield team
        return
    _end_with_parent()
    try:
        import torch.distributed as dist

        if processes % local_processes or process // local_processes * local_processes + local_process != process:
            raise InputError(
                f"{local_processes} of {processes} processes run on this machine, but all machines need the same number"
            )
        team._store = dist.PrefixStore("strf_cuda", next(dist.rendezvous("env://"))[0])
        team._store.add("joined", 1)
        yield team
        if dist.is_initialized():
            dist.destroy_process_group()
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:  # --help and --print_config
            raise
        _end(team, error)


def _end(team: Team, error: BaseException) -> None:
    if is_lost_connection(error):
        team._wait_for_another_to_speak()
        reason = str(error).split("This is typically")[0].strip().splitlines()[0]
        error = InputError(f"another process of the run is gone ({reason}){_sentence(team.advice)}")
    if team._store is None or team._may_speak():
        status = report(error)
    else:
        with open(os.devnull, "w") as nowhere:
            sys.stderr = nowhere
            status = report(error)
    sys.stdout.flush()
    sys.__stderr__.flush()
    os._exit(status)  # communicators and workers would be waited for, and those of the others may never answer


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error says that another process could not be reached any more."""
    if not isinstance(error, RuntimeError):
        return False
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error)


def check_devices(devices: int, device: "torch.device") -> None:
    """Raises an `InputError` where there are fewer GPUs on this machine than processes."""
    import torch

    if device.type == "cuda" and torch.cuda.device_count() < devices:
        raise InputError(
            f"{devices} processes on this machine need a GPU each, but torch finds {torch.cuda.device_count()}: give "
            "--devices, or --nproc_per_node of torchrun, no more than that"
        )


def start(module: str, config: Any, devices: int, nodes: int = 1, advice: Callable[[], str] = str) -> None:
    """Runs `python -m MODULE` with a configuration in `devices` processes on this machine, until all have ended.

    With several machines the same is done on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment.
    Ctrl-C and SIGTERM are passed on to all. A process that fails ends the others.

    Args:
        advice: says how to go on when a process was killed, if it can be.

    Raises:
        InputError: no place to meet is given for several machines, or a process was killed.
        SystemExit: with the status of the process that failed and said why.
    """
    import torch.distributed as dist

    node, address, port = _meeting_place(nodes)
    try:
        store = dist.TCPStore(address, port, is_master=node == 0, wait_for_workers=False)
    except (RuntimeError, OSError) as error:
        raise InputError(f"cannot meet at {address}:{port}: {str(error).splitlines()[0]}") from None
    told = dist.PrefixStore("strf_cuda", store)
    common = {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # as torchrun says that rank 0 need not open the store
        "WORLD_SIZE": str(devices * nodes),
        "LOCAL_WORLD_SIZE": str(devices),
        "GROUP_RANK": str(node),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, _cores() // devices)),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="strf_cuda-") as file:
        file.write(yaml_text(to_dict(config)))
        file.flush()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", module, "--config", file.name],
                env={**os.environ, **common, "LOCAL_RANK": str(local), "RANK": str(node * devices + local)},
                stdin=subprocess.DEVNULL,
                process_group=0,  # a terminal's Ctrl-C comes to this process alone, which passes it on
            )
            for local in range(devices)
        ]
        try:
            _wait(processes, told, node * devices, advice)
        finally:
            _end_all(processes)


def _wait(processes: Sequence[subprocess.Popen], told: "Store", first: int, advice: Callable[[], str]) -> None:
    """Until all have ended well, or one has not."""
    asked = []

    def pass_on(number: int, frame: Any) -> None:
        asked.append(number)
        # Who still imports cannot end well, and says nothing yet: SIGTERM ends it at once.
        _send(processes, number if told.add("joined", 0) >= first + len(processes) else signal.SIGTERM)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while any(status is None for status in [process.poll() for process in processes]):
            if any(process.returncode for process in processes):
                break
            time.sleep(0.05)
        failed = [number for number, process in enumerate(processes) if process.returncode]
        if not failed:
            return
        # A killed process comes first, since others may have ended because of it.
        number = min(failed, key=lambda number: processes[number].returncode)
        status = processes[number].returncode
        if asked:
            _end_all(processes)
            if told.add("told", 1) == 1:
                raise KeyboardInterrupt
            raise SystemExit(130)
        if status > 0:
            raise SystemExit(status)
        speaks = told.add("told", 1) == 1  # before the others are asked to end, and say that they were
        _end_all(processes)
        if not speaks:
            raise SystemExit(2)
        raise InputError(
            f"process {first + number} of the run was killed by {signal.Signals(-status).name}{_sentence(advice())}"
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sentence(advice: str) -> str:
    return f"; {advice}" if advice else ""


def _send(processes: Sequence[subprocess.Popen], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _end_all(processes: Sequence[subprocess.Popen]) -> None:
    _send(processes, signal.SIGTERM)
    end = time.monotonic() + _SECONDS_TO_END
    for process in processes:
        try:
            process.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _meeting_place(nodes: int) -> tuple[int, str, int]:
    """This machine's number, and address and port of the first one; a free port where there is one machine only."""
    if nodes == 1:
        return 0, "127.0.0.1", 0
    try:
        return int(os.environ["NODE_RANK"]), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    except (KeyError, ValueError):
        raise InputError(
            f"nodes is {nodes}, so start the command on each of them with torchrun, or with MASTER_ADDR and "
            f"MASTER_PORT of the first and NODE_RANK from 0 to {nodes - 1} in the environment"
        ) from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent() -> None:
    """On Linux, lets the system end this process when its launcher is killed, which cannot do so any more."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)

"""Signals that ask a command to stop, in whatever state the process has inherited them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from strf_cuda.cli import run
from strf_cuda.stopping import interruptible

STOP = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(params=["default", "ignored", "blocked"])
def inherited(request):
    """The state in which a process begins; yields what the handlers are in it."""
    before = {number: signal.getsignal(number) for number in STOP}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    for number in STOP:
        ignored = request.param == "ignored" and number != signal.SIGHUP
        signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
    if request.param == "blocked":
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    yield {number: signal.getsignal(number) for number in STOP}
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP)
def test_a_command_that_is_asked_to_stop_ends_well_however_it_was_started(inherited, number, capsys):
    ended = []

    def main():
        try:
            os.kill(os.getpid(), number)
            pytest.fail("it went on")
        finally:
            ended.append("well")

    assert run(main) == 130 and ended == ["well"] and capsys.readouterr().err == "interrupted\n"
    assert {each: signal.getsignal(each) for each in STOP} == inherited


def test_the_end_of_the_terminal_goes_by_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 7), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_forked_process_leaves_ctrl_c_to_the_first_one_and_ends_when_it_is_terminated(number, status):
    with interruptible():
        child = os.fork()
        if not child:
            try:
                signal.raise_signal(number)
            finally:
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status


def test_in_another_thread_nothing_changes():
    found, before = [], signal.getsignal(signal.SIGTERM)

    def work():
        with interruptible():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs the /proc of Linux")
def test_the_processes_of_a_command_end_when_it_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(
        "import os, signal\n"
        "from strf_cuda.data.parallel import map_in_processes\n"
        "if __name__ == '__main__':\n"
        "    for worker in map_in_processes(os.getpgid, [0] * 99, workers=2, things_a_task=1):\n"
        "        children = open(f'/proc/self/task/{os.getpid()}/children').read()\n"
        "        print(children, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with (tmp_path / "processes").open("w") as out:
        done = subprocess.run([sys.executable, str(tmp_path / "script.py")], stdout=out)
    processes = (tmp_path / "processes").read_text().split()
    assert done.returncode == -signal.SIGKILL and len(processes) >= 2
    deadline = time.monotonic() + 20
    while any(lives(process) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

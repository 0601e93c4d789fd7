"""Runs jobs in one or several processes that are forked and joined; a script, so that importing happens once.

    python together.py JOBS.json OUT

Each job is {"processes": P, "do": name of a function below, "arguments": {...}}. Its processes get the environment that
torchrun sets, and write to OUT/JOB-PROCESS.log. Prints a JSON list of the lists of their exit codes.

The parent imports everything and computes nothing, so its children can be forked.
"""

import contextlib
import functools
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import lightning as L
import lightning.pytorch.loggers
import torch
from lightning.pytorch.strategies import DDPStrategy

from strf_cuda import callbacks, checkpoints, data, engine, evaluate, evaluation, extract, train
from strf_cuda.cli import from_dict, run
from strf_cuda.config import DataConfig, ProtocolConfig, TrainConfig
from strf_cuda.errors import InputError
from strf_cuda.extraction import extracting, parts
from strf_cuda.processes import joined

assert all((callbacks, checkpoints, lightning.pytorch.loggers, DDPStrategy))  # imported by a run when it starts
SECONDS = 120  # for a job, which takes a few


class Gradients(L.Callback):
    """Notes what the optimiser sees in the first step."""

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.seen = {
            "loss": trainer.callback_metrics["train/loss"],
            "gradients": {name: p.grad.clone() for name, p in module.model.named_parameters()},
            "buffers": {name: b.clone() for name, b in module.model.named_buffers() if "running" in name},
        }


def gradients(root, cases, out):
    """One step of training in each case; the first process writes loss, gradients and running statistics.

    A case is a configuration and "double", "shares": sizes of the pieces that one process sends through the network
    one after the other.
    """
    seen = {}
    with joined() as team:
        team.connect(torch.device("cpu"))
        tracklets = data.MARS(root).train
        for name, case in cases.items():
            module = engine.Training(from_dict(TrainConfig, case["config"], name), tracklets)
            torch.nn.init.normal_(module.model.classifier.weight)  # or all clips would have nearly the same logits
            if case["double"]:
                module.double()
                module.model.register_forward_pre_hook(lambda model, inputs: (inputs[0].double(),))
            if case["shares"]:
                forward = module.model.forward
                module.model.forward = lambda clips, forward=forward, sizes=case["shares"]: tuple(
                    torch.cat(parts) for parts in zip(*map(forward, clips.split(sizes)), strict=True)
                )
            watch = Gradients()
            trainer = L.Trainer(
                accelerator="cpu",
                devices=team.processes,
                strategy=train._strategy(team),
                max_steps=1,
                callbacks=[watch],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            trainer.fit(module)
            seen[name] = watch.seen
        if team.is_first:
            torch.save(seen, out)


def distances(root, protocols, out):
    """Distances between queries and gallery of a network with random weights, by each protocol."""
    found = {}
    with joined() as team:
        team.connect(torch.device("cpu"))
        torch.manual_seed(0)
        model = checkpoints.model_from_config(train.TrainConfig().model.__class__(width=16, depth=(1, 1, 1, 1)), 4)
        for name, protocol in protocols.items():
            seen = evaluation.evaluate(
                model.eval(),
                data.MARS(root),
                DataConfig(height=32, width=16, workers=0),
                from_dict(ProtocolConfig, protocol, name),
                progress=False,
            )
            assert (seen is None) == (team.process > 0)
            if team.is_first:
                found[name] = (torch.from_numpy(seen.distances), seen.overall.mAP)
        if team.is_first:
            torch.save(found, out)


def command(argv, losses=None, process=None, step=None, fault=None):
    """The training command; writes the loss of every step, and has a fault in a step of one process."""
    plain, written = engine.Training.training_step, []

    def training_step(self, batch, batch_index):
        if self.global_step == step and int(os.environ.get("RANK", 0)) == process:
            FAULTS[fault]()
        loss = plain(self, batch, batch_index)
        written.append(loss.item() / int(os.environ.get("WORLD_SIZE", 1)))
        if losses is not None:
            Path(losses).write_text(json.dumps(written))
        return loss

    engine.Training.training_step = training_step
    return run(lambda: train.main(argv))


def evaluation_command(argv):
    return run(lambda: evaluate.main(argv))


def extraction_command(argv, part_frames, kill_at=None):
    """The command that extracts, in parts of so many frames; killed with half of a part's file written."""
    write = parts.write_embeddings

    def write_or_die(path, embeddings):
        if kill_at is not None and path.stem == f"{kill_at:06d}":
            write(path.with_name(f".{path.stem}-killed.safetensors"), embeddings)
            os.truncate(path.with_name(f".{path.stem}-killed.safetensors"), 400)
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, embeddings)

    parts.write_embeddings = write_or_die
    extracting.extract = functools.partial(extracting.extract, part_frames=part_frames)
    return run(lambda: extract.main(argv))


def raise_input_error():
    raise InputError("frame 7 is damaged")


FAULTS = {
    "input": raise_input_error,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "ctrl-c": lambda: os.kill(os.getpid(), signal.SIGINT),
    "bug": lambda: 1 / 0,
}
JOBS = {
    job.__name__: job for job in (gradients, distances, command, evaluation_command, extraction_command)
}  # fmt: skip


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def fork(processes, process, port, log, do, arguments):
    """Starts one process of a job."""
    child = os.fork()
    if child:
        return child
    with open(log, "a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    torch.set_num_threads(1)
    if processes > 1:
        numbers = {"RANK": process, "LOCAL_RANK": process, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        numbers |= {"GROUP_RANK": 0, "MASTER_PORT": port}
        os.environ.update({name: str(number) for name, number in numbers.items()}, MASTER_ADDR="127.0.0.1")
    if losses := arguments.get("losses"):
        arguments = {**arguments, "losses": losses if process == 0 else None}
    code = 70
    try:
        code = JOBS[do](**arguments) or 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(children):
    """Exit codes, negative for a signal; who has not ended in time is killed."""
    codes, end = {}, time.monotonic() + SECONDS
    while len(codes) < len(children):
        for child in children:
            if child not in codes:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    codes[child] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > end:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    return [codes[child] for child in children]


if __name__ == "__main__":
    exits = []
    for number, job in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        port, count = free_port(), job["processes"]
        logs = [f"{sys.argv[2]}/{number}-{process}.log" for process in range(count)]
        children = [fork(count, process, port, log, job["do"], job["arguments"]) for process, log in enumerate(logs)]
        exits.append(wait(children))
    print(json.dumps(exits))

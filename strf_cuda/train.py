"""`python -m strf_cuda.train`: trains a model, evaluates it, and leaves a folder with everything about the run.

config.yaml       the configuration, complete
last.ckpt         written after every epoch; best.ckpt: the one with the highest mAP
metrics.json      the final figures, and those of every evaluation
tensorboard/      curves
"""

import itertools
import json
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from strf_cuda.cli import from_dict, load_config, run, to_dict
from strf_cuda.config import PRESETS, TrainConfig, check_training
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.meaning import meant
from strf_cuda.processes import Team, check_devices, is_lost_connection, joined, launched, start
from strf_cuda.quiet import lasting_output, show_warnings_in_one_line
from strf_cuda.values import read_yaml, yaml_text

PROG = "python -m strf_cuda.train"
# What a continued run may change: nothing that decides the weights after a given number of epochs.
CHANGEABLE = (
    "out", "resume", "epochs", "device", "devices", "nodes", "data.name", "data.root", "data.workers",
    "data.on_corrupt", "model.recompute", "evaluation.every", "evaluation.batch",
)  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    with lasting_output(), joined() as team:
        words = sys.argv[1:] if argv is None else argv
        config = read_options(words)
        if config.resume:
            config = _continued(config.out, words)
        if launched():
            config.devices, config.nodes = team.local_processes, team.machines

        show_warnings_in_one_line()
        train(config, team)


def read_options(words: Sequence[str]) -> TrainConfig:
    """The configuration that a command line gives, checked unless a run to continue or torchrun changes it yet."""
    config = load_config(TrainConfig, words, prog=PROG, presets=PRESETS)
    if not config.resume and not launched():
        check_training(config)
    return config


def train(config: TrainConfig, team: Team | None = None) -> dict[str, Any] | None:
    """Runs the whole training, or what is left of it with `config.resume`; returns the content of metrics.json.

    Args:
        team: the processes that this one has joined, for `config.devices` and `config.nodes`. Without it, as many as
            these say are started, and this one waits for them.

    Returns:
        The content of metrics.json, or None in all processes of a team but the first.

    Raises:
        InputError: options or data that cannot be used, or a process that was killed.
        KeyboardInterrupt: the run was stopped by Ctrl-C or SIGTERM.
        SystemExit: one of the processes that were started has failed, and has said why.
    """
    started = time.monotonic()
    check_training(config)
    team = team or Team()
    if config.devices * config.nodes > team.processes:
        return _train_in_processes(config)
    folder = Path(team.first_decides(lambda: str(_run_folder(config))))
    say = _print_at_once if team.is_first else _print_nothing
    _name_places_from_anywhere(config)

    # After the checks, since these take seconds to import.
    import lightning as L
    from lightning.pytorch.loggers import TensorBoardLogger

    from strf_cuda.callbacks import EvaluateAndSave, RunProgress, StopOnCtrlC, evaluate_run
    from strf_cuda.checkpoints import AtomicCheckpointIO
    from strf_cuda.data import open_dataset
    from strf_cuda.devices import keep_freed_memory, resolve_device, resolve_precision
    from strf_cuda.engine import Training
    from strf_cuda.evaluation import check_testable
    from strf_cuda.faults import StopAtNaN
    from strf_cuda.files import claimed, remove_unfinished, replacing, write_json
    from strf_cuda.quiet import quiet_lightning

    quiet_lightning()
    device, precision = resolve_device(config.device), resolve_precision(config.precision, config.device)
    check_devices(config.devices, device)
    team.connect(device)
    keep_freed_memory(device)
    with team.one_on_each_machine_first():
        dataset = open_dataset(config.data.name, config.data.root, config.data.split)
    check_testable(dataset)
    module = Training(config, dataset.train, new=not (config.resume and (folder / "last.ckpt").exists()))
    module.train_dataloader()  # a batch that the data set cannot fill is told before there is a run folder
    with claimed(folder) if team.is_first else nullcontext():
        checkpoint = _last_checkpoint(folder, module, say)
        parameters = sum(p.numel() for p in module.model.parameters())
        # Without `resume`, so that the file also serves as --config of another run.
        text = yaml_text({**to_dict(config), "resume": False})
        say(text, end="")
        for note in [*dataset.notes, *module.notes]:
            say(f"note: {note}")
        say(
            f"{dataset.name}: {len(dataset.train):,} training tracklets of {len(module.person_ids):,} people, "
            f"{len(dataset.query):,} queries, {len(dataset.gallery):,} gallery tracklets\n"
            f"{config.model.kind}, unit {config.model.unit}: {parameters:,} parameters\nrun folder: {folder}"
        )
        if team.is_first:
            for name in ("last.ckpt", "best.ckpt"):
                remove_unfinished(folder / name)
            with replacing(folder / "config.yaml") as temporary:
                temporary.write_text(text, encoding="utf-8")

        stop, save = StopOnCtrlC(), EvaluateAndSave(folder, dataset, config.evaluation.every, team)
        trainer = L.Trainer(
            accelerator=device.type,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy=_strategy(team),
            precision=precision,
            max_epochs=config.epochs,
            logger=TensorBoardLogger(folder, name="", version="tensorboard"),
            callbacks=[stop, *([RunProgress()] if team.is_first else []), StopAtNaN(), save],
            default_root_dir=folder,
            plugins=[AtomicCheckpointIO(), *_environment(team)],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
            log_every_n_steps=10,
            use_distributed_sampler=False,
        )
        _fit(trainer, module, checkpoint, folder, team, stop)

        # A run that had ended already trains nothing.
        evaluation = save.latest if save.evaluated else evaluate_run(module.to(device), dataset)
        if not team.is_first:
            return None
        seconds = time.monotonic() - started
        metrics = {
            **evaluation.to_dict(),
            "parameters": parameters,
            "epochs": config.epochs,
            "seconds": round(seconds, 1),
            "history": save.history,
        }
        write_json(folder / "metrics.json", metrics)
        say(f"\n{evaluation.table()}\n\n{seconds:.0f} seconds; checkpoints and metrics.json are in {folder}")
        return metrics


def _name_places_from_anywhere(config: TrainConfig) -> None:
    """Makes paths absolute, since the saved configuration is also read in another folder."""
    if config.data.root is not None:
        config.data.root = str(expanded(config.data.root).resolve())
    if config.model.weights is not None and (weights := expanded(config.model.weights)).exists():
        config.model.weights = str(weights.resolve())


def _train_in_processes(config: TrainConfig) -> dict[str, Any]:
    """Starts the processes of a run on this machine and waits for them; what `train` returns."""
    from strf_cuda.devices import resolve_device

    check_devices(config.devices, resolve_device(config.device))
    folder = _run_folder(config)
    config.out = str(folder)  # or each of them would take another free one
    start("strf_cuda.train", config, config.devices, config.nodes, lambda: _advice(folder))
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def _strategy(team: Team):
    """How Lightning trains: in this process alone, or with the others, which it need not start."""
    if team.processes == 1:
        return "auto"
    from lightning.fabric.plugins.environments import TorchElasticEnvironment
    from lightning.pytorch.strategies import DDPStrategy

    # A 1x1 convolution's weight has the same memory under several strides, and the gradient may come with others.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return DDPStrategy(cluster_environment=TorchElasticEnvironment(), gradient_as_bucket_view=True)


def _environment(team: Team) -> list:
    """Keeps a process to itself: in a job of Slurm, Lightning would save and requeue by rules of its own on SIGUSR1."""
    if team.processes > 1:
        return []  # the strategy has one
    from lightning.fabric.plugins.environments import LightningEnvironment

    return [LightningEnvironment()]


def _print_at_once(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)


def _print_nothing(text: str, end: str = "\n") -> None:
    """For all processes but the first."""


def _advice(folder: Path) -> str:
    """How to go on with an ended run, or an empty string where nothing is saved."""
    if not (folder / "last.ckpt").exists():
        return ""
    return f"the finished epochs are saved; continue with {PROG} --resume --out {shlex.quote(str(folder))}"


def _fit(trainer, module, checkpoint: str | None, folder: Path, team: Team, stop) -> None:
    """Trains. Says how to go on after a fault; one before the first checkpoint leaves the folder free."""
    from strf_cuda.faults import Diverged, WorkerDied, hear_no_more_of_workers, training_fault

    try:
        trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
    except BaseException as error:
        team.advice = advice = _advice(folder)
        if not advice:
            (folder / "config.yaml").unlink(missing_ok=True)
        fault = training_fault(error, trainer, module.config)
        if isinstance(fault, WorkerDied):
            hear_no_more_of_workers()
        # Lightning turns Ctrl-C into SystemExit. The signal also comes to the processes around this one.
        if isinstance(error, SystemExit) or (
            stop.pressed and (isinstance(fault, WorkerDied) or is_lost_connection(error))
        ):
            raise KeyboardInterrupt(*([advice] if advice else [])) from None
        if fault is None:
            if advice:
                error.add_note(advice)
            raise
        if advice and not isinstance(fault, Diverged):
            fault = InputError(f"{fault}. {advice[0].upper()}{advice[1:]}")
        raise fault from None


def _run_folder(config: TrainConfig) -> Path:
    if config.out is None:
        names = (Path("runs") / f"{config.preset}-{number}" for number in itertools.count(1))
        return next(folder for folder in names if not folder.exists())
    folder = expanded(config.out)
    try:
        os.path.abspath(folder).encode()
    except UnicodeEncodeError:
        raise InputError(f"out is {folder}, but TensorBoard writes only where all names are UTF-8") from None
    if (folder / "config.yaml").exists() and not config.resume:
        raise InputError(f"{folder} holds a run already: add --resume to continue it, or give another --out")
    return folder


def _continued(out: str | None, argv: Sequence[str]) -> TrainConfig:
    """The saved configuration of a run, with the options given now, as far as a continued run may change them."""
    if out is None:
        raise InputError("--resume needs --out, the folder of the run to continue")
    saved_file = expanded(out) / "config.yaml"
    if not saved_file.exists():
        raise InputError(f"there is no run to resume in {out}: {saved_file} does not exist")
    saved = from_dict(TrainConfig, read_yaml(saved_file), str(saved_file))
    config = load_config(TrainConfig, argv, prog=PROG, defaults=to_dict(saved))
    _name_places_from_anywhere(config)
    for name, before, now in _differences(to_dict(meant(saved)), to_dict(meant(config))):
        if name == "epochs" and config.optimizer.schedule == "cosine":
            raise InputError(
                f"epochs is {now}, but the run in {out} was started with {before}, and the cosine of its learning rate "
                "ends with these"
            )
        if name not in CHANGEABLE:
            raise InputError(
                f"{name} is {now}, but the run in {out} was started with {before}, and a run continues as it began"
            )
    return config


def _differences(saved: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for key, value in saved.items():
        if isinstance(value, dict):
            found += _differences(value, given[key], f"{prefix}{key}.")
        elif value != given[key]:
            found.append((f"{prefix}{key}", value, given[key]))
    return found


def _last_checkpoint(folder: Path, module, say: Callable[[str], None]) -> str | None:
    from strf_cuda.checkpoints import read_checkpoint

    config, path = module.config, folder / "last.ckpt"
    if not config.resume:
        return None
    if not path.exists():
        say("note: the run was stopped before its first checkpoint, so it starts from the beginning")
        return None
    try:
        checkpoint = read_checkpoint(path)
    except InputError as error:
        if not (folder / "best.ckpt").exists():
            raise
        raise InputError(
            f"{error}. A copy of best.ckpt in its place continues the run from the epoch after that, to the same end"
        ) from None
    module.on_load_checkpoint(checkpoint)
    finished = checkpoint["epoch"] + 1
    if finished > config.epochs:
        raise InputError(f"epochs is {config.epochs}, but the run in {folder} has {finished} epochs behind it already")
    before = checkpoint["config"]
    if (count := config.devices * config.nodes) != (count_before := before["devices"] * before["nodes"]):
        same = config.batch_norm == "synchronised"
        say(
            f"note: the run continues in {count} process{'es' if count > 1 else ''} after {count_before}: the same "
            "batches, and "
            + ("the same weights but for rounding" if same else "other statistics in each batch normalisation")
        )
    return str(path)


if __name__ == "__main__":
    raise SystemExit(run(main))

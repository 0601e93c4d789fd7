"""`python -m strf_cuda.train`: trains a model, evaluates it, and leaves a folder with everything about the run.

config.yaml       the configuration, complete
last.ckpt         written after every epoch; best.ckpt: the one with the highest mAP
metrics.json      the final figures, and those of every evaluation
tensorboard/      curves
"""

import itertools
import time
from pathlib import Path
from typing import Any

import yaml

from strf_cuda.cli import from_dict, load_config, read_yaml, run, to_dict
from strf_cuda.config import PRESETS, TrainConfig, check_training
from strf_cuda.errors import InputError

PROG = "python -m strf_cuda.train"
# What a continued run may change: nothing that decides the weights after a given number of epochs.
CHANGEABLE = ("out", "resume", "epochs", "device", "data.root", "data.workers", "evaluation.every")


def main(argv: list[str] | None = None) -> None:
    config = load_config(TrainConfig, argv, prog=PROG, presets=PRESETS)
    if config.resume:
        config = _continued(config.out, argv)
    train(config)


def train(config: TrainConfig) -> dict[str, Any]:
    """Runs the whole training, or what is left of it with `config.resume`; returns the content of metrics.json.

    Raises:
        InputError: options or data that cannot be used.
    """
    started = time.monotonic()
    check_training(config)
    folder = _run_folder(config)
    if config.data.root is not None:
        config.data.root = str(Path(config.data.root).resolve())  # the saved configuration is read from anywhere

    # After the checks, since these take seconds to import.
    import lightning as L
    from lightning.pytorch.loggers import TensorBoardLogger

    from strf_cuda.callbacks import EvaluateAndSave, RunProgress, evaluate_run
    from strf_cuda.checkpoints import AtomicCheckpointIO
    from strf_cuda.data import open_dataset
    from strf_cuda.devices import check_device, resolve_precision
    from strf_cuda.engine import Training
    from strf_cuda.files import replacing, write_json
    from strf_cuda.quiet import quiet_lightning

    quiet_lightning()
    check_device(config.device)
    dataset = open_dataset(config.data.name, config.data.root)
    module = Training(config, dataset.train)
    checkpoint = _last_checkpoint(folder, config)
    text = yaml.safe_dump(to_dict(config), sort_keys=False)
    print(text, end="")
    for note in dataset.notes:
        print(f"note: {note}")
    print(
        f"{dataset.name}: {len(dataset.train):,} training tracklets of {len(module.person_ids):,} people, "
        f"{len(dataset.query):,} queries, {len(dataset.gallery):,} gallery tracklets\n"
        f"{config.model.kind}, unit {config.model.unit}: {sum(p.numel() for p in module.model.parameters()):,} "
        f"parameters\nrun folder: {folder}",
        flush=True,
    )
    with replacing(folder / "config.yaml") as temporary:
        temporary.write_text(text, encoding="utf-8")

    save = EvaluateAndSave(folder, dataset, config.evaluation.every)
    trainer = L.Trainer(
        accelerator=config.device,
        devices=1,
        precision=resolve_precision(config.precision, config.device),
        max_epochs=config.epochs,
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        callbacks=[save, RunProgress()],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        log_every_n_steps=10,
        use_distributed_sampler=False,
    )
    trainer.fit(module, ckpt_path=checkpoint, weights_only=True)

    evaluation = save.latest or evaluate_run(module, dataset)  # a run that had ended already trains nothing
    seconds = time.monotonic() - started
    metrics = {
        **evaluation.to_dict(),
        "epochs": config.epochs,
        "seconds": round(seconds, 1),
        "history": save.history,
    }
    write_json(folder / "metrics.json", metrics)
    print(f"\n{evaluation.table()}\n\n{seconds:.0f} seconds; checkpoints and metrics.json are in {folder}")
    return metrics


def _run_folder(config: TrainConfig) -> Path:
    if config.out is None:
        names = (Path("runs") / f"{config.preset}-{number}" for number in itertools.count(1))
        return next(folder for folder in names if not folder.exists())
    folder = Path(config.out)
    if (folder / "config.yaml").exists() and not config.resume:
        raise InputError(f"{folder} holds a run already: add --resume to continue it, or give another --out")
    return folder


def _continued(out: str | None, argv: list[str] | None) -> TrainConfig:
    """The saved configuration of a run, with the options given now, as far as a continued run may change them."""
    if out is None:
        raise InputError("--resume needs --out, the folder of the run to continue")
    saved_file = Path(out) / "config.yaml"
    if not saved_file.exists():
        raise InputError(f"there is no run to resume in {out}: {saved_file} does not exist")
    saved = read_yaml(saved_file)
    config = load_config(TrainConfig, argv, prog=PROG, defaults=to_dict(from_dict(TrainConfig, saved, str(saved_file))))
    for name, before, now in _differences(saved, to_dict(config)):
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


def _last_checkpoint(folder: Path, config: TrainConfig) -> str | None:
    from strf_cuda.checkpoints import read_checkpoint

    path = folder / "last.ckpt"
    if not config.resume:
        return None
    if not path.exists():
        print("note: the run was stopped before its first checkpoint, so it starts from the beginning")
        return None
    finished = read_checkpoint(path)["epoch"] + 1
    if finished > config.epochs:
        raise InputError(f"epochs is {config.epochs}, but the run in {folder} has {finished} epochs behind it already")
    return str(path)


if __name__ == "__main__":
    raise SystemExit(run(main))

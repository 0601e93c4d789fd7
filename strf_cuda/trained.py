"""A trained model together with what it was trained for, wherever it comes from."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from strf_cuda import hub, model_folder
from strf_cuda.checkpoints import model_of, read_checkpoint
from strf_cuda.cli import to_dict
from strf_cuda.config import TrainConfig
from strf_cuda.errors import InputError
from strf_cuda.files import expanded
from strf_cuda.meaning import architecture
from strf_cuda.models import VideoResNet


@dataclass(frozen=True)
class TrainedModel:
    """A model in eval mode and the configuration of its run.

    Attributes:
        model: maps clips [B, 3, T, H, W] to features [B, F].
        config: of the training run; frame size, frames in a clip and protocol stand there.
        source: where it was read from, as the user wrote it.
        record: what is known of its training besides: "epochs" and "steps" behind it, and "evaluations" of it, each
            with "source", "dataset", "protocol" and "figures" by challenge.
        person_ids: the people that it was trained on, None where that is not known, as of a folder to give away.
    """

    model: VideoResNet
    config: TrainConfig
    source: str
    record: dict[str, Any] = field(default_factory=dict)
    person_ids: list[int] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the architecture and all weights, in hexadecimal; the same for models whose features compare."""
        digest = hashlib.sha256()
        digest.update(json.dumps(architecture(self.config), sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            if not name.startswith("classifier."):  # takes no part in the features
                digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def open_model(source: str | Path) -> TrainedModel:
    """The trained model of a checkpoint file, of a folder of `strf_cuda.save_pretrained`, or of a hub's repository.

    Args:
        source: a path, or hf://owner/name or hf://owner/name@revision for a model on the Hugging Face hub. Only the
            prefix leads to the network.

    Raises:
        InputError: nothing there, not reachable, damaged, of something else or of a newer version.
    """
    if str(source).startswith(hub.PREFIX):
        return _open_folder(hub.download(hub.parse(str(source)), model_folder.NEEDED), str(source))
    path = expanded(source)
    if path.is_dir():
        return _open_folder(path, str(source))
    if path.suffix == ".safetensors" and path.exists():
        raise InputError(f"{source} holds weights alone: give the folder that it lies in, with {model_folder.CONFIG}")
    if path.suffix in (".pt2", ".onnx") and path.exists():
        raise InputError(f"{source} is an exported model, which only computes: give what it was exported from")
    checkpoint = read_checkpoint(path)
    model, config = model_of(checkpoint, str(path))
    return TrainedModel(model, config, str(source), _record(checkpoint, config), checkpoint["person_ids"])


def _open_folder(folder: Path, source: str) -> TrainedModel:
    read = model_folder.read_folder(folder, source)
    trained = TrainedModel(read.model, read.config, source, read.record)
    if trained.fingerprint != read.fingerprint:
        raise InputError(
            f"the weights of {source} are not those that its {model_folder.CONFIG} describes: their fingerprint is "
            f"{trained.fingerprint[:12]}, not {read.fingerprint[:12]}"
        )
    return trained


def _record(checkpoint: dict[str, Any], config: TrainConfig) -> dict[str, Any]:
    """What a checkpoint knows of its own training: the evaluation is that of its last epoch, if there was one."""
    epochs = checkpoint["epoch"] + 1 if "epoch" in checkpoint else None
    history = checkpoint.get("callbacks", {}).get("EvaluateAndSave", {}).get("history", [])
    evaluations = [
        {
            "source": "the run's checkpoint",
            "dataset": config.data.name,
            "protocol": {**to_dict(config.evaluation), "frames": config.evaluation.frames or config.data.frames},
            "figures": {"all": {name: value for name, value in row.items() if name != "epoch"}},
        }
        for row in history
        if row["epoch"] == epochs
    ]
    return {"epochs": epochs, "steps": checkpoint.get("global_step"), "evaluations": evaluations}

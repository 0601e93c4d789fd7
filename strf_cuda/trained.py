"""A trained model together with what it was trained for, wherever it comes from."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from strf_cuda.checkpoints import load_model
from strf_cuda.cli import to_dict
from strf_cuda.config import TrainConfig
from strf_cuda.models import VideoResNet


@dataclass(frozen=True)
class TrainedModel:
    """A model in eval mode and the configuration of its run.

    Attributes:
        model: maps clips [B, 3, T, H, W] to features [B, F].
        config: of the training run; frame size, frames in a clip and protocol stand there.
        source: where it was read from, as the user wrote it.
    """

    model: VideoResNet
    config: TrainConfig
    source: str

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the architecture and all weights, in hexadecimal; the same for models whose features compare."""
        digest = hashlib.sha256()
        architecture = {**to_dict(self.config.model), "weights": None, "recompute": None}
        digest.update(json.dumps(architecture, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            if not name.startswith("classifier."):  # takes no part in the features
                digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def open_model(source: str | Path) -> TrainedModel:
    """The trained model of a checkpoint file.

    Raises:
        InputError: the file is missing, damaged, or not a checkpoint of `strf_cuda.train`.
    """
    model, config = load_model(Path(source).expanduser())
    return TrainedModel(model, config, str(source))

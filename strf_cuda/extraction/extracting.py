"""Embeds tracklets into one file, in parts that a stopped extraction need not embed again."""

import os
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from strf_cuda.cli import to_dict
from strf_cuda.config import DataConfig, ProtocolConfig
from strf_cuda.embedding import embed_in_parts
from strf_cuda.embeddings import Embeddings, read_embeddings
from strf_cuda.errors import InputError
from strf_cuda.extraction.parts import PART_FRAMES, PartFiles, cut_into_parts
from strf_cuda.extraction.sources import Source
from strf_cuda.files import claimed, expanded
from strf_cuda.processes import Team
from strf_cuda.trained import TrainedModel


@dataclass(frozen=True)
class Extraction:
    """What an extraction has left.

    Attributes:
        embeddings: of all tracklets, memory-mapped from the file.
        parts: how many parts there are.
        found: how many of them were there already; all where the file was complete.
    """

    embeddings: Embeddings
    parts: int
    found: int


def extract(
    trained: TrainedModel,
    source: Source,
    data: DataConfig,
    protocol: ProtocolConfig,
    out: str | Path,
    *,
    autocast: torch.dtype | None = None,
    team: Team | None = None,
    progress: bool = True,
    part_frames: int = PART_FRAMES,
) -> Extraction | None:
    """Embeds the tracklets of a source and writes them to one file (`strf_cuda.embeddings`).

    Parts lie in the folder `OUT.parts` until all are there. A part that is there, of the same model, tracklets and
    settings, is not embedded again. Several processes share the batches of each part, and the first writes. Memory
    holds the data set's list of frames and the vectors of a part.

    Args:
        trained: its model is on the device to embed on.
        data: frame size, frames in a clip, workers.
        protocol: how tracklets are cut into clips; re-ranking plays no part.
        out: the file, with the ending .safetensors.
        team: the processes that this one has joined.
        part_frames: a part is finished with the tracklet that reaches so many frames.

    Returns:
        The extraction, or None in all processes of a team but the first.

    Raises:
        InputError: a frame that cannot be read, features that are not finite, a file that cannot be written, parts of
            another extraction, or another process that writes to the same file.
    """
    team, out = team or Team(), check_out(out)
    parts = cut_into_parts(source, part_frames)
    settings = {
        "fingerprint": trained.fingerprint,
        "precision": str(autocast or torch.float32).removeprefix("torch."),
        "clips": {
            "height": data.height,
            "width": data.width,
            "frames": protocol.frames or data.frames,
            "stride": protocol.stride,
            "flip": protocol.flip,
        },
    }
    files = PartFiles(out, source, parts, settings)
    if team.first_decides(files.complete):
        if team.is_first:
            files.remove()
        return Extraction(read_embeddings(out), len(parts), len(parts)) if team.is_first else None
    try:
        with claimed(files.folder) if team.is_first else nullcontext():
            missing = team.first_decides(files.missing)
            chosen = [source.tracklets[parts[number].start : parts[number].stop] for number in missing]
            embedded = embed_in_parts(trained.model, chosen, data, protocol, autocast=autocast, progress=progress)
            for number, vectors in zip(missing, embedded if missing else (), strict=True):
                if not torch.isfinite(vectors).all():
                    raise InputError("the model's features are not finite numbers: its training has diverged")
                if team.is_first:
                    files.write(number, vectors.numpy())
            if not team.is_first:
                return None
            files.join({**settings, **_described(trained, source, data, protocol)})
    finally:
        if team.is_first:
            with suppress(OSError):  # it holds parts
                files.folder.rmdir()
    return Extraction(read_embeddings(out), len(parts), len(parts) - len(missing))


def _described(trained: TrainedModel, source: Source, data: DataConfig, protocol: ProtocolConfig) -> dict[str, Any]:
    """What nothing depends on, but who reads the file wants to know."""
    root = None if data.root is None else os.path.abspath(os.path.expanduser(data.root))
    return {
        "model": trained.source,
        "data": {**to_dict(data), "root": root},
        "protocol": to_dict(protocol),
        "dataset": source.name,
        "notes": source.notes,
        "person_names": {str(number): name for number, name in source.person_names.items()},
        "camera_names": {str(number): name for number, name in source.camera_names.items()},
    }


def check_out(out: str | Path) -> Path:
    """The output's path; an `InputError` where it has another ending, or is a folder."""
    path = expanded(out)
    if path.suffix != ".safetensors":
        raise InputError(f"out is {out}, but an embeddings file has the ending .safetensors")
    if path.is_dir():
        raise InputError(f"out is {out}, but there is a folder of that name")
    return path

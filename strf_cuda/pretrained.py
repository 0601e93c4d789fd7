"""Trained models to give away and to take: `strf_cuda.save_pretrained` and `strf_cuda.from_pretrained`."""

import dataclasses
from pathlib import Path

from strf_cuda import hub, model_folder
from strf_cuda.errors import InputError
from strf_cuda.exporting.evaluations import evaluations_of
from strf_cuda.exporting.model_card import model_card
from strf_cuda.files import check_free, expanded, new_folder
from strf_cuda.models import VideoResNet
from strf_cuda.trained import TrainedModel, open_model


def from_pretrained(source: str | Path, *, revision: str | None = None) -> VideoResNet:
    """A trained model in eval mode, which maps clips float32 [B, 3, T, H, W] to features [B, F].

    Clips are normalised by `strf_cuda.data.augment.normalise`. `strf_cuda.trained.open_model` gives the configuration,
    with the size of clips, as well.

    Args:
        source: a folder of `save_pretrained`, a checkpoint of `strf_cuda.train`, or a model on the Hugging Face hub:
            "owner/name" where there is no such path, or hf://owner/name. Files are read without pickle or with
            torch's `weights_only`, so none of them can run anything.
        revision: a branch, tag or commit of a model on the hub.

    Raises:
        InputError: nothing there, not reachable, damaged, of something else or of a newer version.
    """
    name = str(source)
    if not name.startswith(hub.PREFIX) and not expanded(name).exists() and hub.looks_like_model(name):
        name = hub.PREFIX + name
    if revision is not None:
        if not name.startswith(hub.PREFIX):
            raise InputError(f"revision is {revision}, but {source} is a path here: models on the hub have revisions")
        name = f"{name}@{revision}"
    return open_model(name).model


def save_pretrained(
    source: TrainedModel | str | Path, folder: str | Path, *, push_to_hub: str | None = None, private: bool = True
) -> Path:
    """Writes a trained model into a new folder: config.json, model.safetensors and README.md, the model card.

    The figures of the card are those that are known of the model: the checkpoint's own, and what stands in metrics.json
    and evaluation/metrics.json beside it. Nothing leaves this machine unless `push_to_hub` says so.

    Args:
        source: a trained model, or what `strf_cuda.trained.open_model` takes.
        folder: new or empty; it is written whole or not at all.
        push_to_hub: "owner/name", a repository on the Hugging Face hub to put the folder into as well.
        private: whether a repository that is new is visible to its owner alone.

    Returns:
        The folder.

    Raises:
        InputError: a source that cannot be used, something in the folder already, or a hub that refuses.
    """
    folder = expanded(folder)
    check_free(folder)
    if push_to_hub is not None:
        hub.check_repository(push_to_hub)
    trained = source if isinstance(source, TrainedModel) else open_model(source)
    record = {**trained.record, "evaluations": evaluations_of(trained)}
    given = dataclasses.replace(trained, config=model_folder.portable(trained.config), record=record)
    card = model_card(given, push_to_hub or folder.name)
    with new_folder(folder) as temporary:
        model_folder.write_folder(temporary, given.model, given.config, record, given.fingerprint, card)
        open_model(temporary)  # reads it back and compares the fingerprints
    if push_to_hub is not None:
        hub.upload(folder, push_to_hub, model_folder.FILES, private=private)
    return folder

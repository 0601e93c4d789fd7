"""Persons and cameras of several embeddings files in one numbering."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from strf_cuda.embeddings import Embeddings
from strf_cuda.errors import InputError

_KINDS = {"person": "persons", "camera": "cameras"}


def in_one_numbering(paths: Sequence[Path], files: Sequence[Embeddings]) -> tuple[list[Embeddings], dict[str, Any]]:
    """The files with labels that fit together, and a description of all of them.

    Files of one data set share its numbers. People and cameras of a further data set are others than those before:
    their numbers, where above 0, are raised beyond these, and their names get the data set's in front.

    Raises:
        InputError: files of different models or of vectors of different lengths, or of one data set that name a person
            or camera differently.
    """
    for path, one in zip(paths, files, strict=True):
        _check_alike(paths[0], files[0], path, one)
    datasets = list(dict.fromkeys(_dataset(one) for one in files))
    description = dict(files[0].description)
    if len(datasets) > 1:
        description["dataset"] = " + ".join(map(str, datasets))
    labels = [{} for _ in files]
    for kind, attribute in _KINDS.items():
        names, highest = {}, 0
        for dataset in datasets:
            prefix = f"{dataset}/" if len(datasets) > 1 else ""
            raised = highest
            for number, one in enumerate(files):
                if _dataset(one) != dataset:
                    continue
                values = np.asarray(getattr(one, attribute))
                labels[number][attribute] = np.where(values > 0, values + raised, values) if raised else values
                highest = max(highest, int(values.max(initial=0)) + raised)
                _add_names(names, kind, _names(one, kind, bool(prefix)), raised, prefix, paths[number])
        description[f"{kind}_names"] = {str(number): name for number, name in names.items()}
    return [replace(one, **own) for one, own in zip(files, labels, strict=True)], description


def _check_alike(first_path: Path, first: Embeddings, path: Path, one: Embeddings) -> None:
    if one.fingerprint != first.fingerprint:
        raise InputError(f"{path} is of another model than {first_path}: embeddings of two models do not compare")
    if one.vectors.shape[1] != first.vectors.shape[1]:
        raise InputError(
            f"the embeddings of {path} have {one.vectors.shape[1]} numbers, but those of {first_path} "
            f"{first.vectors.shape[1]}"
        )


def _dataset(embeddings: Embeddings) -> str | None:
    return embeddings.description.get("dataset")


def _names(embeddings: Embeddings, kind: str, needed: bool) -> dict[int, str]:
    """Names by number; where there are none but one is needed, the numbers themselves."""
    names = embeddings.description.get(f"{kind}_names") or {}
    if not names and needed:
        values = np.unique(getattr(embeddings, _KINDS[kind]))
        names = {value: str(value) for value in values[values > 0].tolist()}
    return {int(number): name for number, name in names.items()}


def _add_names(names: dict[int, str], kind: str, new: dict[int, str], raised: int, prefix: str, path: Path) -> None:
    for number, name in new.items():
        place, name = (number + raised, prefix + name) if number > 0 else (number, name)
        if names.setdefault(place, name) != name:
            raise InputError(
                f"{kind} {number} is {name} in {path}, but {names[place]} in a file of the same data set before it: "
                "extract them together"
            )

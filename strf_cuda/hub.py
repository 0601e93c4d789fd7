"""Models on the Hugging Face hub. Nothing is down- or uploaded unless a call or an option asks for it by name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from strf_cuda.errors import InputError

PREFIX = "hf://"
_NAME = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\S+))?")
_FILES = (".ckpt", ".pt", ".pth", ".pt2", ".onnx", ".safetensors", ".json")


@dataclass(frozen=True)
class HubModel:
    """A repository "owner/name" and a branch, tag or commit of it, None for its main branch."""

    repository: str
    revision: str | None = None


def parse(source: str) -> HubModel:
    """What `hf://owner/name` or `hf://owner/name@revision` names.

    Raises:
        InputError: it has another form.
    """
    match = _NAME.fullmatch(source.removeprefix(PREFIX))
    if not source.startswith(PREFIX) or match is None:
        raise InputError(f"{source} names no model: it must be hf://owner/name or hf://owner/name@revision")
    return HubModel(**match.groupdict())


def looks_like_model(source: str) -> bool:
    """Whether "owner/name" can be a model on the hub rather than a mistyped path: its first folder is not here."""
    known = source.endswith(_FILES) or Path(source).parent.exists()
    return _NAME.fullmatch(source) is not None and not known


def download(model: HubModel, files: Sequence[str]) -> Path:
    """These files of a model, as far as it has them, in the hub's own cache folder; without a network, what lies there.

    Raises:
        InputError: huggingface_hub is not installed, there is no such model or revision, or it cannot be reached.
    """
    hub = _package()
    name = f"{model.repository}, revision {model.revision}," if model.revision else model.repository
    try:
        return Path(hub.snapshot_download(model.repository, revision=model.revision, allow_patterns=list(files)))
    except hub.errors.GatedRepoError:
        raise InputError(f"{name} on the Hugging Face hub is open to those only whom its owner has admitted") from None
    except hub.errors.RepositoryNotFoundError:
        raise InputError(f"there is no model {name} on the Hugging Face hub, or it is private and not yours") from None
    except hub.errors.RevisionNotFoundError:
        raise InputError(f"{model.repository} on the Hugging Face hub has no revision {model.revision}") from None
    except hub.errors.LocalEntryNotFoundError:
        raise InputError(
            f"{name} is not in the cache of huggingface_hub, and the hub cannot be reached: go online, or give a folder"
        ) from None
    except Exception as error:  # faults of the network have no common class
        raise InputError(f"cannot download {name} from the Hugging Face hub: {_reason(error)}") from None


def upload(folder: Path, repository: str, files: Sequence[str], *, private: bool) -> str:
    """Puts these files of a folder into a repository, which is made if need be; returns its address.

    Raises:
        InputError: huggingface_hub is not installed, the name is none, or the hub refuses or cannot be reached.
    """
    check_repository(repository)
    hub = _package()
    try:
        address = hub.HfApi().create_repo(repository, private=private, exist_ok=True)
        hub.HfApi().upload_folder(repo_id=repository, folder_path=folder, allow_patterns=list(files))
    except Exception as error:
        raise InputError(
            f"cannot upload {folder} to {repository}: {_reason(error)}; the folder itself is complete"
        ) from None
    return str(address)


def check_repository(repository: str) -> None:
    """Raises an `InputError` unless this is a name "owner/name"."""
    match = _NAME.fullmatch(repository)
    if match is None or match["revision"]:
        raise InputError(f"push_to_hub is {repository}, but a model on the Hugging Face hub is named owner/name")


def _package():
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise InputError(
            'models on the Hugging Face hub need huggingface_hub: pip install "strf_cuda[hub]", or give a folder'
        ) from None
    return huggingface_hub


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

"""Files that are either whole or absent: written beside their place and renamed into it."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from strf_cuda.errors import InputError

_LONG = 200  # bytes of a name, of which file systems allow 255


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path in the same folder; renames it to `path` on success and deletes it on failure.

    The content reaches the disk before the rename, so a power cut leaves the old file or the new one.

    Raises:
        InputError: in place of an OSError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_hidden(path.stem), suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; renames it to `path` on success and deletes it on failure.

    Raises:
        InputError: there is something at `path` already, but for an empty folder, or in place of an OSError as
            `replacing` does.
    """
    path = Path(path)
    check_free(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_hidden(path.name)))
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
            file.chmod(0o666 & ~_umask())
        temporary.chmod(0o777 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: str | Path) -> None:
    """Raises an `InputError` if there is anything at `path` but an empty folder."""
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} exists already: give another place, or remove it")


def remove_unfinished(path: str | Path) -> None:
    """Removes what a process left beside `path` that was killed while it wrote it."""
    path = Path(path)
    for leftover in path.parent.glob(f"{glob.escape(_hidden(path.stem))}*{glob.escape(path.suffix)}"):
        leftover.unlink(missing_ok=True)


def expanded(path: str | os.PathLike) -> Path:
    """The path with ~ or ~user as the home folder; a name that begins so and is no user's stays as it is."""
    return Path(os.path.expanduser(path))


def _hidden(name: str) -> str:
    """How the names begin of what is written before it gets this name, which may be as long as names can be."""
    encoded = os.fsencode(name)
    return f".{name if len(encoded) <= _LONG else hashlib.sha256(encoded).hexdigest()[:32]}-"


def writable_folder(path: str | Path) -> Path:
    """The folder, made if need be; an InputError if it cannot be written to, so that no long work is done in vain."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"cannot write to the folder {path}: permission denied")
    return path


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Keeps other processes from claiming the folder, which is made if need be, as long as this one works in it.

    The lock is the system's, so it ends with this process however that ends; its file, `.lock`, may stay behind and
    does no harm. Processes that are forked do not hold it. Where the file system has no locks there is none.

    Raises:
        InputError: another process has claimed the folder, or it cannot be written to.
    """
    path = writable_folder(folder) / ".lock"
    lock = _open_locked(path)
    try:
        with suppress(OSError):  # only for the sentence that others read
            os.truncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _open_locked(path: Path) -> int:
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = os.pread(lock, 200, 0).decode(errors="replace") or "another process"
                os.close(lock)
                raise InputError(
                    f"{holder} works in {path.parent} now: wait until it has ended, or end it; two would overwrite "
                    "each other's files"
                ) from None
            return lock
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        os.close(lock)  # the one who held it has just deleted it


def write_json(path: str | Path, content: Any) -> None:
    """Writes indented JSON atomically; the content holds no NaN, which JSON does not have."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

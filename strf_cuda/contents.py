"""What a file really holds: text by its byte-order mark, and what lies in the place of a file that never came."""

import codecs
import json
import os
import re
from pathlib import Path
from typing import Any

from strf_cuda.errors import InputError

_SAMPLE = 2048
_MARKS = {  # the longer ones first: one begins with another
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NO_TEXT = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
_POINTERS = {
    b"version https://git-lfs.github.com/": "a Git LFS pointer in place of the file: git lfs pull fetches it",
    b"/annex/objects/": "a git-annex pointer in place of the file: git annex get fetches it",
}


def read_text(path: str | os.PathLike, errors: str = "strict") -> str:
    """A text file, in UTF-8 or the encoding that its byte-order mark names.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is in another encoding, where `errors` is not another way of `bytes.decode`.
        InputError: something that is not the file lies in its place.
    """
    data = Path(path).read_bytes()
    if found := in_its_place(data):
        raise InputError(f"{path} is {found}")
    return _decoded(data, errors)


def _decoded(data: bytes, errors: str) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8-sig")
    return data.decode(encoding, errors)


def read_json(path: str | os.PathLike) -> Any:
    """What a JSON file says, whatever its byte-order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON; the message says what it is instead where that can be told.
    """
    data = Path(path).read_bytes()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        found = in_its_place(data)
        raise ValueError(f"it is {found}" if found else str(error)) from None


def in_its_place(content: bytes | str | os.PathLike, *, or_text: bool = False) -> str | None:
    """What came in the place of a file, in words and with advice; None where it is nothing that can be told.

    Args:
        content: the file's path, or its first bytes.
        or_text: any other text counts, which is right where the file should be a picture or hold numbers.
    """
    if not isinstance(content, bytes):
        try:
            with open(content, "rb") as file:
                content = file.read(_SAMPLE)
        except OSError:
            return None
    for beginning, words in _POINTERS.items():
        if content.startswith(beginning):
            return words
    text = _decoded(content[:_SAMPLE], "replace").strip()
    lower = text.lower()
    if lower.startswith(("<!doctype html", "<html")) or (lower.startswith("<") and "<html" in lower):
        return "a page of HTML, as servers send in place of a file: download it again"
    if lower.startswith(("<?xml", "<error")):
        return "an XML document, as servers send in place of a file: download it again"
    if or_text and text and not _NO_TEXT.search(text[:-1]):  # whose last character may be cut
        return f"text, which begins with {text[:40]!r}"
    return None

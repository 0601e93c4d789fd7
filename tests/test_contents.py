"""What a file really holds: text whatever its byte-order mark, and what lies in the place of a file."""

import json

import pytest

from reading import refused
from strf_cuda.contents import in_its_place, read_json, read_text

MARKED = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]  # utf-16 and utf-32 write a mark
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"


@pytest.mark.parametrize("encoding", MARKED)
def test_a_byte_order_mark_names_the_encoding_and_is_no_part_of_the_text(tmp_path, encoding):
    path = tmp_path / "text"
    path.write_text('{"name": "Zoé"}', encoding=encoding)
    assert read_text(path) == '{"name": "Zoé"}' and read_json(path) == {"name": "Zoé"}


def test_text_without_a_mark_is_utf_8(tmp_path):
    (tmp_path / "text").write_bytes(b"a\xffb")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "text")
    assert read_text(tmp_path / "text", "surrogateescape").encode("utf-8", "surrogateescape") == b"a\xffb"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "a Git LFS pointer in place of the file: git lfs pull fetches it"),
        (b"/annex/objects/SHA256E-s3--ab.jpg\n", "a git-annex pointer in place of the file: git annex get fetches it"),
        (b"\xef\xbb\xbf\r\n<!doctype HTML><title>404</title>", "a page of HTML"),
        (b"<!-- a robot? -->\n<HTML lang=en>", "a page of HTML"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b"Entry not found", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"PK\3\4", None),
        (b"", None),
    ],
)
def test_what_came_in_place_of_a_file_is_named(tmp_path, content, words):
    (tmp_path / "file").write_bytes(content)
    found = in_its_place(tmp_path / "file")
    assert found == in_its_place(content) and (found is None if words is None else found.startswith(words))
    if words:
        refused(lambda: read_text(tmp_path / "file"), "file is a", words)
        with pytest.raises(ValueError, match="^it is an? "):
            read_json(tmp_path / "file")


def test_other_text_counts_where_there_should_be_none():
    assert in_its_place(b"Entry not found\n", or_text=True) == "text, which begins with 'Entry not found'"
    assert in_its_place("Zoé".encode(), or_text=True) == "text, which begins with 'Zoé'"
    for binary in (b"", b"\xff\xd8\xff\xe0", b"\x80\2}q", bytes(8) + b"{}", json.dumps({}).encode() + bytes(2)):
        assert in_its_place(binary, or_text=True) is None


def test_a_file_that_cannot_be_read_holds_nothing_to_be_told(tmp_path):
    assert in_its_place(tmp_path) is None and in_its_place(tmp_path / "absent") is None

"""What a reader of a data set gives, and how readers and commands refuse: for the tests of all of them."""

import pytest

from strf_cuda.errors import InputError


def refused(read, *words):
    """The one sentence with which `read()` refuses; it must hold all the words."""
    with pytest.raises(InputError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def one_sentence(printed):
    """The one sentence that a command has printed on stderr where it refuses, without its "error: "."""
    (line,) = printed.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def contents(data):
    """What the three lists hold, apart from where it lies."""
    return [
        [(t.person_id, t.camera_id, [path.rpartition("/")[2] for path in t.paths]) for t in tracklets]
        for tracklets in (data.train, data.query, data.gallery)
    ]

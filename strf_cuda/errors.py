"""The exception for input that cannot be used: its message is one sentence for the person who gave it."""

import difflib
from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave cannot be used: the message says what, its actual value, and what to do.

    Commands print the message without a traceback and exit with status 2.
    """


def nearest(word: str, choices: Sequence[str]) -> str:
    """ "; did you mean ...?" for the closest of `choices`, or an empty string."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""

"""The exception for input that cannot be used: its message is one sentence for the person who gave it."""


class InputError(ValueError):
    """Something the user gave cannot be used: the message says what, its actual value, and what to do.

    Commands print the message without a traceback and exit with status 2.
    """

"""Times as people write them: seconds, or hours, minutes and seconds, or dates."""

import math
import re
from datetime import UTC, datetime

from strf_cuda.errors import InputError
from strf_cuda.video.config import start_seconds

_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d(?:\.\d*)?)")
_DATES = 1e8  # seconds: three years of video by its own clock, or 1973 by that of dates


def read_time(name: str, text: str) -> float:
    """Seconds, from seconds, h:mm:ss, or a date and time (UTC unless it names a zone).

    Args:
        name: of the option, for the message.

    Raises:
        InputError: it is none of these.
    """
    if clock := _CLOCK.fullmatch(text):
        return 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3])
    try:
        return start_seconds(text)
    except InputError:
        raise InputError(
            f"{name} is {text!r}, but it must be seconds, h:mm:ss, or a date and time such as 2026-11-23T09:30:00"
        ) from None


def show_time(seconds: float) -> str:
    """h:mm:ss.s, or a date and time in UTC where the seconds are since 1970; nothing where they are unknown."""
    if math.isnan(seconds):
        return ""
    tenths = round(10 * seconds)
    if tenths >= 10 * _DATES:
        moment = datetime.fromtimestamp(tenths / 10, UTC)
        return f"{moment:%Y-%m-%d %H:%M:%S}.{tenths % 10}"
    minutes, tenths = divmod(tenths, 600)
    return f"{minutes // 60}:{minutes % 60:02d}:{tenths // 10:02d}.{tenths % 10}"


def show_span(start: float, end: float) -> str:
    """From when to when; nothing where neither is known."""
    shown = show_time(start), show_time(end)
    return " to ".join(shown) if any(shown) else ""

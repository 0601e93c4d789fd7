"""Tables that line up: as Markdown that reads well on a terminal too, or as plain text."""

import re
from collections.abc import Sequence

# What ends a line or moves the cursor, and what is no text: bytes of a name that is not UTF-8.
_UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    """Text that may hold a file's name, and so anything, in one line that can be printed: a newline becomes \\n."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns padded to equal width; the first is text, the others are figures."""
    header, *rows = ([one_line(cell) for cell in row] for row in (header, *rows))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (header, rule, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def aligned_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text, the first column flush left and the others flush right."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)

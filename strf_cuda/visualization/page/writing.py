"""One HTML file that holds everything: styles, scripts, data and pictures, and that can reach nothing else.

The page's security policy allows the very scripts and styles written here, by their hashes, and pictures from data:
addresses; no network, no form, no other script. Data stand in script elements that no browser runs, as JSON whose
signs `<`, `>` and `&` are written as escapes, so no name can end such an element.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from strf_cuda.files import replacing

SCRIPTS = (
    "dom",
    "content",
    "state",
    "plots",
    "figures",
    "loops",
    "gallery",
    "detail",
    "main",
)  # each uses those before
STRIPS_A_BLOCK = 4  # the page takes a block apart when it needs one of its strips


def write_page(path: str | Path, content: dict[str, Any], strips: Iterable[bytes]) -> None:
    """Writes the page, whole or not at all.

    Args:
        content: what `strf_cuda.visualization.page.content.page_content` gives.
        strips: a WebP for each of its tracklets, in their order.

    Raises:
        InputError: the file cannot be written.
    """
    style = _asset("report.css")
    scripts = [_asset(f"{name}.js") for name in SCRIPTS]
    parts = {
        "policy": _policy(style, scripts),
        "title": html.escape(content["title"]),
        "style": style,
        "content": _in_script(content),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    before, after = (
        re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], half)
        for half in _asset("report.html").split("{{strips}}")
    )
    # A folder's name may hold bytes that are no UTF-8.
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(before)
        file.writelines(_blocks(strips))
        file.write(after)


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _policy(style: str, scripts: list[str]) -> str:
    allowed = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _in_script(content: Any) -> str:
    """JSON that may stand in a script element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", text)


def _blocks(strips: Iterable[bytes]) -> Iterator[str]:
    """Script elements with the strips of some tracklets each, a line a strip."""
    block: list[str] = []
    number = 0
    for strip in strips:
        block.append(base64.b64encode(strip).decode())
        if len(block) == STRIPS_A_BLOCK:
            yield _block(number, block)
            block, number = [], number + 1
    if block:
        yield _block(number, block)


def _block(number: int, lines: list[str]) -> str:
    return f'<script type="text/plain" id="strips-{number}">' + "\n".join(lines) + "</script>\n"

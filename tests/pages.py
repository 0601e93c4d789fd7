"""README and docs/*.md as the tests read them: pages, and the blocks of code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]}

# How a line begins that is typed into a shell.
COMMAND = re.compile(r"(\$ )?(\w+=\S* )*(python3?|make|pip|bash|sh|torchrun|pytest|git|cmake|g\+\+|rm|for|cd) ")


@dataclass(frozen=True)
class Block:
    """A fenced block, or an indented one, which has the language "bash" if it holds a command and otherwise none."""

    line: int
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page in their order."""
    found, lines, start = [], [*PAGES[page].splitlines(), ""], 0
    while start < len(lines):
        end = start + 1
        fence = re.match(r"```(.*)$", lines[start])
        if fence:
            while lines[end] != "```":
                end += 1
            found.append(Block(start + 1, fence[1].strip(), _joined(lines[start + 1 : end])))
            end += 1
        elif lines[start].startswith("    ") and (start == 0 or not lines[start - 1].strip()):
            while lines[end].startswith("    ") or (
                not lines[end] and "".join(lines[end : end + 2]).startswith("    ")
            ):
                end += 1
            inner = [line[4:] for line in lines[start:end]]
            language = "bash" if any(COMMAND.match(line) for line in inner) else ""
            found.append(Block(start + 1, language, _joined(inner)))
        start = end
    return found


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)

"""Puts the figures of bench/results/search.json into docs/searching.md, in place of those before.

python -m bench.search && python tools/search_table.py
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from bench.search import table  # noqa: E402

PAGE = ROOT / "docs" / "searching.md"
RESULT = ROOT / "bench" / "results" / "search.json"
_OLD = re.compile(r"^\| tracklets +\| .*?(?=\n\n)", re.MULTILINE | re.DOTALL)
_ORIGIN = re.compile(r"^Measured on .*?(?=\n\n)", re.MULTILINE | re.DOTALL)


def origin(result: dict[str, Any]) -> str:
    """Where, when and with what the figures were taken."""
    device, versions = result["device"], result["versions"]
    return (
        f"Measured on {device['cores']} cores of {device['cpu']}, {result['threads']} threads, {result['date']}, FAISS "
        f"{versions['faiss-cpu']},\nNumPy {versions['numpy']}, {result['queries']} queries, load average of other "
        f"programs before it began {result['load_before']}:\n`{result['command']}`."
    )


def updated(page: str, result: dict[str, Any]) -> str:
    """The page with the figures of this result."""
    for pattern, new in ((_OLD, table(result)), (_ORIGIN, origin(result))):
        assert len(pattern.findall(page)) == 1
        page = pattern.sub(lambda _, new=new: new, page)
    return page


def main() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()

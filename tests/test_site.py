"""The site of the documentation: it is made without a warning, and reading it asks nobody else for anything."""

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What a browser loads by itself: not links, which it follows when somebody clicks.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc(?:set)?\s*=\s*["']?([^"'\s>]+)"""
    r"""|<link\b(?![^>]*\brel="(?:index|search|next|prev|canonical)")[^>]*?\bhref\s*=\s*["']?([^"'\s>]+)"""
    r"""|@import\s+["']?([^"';]+)|\burl\(\s*["']?([^"')]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, made by the command of `make docs`."""
    (command,) = re.findall(r"python -m (sphinx .*) build/docs$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", *command.split(), str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_on_the_site_and_in_its_contents(site):
    contents = re.findall(r'class="toctree-l1.*?href="([^"#]+)"', (site / "index.html").read_text())
    pages = {f"{path.stem}.html" for path in ROOT.glob("docs/*.md")} - {"index.html"}
    assert {*contents} == pages
    for path in ROOT.glob("docs/*.md"):  # search.md would lose its place to the page that searches the site
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        shown = re.search(r"<h1>(.*?)<a ", (site / f"{path.stem}.html").read_text(encoding="utf-8"))
        assert html.unescape(shown[1]) == title


def test_nothing_is_loaded_from_elsewhere(site):
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    loaded = {"".join(match) for path in files for match in LOADED.findall(path.read_text(encoding="utf-8"))}
    assert any(name.startswith("_static/") for name in loaded)
    assert [name for name in sorted(loaded) if re.match(r"(\w+:)?//", name)] == []


def test_every_link_to_a_file_of_the_site_leads_there(site):
    missing = []
    for path in site.glob("*.html"):
        for name, anchor in re.findall(r'\bhref="(?!\w+:|//)([^"#]*)(?:#([^"]*))?"', path.read_text(encoding="utf-8")):
            target = (path.parent / name.split("?")[0]) if name else path
            found = target.is_file()
            if found and anchor and target.suffix == ".html":
                found = f'id="{anchor}"' in target.read_text(encoding="utf-8")
            if not found:
                missing.append((path.name, name, anchor))
    assert missing == []

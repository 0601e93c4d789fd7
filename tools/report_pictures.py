"""Takes the pictures of docs/report.md: `python tools/report_pictures.py RUN/best.ckpt`.

Needs playwright and a Chromium on the PATH. The run is one of `python -m strf_cuda.train`, on the walkers.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from strf_cuda.visualization.report import draw, read_options

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHOWN = [  # file, theme, what is looked at, the part of the page's address
    ("report_figures_light.webp", "light", None, ""),
    ("report_queries_dark.webp", "dark", "#queries", "sort=best"),
    ("report_detail_light.webp", "light", None, "query=3"),
    ("report_detail_dark.webp", "dark", None, "query=3"),
]


def main(checkpoint: str) -> None:
    browser_path = next(filter(None, map(shutil.which, BROWSERS)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page_path = draw(read_options([f"--checkpoint={checkpoint}", f"--out={folder}/report.html"]))
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for name, theme, section, fragment in SHOWN:
            page = browser.new_page(
                viewport={"width": 1280, "height": 900}, color_scheme=theme, reduced_motion="reduce"
            )
            page.goto(f"{page_path.as_uri()}#{fragment}")
            if section is not None:
                page.locator(section).evaluate("(section) => section.scrollIntoView()")
            page.wait_for_timeout(500)  # until pictures are decoded
            _save(page.screenshot(), IMAGES / name)
            page.close()
        browser.close()


def _save(screenshot: bytes, path: Path) -> None:
    Image.open(io.BytesIO(screenshot)).convert("RGB").save(path, "WEBP", quality=88, method=6)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])

"""A headless browser for the tests of pages: whichever Chromium the machine has."""

import shutil
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without a sandbox, which containers do not allow, and without anything of its own to ask the network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_browser():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def open_browser():
    """A browser; without one on this machine, or without playwright, the tests are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    path = find_browser()
    if path is None:
        pytest.skip(f"needs a browser on the PATH: {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page in a context of its own, and what went wrong or out on it.

    Attributes:
        page: playwright's.
        requests: addresses that were asked for, data: ones left out.
        errors: what the console and uncaught exceptions said.
    """

    def __init__(self, browser, path, fragment="", *, width=1280, height=900, **context):
        self.requests, self.errors = [], []
        self.page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("request", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.goto(path.as_uri() + fragment)

    def _note(self, request):
        if not request.url.startswith("data:"):
            self.requests.append(request.url)

    def __getattr__(self, name):
        return getattr(self.page, name)

    def close(self):
        self.page.context.close()

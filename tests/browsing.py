"""Chromium for the tests of pages, driven by Playwright; modules that import this skip where either is absent."""

import contextlib
import shutil

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed; pip install '.[browser]'"
)
expect = playwright.expect
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium or google-chrome on PATH", allow_module_level=True)
ROOTED = ["--no-sandbox"]
"""Containers run tests as root, whom Chromium refuses a sandbox."""


@contextlib.contextmanager
def chromium():
    """Yield a browser."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ROOTED)
        yield started
        started.close()

"""A report in a real browser: nothing of the data runs, and the page fits a phone.

Needs Chromium (`apt-get install chromium`), or another browser of its kind named by MLMCTL_BROWSER.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest
from test_report import text, whole

__all__ = ["text", "whole"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60
POLICY = re.compile(r"<meta http-equiv=.Content-Security-Policy.[^>]*>")
INTRUDER = "<script>document.title = 'ran'</script>"

Browser = Callable[[str], str]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Opens a page from a file and gives the document as it is after all that the page does."""
    named = os.environ.get("MLMCTL_BROWSER")
    found = named or next(filter(None, map(shutil.which, _NAMES)), None)
    if not found:
        pytest.skip("no Chromium here (apt-get install chromium, or set MLMCTL_BROWSER)")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")

    def document(page: str) -> str:
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        done = subprocess.run(
            [found, *flags, profile, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
        return done.stdout.decode()

    return document


def title(document: str) -> str:
    found = re.search("<title>(.*?)</title>", document)
    assert found is not None
    return found[1]


def test_fault_53_a_browser_runs_nothing_of_the_data(browser: Browser, text: str) -> None:
    document = browser(text)
    assert title(document) == title(text)
    assert "mlmctl report" in title(document)
    elements = re.sub(r"<style>.*?</style>", "", document, flags=re.S)
    assert not re.search(r"<(script|img|iframe|object|embed|link|form)\b", elements)
    assert not re.search(r"<[^>]*\son\w+\s*=", elements)


def test_the_page_forbids_scripts_even_if_one_got_in(browser: Browser, text: str) -> None:
    intruded = text.replace("</body>", f"{INTRUDER}</body>")
    assert title(browser(intruded)) == title(text)
    unguarded, num_policies = POLICY.subn("", intruded)
    assert num_policies == 1
    assert title(browser(unguarded)) == "ran"  # so this browser does run scripts where it may


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_never_wider_than_the_screen(browser: Browser, text: str, width: int) -> None:
    measure = "document.title = frame.contentDocument.documentElement.scrollWidth"
    frame = (
        f'<iframe id="frame" width="{width}" height="800" style="border: 0" srcdoc="{escape(text)}"></iframe>'
    )
    page = f"<!doctype html><title>-</title>{frame}<script>frame.onload = () => {{ {measure} }}</script>"
    assert int(title(browser(page))) <= width

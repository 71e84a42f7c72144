"""A report in a real browser: ENGINE_BROWSER names a Chromium, else one is looked for."""

import os
import re
import shutil
import subprocess

import pytest
from test_report import HOSTILE, begin, finish, page_of

from engine.events import EventLog

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = os.environ.get("ENGINE_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium; ENGINE_BROWSER names one")


def test_a_browser_runs_the_pages_own_script_and_nothing_else(tmp_path) -> None:
    with EventLog(tmp_path / "events.db") as log:
        begin(log, 3, node=HOSTILE)
        finish(log, 0)
        finish(log, 1, outcome="failed", error=f"{HOSTILE}<script>document.title = 'owned'</script>")
        page = tmp_path / "report.html"
        page.write_text(page_of(log), "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    options.append(f"--user-data-dir={tmp_path}/profile")
    ran = subprocess.run(
        [str(BROWSER), *options, "--dump-dom", f"{page.as_uri()}#t2"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.search(r'<form id="filter" class="filter">', ran.stdout)  # the script took `hidden` away
    assert re.search(r'<li id="t2" data-kind="failed"><details open="">', ran.stdout)
    assert "<title>run" in ran.stdout
    assert "Content Security Policy" not in ran.stderr
    assert "CONSOLE" not in ran.stderr

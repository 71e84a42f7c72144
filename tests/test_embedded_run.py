"""The main job on the embedded model: from a folder to an accepted change, and what a kill leaves behind."""

import ast
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from processes import descendants, wait_until_gone

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.embedded


@pytest.fixture
def shop(tmp_path: Path, weights: Path) -> Path:
    project = tmp_path / "shop"
    shutil.copytree(ROOT / "tests/samples/shop", project)
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    return project


def engine(*argv: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine", *map(str, argv)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=280)


def without_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def sources(project: Path) -> dict[str, str]:
    return {str(path.relative_to(project)): path.read_text("utf-8") for path in project.rglob("*.py")}


def test_the_main_job_on_the_embedded_model(shop: Path) -> None:
    before = {path: without_docstrings(path) for path in shop.rglob("*.py")}
    texts = sources(shop)
    options = ["--limit", "4", "--param", "strict=never", "--json"]
    ran = engine("run", ROOT / "bundles/docstring", "--target", ".", *options, cwd=shop)
    assert ran.returncode == 0, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    finished = [event for event in events if event["type"] == "task:finished"]
    assert [event["outcome"] for event in finished] == ["finished"] * 4
    assert {event["adapter"] for event in events if event["type"] == "model:responded"} == {"docs"}
    assert sources(shop) == texts
    assert engine("accept", cwd=shop).returncode == 0
    assert sources(shop) != texts
    assert {path: without_docstrings(path) for path in before} == before
    accepted = sources(shop)
    assert engine("accept", cwd=shop).returncode == 0
    assert sources(shop) == accepted
    again = engine("run", ROOT / "bundles/docstring", "--target", ".", "--dry-run", "--json", cwd=shop)
    documented = {event["task_id"] for event in finished if event["changed_files"]}
    assert documented
    assert documented.isdisjoint(task["task"] for task in json.loads(again.stdout)["tasks"])


@pytest.mark.parametrize("delay", [0.5, 1.5, 3.0])
def test_a_kill_leaves_nothing_behind(delay: float, shop: Path) -> None:
    texts = sources(shop)
    argv = [sys.executable, "-m", "engine", "run", str(ROOT / "bundles/docstring"), "--target", "."]
    process = subprocess.Popen(argv, cwd=shop, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ)
    children, deadline = set(), time.monotonic() + delay
    while time.monotonic() < deadline:
        children |= descendants(process.pid)
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until_gone(children) == set()
    assert sources(shop) == texts
    log = shop / ".engine/events.db"
    if log.exists():
        with closing(sqlite3.connect(log)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert engine("runs", cwd=shop).returncode == 0

"""`engine nodes`, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "a.py").write_text("class A:\n    def m(self):\n        'doc'\n\ndef f(): pass\n")
    (tmp_path / "gen.py").write_text("# @generated\n")
    return tmp_path


def engine(project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine", "nodes", *argv]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_table(project: Path) -> None:
    done = engine(project, ".", "--language", "python")
    assert done.returncode == 0
    assert [line.split()[1:] for line in done.stdout.splitlines()[1:]] == [
        ["file", "a.py", "a.py:1", "5"], ["class", "A", "a.py:1", "3"], ["method", "A.m", "a.py:2", "2"],
        ["function", "f", "a.py:5", "1"],
    ]  # fmt: skip
    assert done.stderr.splitlines() == ["gen.py: generated", "4 nodes in 1 files"]


def test_json(project: Path) -> None:
    done = engine(project, "a.py", "--json", "--type", "method")
    (node,) = json.loads(done.stdout)
    assert (node["qualified_name"], node["docstring"], node["file_path"], node["start_line"]) == (
        "A.m",
        "doc",
        "a.py",
        2,
    )
    assert node["text"] == "def m(self):\n        'doc'"
    assert json.loads(engine(project, "pyproject.toml", "--json", "-t", "method").stdout) == []


def test_query(project: Path) -> None:
    (project / "q.scm").write_text("(string) @node")
    (node,) = json.loads(engine(project, "a.py", "--json", "--query", "q.scm").stdout)
    assert (node["type"], node["text"]) == ("string", "'doc'")


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["nope"], "no such file"), ([".", "--type", "clas"], "did you mean 'class'"), ([], "Missing argument")],
)
def test_wrong_use_exits_with_2(project: Path, argv: list[str], message: str) -> None:
    done = engine(project, *argv)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr

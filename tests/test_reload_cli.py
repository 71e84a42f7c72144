"""`engine validate --watch` as a real process, with real edits and a real Ctrl-C."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import descendants, wait_until_gone
from projects import make_bundle
from reload_parts import PROMPT
from test_cli import engine

from engine.bundle import validate
from engine.diagnostics import render


class Watch:
    """The command, and what it has printed so far."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "NO_COLOR": "1"},
        )
        self.printed = {"out": "", "err": ""}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.process.stdout, selectors.EVENT_READ, "out")
        self._selector.register(self.process.stderr, selectors.EVENT_READ, "err")

    def until(self, stream: str, text: str, times: int = 1) -> str:
        """Read until a text was printed so many times."""
        end = time.monotonic() + 60
        while self.printed[stream].count(text) < times:
            assert time.monotonic() < end, self.printed
            for key, _ in self._selector.select(1):
                piece = os.read(key.fd, 65536).decode()
                assert piece, self.printed
                self.printed[key.data] += piece
        return self.printed[stream]

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        self.printed["out"] += out.decode()
        self.printed["err"] += err.decode()
        return self.process.returncode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundles" / "note")
    return tmp_path / "bundles"


@pytest.fixture
def watch(root: Path) -> Iterator[Watch]:
    command = Watch("validate", "--watch", root, "--output-format", "concise")
    yield command
    if command.process.poll() is None:
        command.process.kill()
    command.process.communicate()


def test_findings_are_shown_after_every_change(root, watch) -> None:
    watch.until("err", "watching; Ctrl-C ends it")
    assert watch.printed["out"] == ""
    assert "0 errors in 1 bundle\n" in watch.printed["err"]
    (root / "note" / PROMPT).write_text("{{ node.nam }}\n{% if %}")
    expected = render(validate([root]), "concise")
    assert watch.until("out", "\n") == expected != ""
    shown = watch.until("err", "1 error in 1 bundle")
    assert f"changed: {(root / 'note' / PROMPT).as_posix()}" in shown
    (root / "note" / PROMPT).write_text("{{ node.name }}")
    watch.until("err", "0 errors in 1 bundle\n", 2)
    below = descendants(watch.process.pid)
    assert watch.interrupt() == 130
    assert watch.printed["out"] == expected
    assert "Traceback" not in watch.printed["err"]
    assert wait_until_gone(below) == set()


def test_each_change_is_a_document(root) -> None:
    command = Watch("--quiet", "validate", "--watch", root, "--output-format", "json")
    command.until("out", "]")
    for number in range(1, 4):
        (root / "note" / PROMPT).write_text("{{ node.nam }}" * number)
        command.until("out", "]\n", number + 1)
    assert command.interrupt() == 130
    decoder, rest, documents = json.JSONDecoder(), command.printed["out"], []
    while rest.strip():
        found, end = decoder.raw_decode(rest.lstrip())
        documents.append(found)
        rest = rest.lstrip()[end:]
    assert [len(found) for found in documents] == [0, 1, 2, 3]
    assert command.printed["err"].strip() == ""


def test_a_pipe_whose_reader_went_away_ends_it(root, watch) -> None:
    watch.until("err", "watching")
    watch.process.stdout.close()
    watch._selector.unregister(watch.process.stdout)
    (root / "note" / PROMPT).write_text("{% if %}")
    assert watch.process.wait(30) == 1
    assert "Traceback" not in watch.process.stderr.read().decode()


@pytest.mark.parametrize("flag", ["--fix", "--diff"])
def test_watching_changes_no_file(root, flag) -> None:
    made = engine("validate", "--watch", flag, root)
    assert made.returncode == 2
    assert "--watch only shows" in made.stderr

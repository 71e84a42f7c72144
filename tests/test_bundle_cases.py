"""The cases of the shipped bundles: each bundle has some, replayed offline here and run for real with the model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from bundle_parts import BUNDLES
from projects import make_bundle

from engine.backends.replay import Label, dump_tape, file_name, load_tape
from engine.bundle import load_bundle

NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/bundle.yaml"))
FEWEST = 3

# A machine without a model, without its runtime, and without a network.
OFFLINE = """
import socket, sys

def refuse(*_):
    raise AssertionError("replaying reached for the network")

for name in ("xllamacpp", "openai", "huggingface_hub", "gguf"):
    sys.modules[name] = None
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
from engine.cli import main
main(sys.argv[1:])
"""


def problems(bundle: Path) -> list[str]:
    """Say what a bundle's cases lack."""
    loaded = load_bundle(bundle)
    name = bundle.name
    if len(loaded.cases) < FEWEST:
        return [
            f"{name} has {len(loaded.cases)} cases: write at least {FEWEST} in tests/*.yaml, and 'tests' in bundle.yaml"
        ]
    expected = {call.tool for case in loaded.cases for call in case.case.expect.calls}
    found = [f"no case of {name} expects a call of {tool}" for tool in {t.schema.name for t in loaded.tools} - expected]
    again = f"record them with engine test bundles/{name} --record"
    there = {path.name for path in (bundle / "tests" / "recordings").glob("*")}
    wanted = {file_name(Label(bundle=name, case=case.name)): case.name for case in loaded.cases}
    found += [f"the case '{wanted[file]}' of {name} is not recorded: {again}" for file in sorted(wanted.keys() - there)]
    found += [f"{name} has no case for {file}: remove it" for file in sorted(there - wanted.keys())]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_bundle_has_cases_that_are_recorded(name: str) -> None:
    assert problems(BUNDLES / name) == []


def test_a_bundle_without_cases_would_fail(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "note")
    assert problems(bundle) == ["note has 0 cases: write at least 3 in tests/*.yaml, and 'tests' in bundle.yaml"]
    shutil.copytree(BUNDLES / "docstring", tmp_path / "docstring")
    recordings = tmp_path / "docstring" / "tests" / "recordings"
    (recordings / "a-long-sentence-is-wrapped.json").rename(recordings / "other.json")
    missing, left = problems(tmp_path / "docstring")
    assert missing.startswith("the case 'a long sentence is wrapped' of docstring is not recorded: record them with")
    assert left == "docstring has no case for other.json: remove it"


@pytest.mark.parametrize("name", NAMES)
def test_the_recordings_are_of_no_machine_and_as_they_are_written(name: str) -> None:
    for path in sorted((BUNDLES / name / "tests" / "recordings").iterdir()):
        text = path.read_text(encoding="utf-8")
        assert dump_tape(load_tape(text.encode(), path.name)) == text, f"{path.name} was edited by hand"
        assert not re.search(r"/(home|root|tmp|Users|work|var)/|engine-(test|view)-|\d{4}-\d\d-\d\d|zebra-", text), (
            path.name
        )
        assert str(Path.home()) not in text
        assert tempfile.gettempdir() not in text


@pytest.mark.parametrize("name", NAMES)
def test_the_cases_pass_with_the_recorded_replies(name: str, tmp_path: Path) -> None:
    """When a prompt, a tool's schema or a grammar was changed on purpose: engine test bundles/NAME --record."""
    command = [sys.executable, "-c", OFFLINE, "test", str(BUNDLES / name), "--replay", "--output-format", "json"]
    env = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": str(Path(sys.executable).parent)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        shown = subprocess.run(
            [*command[:-1], "full"], cwd=tmp_path, capture_output=True, text=True, check=False, env=env
        )
        pytest.fail(
            f"{shown.stdout}{shown.stderr[-2000:]}\nafter a change that is meant: engine test bundles/{name} --record"
        )
    assert json.loads(done.stdout)
    assert "Traceback" not in done.stderr


@pytest.mark.embedded
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_the_cases_pass_with_the_embedded_model(name: str, tmp_path: Path, weights: Path) -> None:
    (tmp_path / "engine.yaml").write_text("backend: {kind: embedded}\n")
    command = [sys.executable, "-m", "engine", "test", str(BUNDLES / name), "--concurrency", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]

"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import call, make_bundle, make_project
from scripted_server import ScriptedServer, scripted_server

from engine.backends import pull


def pytest_configure() -> None:
    """Have the programs under test heed signals, also where the tests run in the background or under nohup."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


@pytest.fixture(scope="session")
def weights() -> Path:
    """The default model's file, fetched into the user's cache on first use."""
    return pull()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that calls the tool of `bundle` at once."""
    with scripted_server() as script:
        script.text = lambda body: call("does it")
        yield script


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git repository with three functions."""
    return make_project(tmp_path / "project")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that puts a comment into a function."""
    return make_bundle(tmp_path / "note")

"""Reports as files."""

from __future__ import annotations

import contextlib
from pathlib import Path

from engine.app import App
from engine.errors import ConfigError
from engine.files.atomic import atomic_write
from engine.report.page import MARK, render
from engine.report.reading import collect
from engine.workspace import ChangeStore

_HEAD = 4096  # bytes in which a report says that it is one


def report_of(app: App, run_id: str | None) -> tuple[str, str]:
    """Return a run's full id and its page; nothing is written.

    Args:
        app: The project.
        run_id: The run; None means the newest, and a unique beginning is enough.

    Raises:
        ConfigError: There is no such run, or its log cannot be read.
    """
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(app.reader())
        full = log.resolve(run_id)
        store = ChangeStore(app.root) if (app.root / ".engine" / "changes.db").exists() else None
        if store is not None:
            stack.callback(store.close)
        return full, render(collect(log, store, full))


def write_report(page: str, path: Path, *, force: bool = False) -> None:
    """Write a page, all or none of it; an older report is replaced.

    Args:
        page: The page.
        path: The file.
        force: Replace also what is no report.

    Raises:
        ConfigError: The file is there and is no report, or it cannot be written.
    """
    if not force and path.exists() and not _is_report(path):
        raise ConfigError(f"{path} is there and is no report: choose another file with -o, or replace it with --force")
    try:
        atomic_write(path, page)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return f'<meta name="generator" content="{MARK}">'.encode() in file.read(_HEAD)
    except OSError:
        return False

"""`[tool.engine]` of a pyproject.toml as a Document, so that it is checked as engine.yaml is."""

from __future__ import annotations

import datetime as dt
import math
import re
import tomllib
from typing import Any

from engine.diagnostics import Diagnostic, Span
from engine.manifest.document import Document, JsonPath, Position, Positions

_TABLE = ("tool", "engine")


class TomlPositions(Positions):
    """Finds keys by their lines: tomllib gives no positions."""

    def __init__(self, file: str, text: str) -> None:
        super().__init__(file)
        self._lines = text.splitlines()
        self._toml_file = file

    @property
    def known(self) -> bool:
        """Whether the document could be read: always, for broken TOML makes no positions."""
        return True

    def __getitem__(self, path: JsonPath) -> Position:
        return Position(self.key(path), self.value(path))

    def __contains__(self, path: JsonPath) -> bool:
        return True

    def key(self, path: JsonPath) -> Span:
        """Return the span of the deepest key of the path that stands on a line of its own."""
        full = (*_TABLE, *(str(step) for step in path if isinstance(step, str)))
        for depth in range(len(full), 0, -1):
            span = self._find(full[: depth - 1], full[depth - 1])
            if span is not None:
                return span
        return Span(self._toml_file)

    def value(self, path: JsonPath) -> Span:
        """Return the span of the key: the value stands beside it."""
        return self.key(path)

    def _find(self, table: tuple[str, ...], key: str) -> Span | None:
        current: tuple[str, ...] = ()
        for number, line in enumerate(self._lines, 1):
            header = re.match(r"\s*\[+([^\[\]]+)\]+", line)
            if header:
                current = tuple(part.strip().strip("\"'") for part in header.group(1).split("."))
                if current == (*table, key):
                    return Span(self._toml_file, number, header.start(1) + 1, number, header.end(1) + 1)
                continue
            entry = re.match(r"\s*([\w.\"' -]+?)\s*=", line)
            if entry:
                parts = tuple(part.strip().strip("\"'") for part in entry.group(1).split("."))
                if (*current, *parts)[: len(table) + 1] == (*table, key) and len(current) <= len(table):
                    return Span(self._toml_file, number, entry.start(1) + 1, number, entry.end(1) + 1)
        return None


def read_pyproject(text: str, file: str) -> Document | None:
    """Read `[tool.engine]`; None when the file has no such table.

    A syntax error is a finding of the document.
    """
    try:
        table = tomllib.loads(text).get("tool", {}).get("engine")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"at line (\d+), column (\d+)", str(error))
        span = Span(file, int(place.group(1)), int(place.group(2))) if place else Span(file)
        finding = Diagnostic("Y001", f"not valid TOML: {error}", span, "mend the syntax")
        return Document(file, text, {}, Positions(file), (finding,))
    if table is None:
        return None
    return Document(file, text, _plain(table), TomlPositions(file, text))


def _plain(value: Any) -> Any:
    """Turn what JSON cannot say into text, which no key of the format takes for it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (dt.date, dt.time)) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value

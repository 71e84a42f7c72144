"""Turns what the sandbox raises into tool errors with the author's own file and line.

The sandbox marks limits by their message only, and a script can raise the same message. So a limit is believed when
the clock agrees (time), or when its innermost frame is neither at a `raise` of the script nor inside `eval` or `exec`,
and no external raised it (memory, suspension, recursion). What cannot be told apart: a script that burns its whole time
and then raises the message of the time limit, and one that raises such a message again after a call in a `finally`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.diagnostics import Span
from engine.errors import ToolError, ToolInputError, ToolLimitError, ToolScriptError
from engine.tools.script import Script
from engine.tools.source import Source

if TYPE_CHECKING:
    from pydantic_monty import Frame, MontyError

_LIMITS = (
    ("time", re.compile(r"(?:feed|turn) time limit exceeded")),
    ("memory", re.compile(r"memory limit exceeded|the worker exceeded its memory limit")),
    ("suspension", re.compile(r"suspension limit \d+ exceeded")),
    ("sleep", re.compile(r"(?:total )?sleep (?:time )?limit")),
    ("recursion", re.compile(r"maximum recursion depth exceeded")),
)
_TYPES: dict[str, type[BaseException] | tuple[type[BaseException], ...]] = {
    "time": TimeoutError,
    "memory": MemoryError,
    "suspension": RuntimeError,
    "sleep": (TimeoutError, RuntimeError, OSError),
    "recursion": RecursionError,
}
_ADVICE = {
    "time": "raise limits.seconds, or do less in one call",
    "memory": "raise limits.memory, or keep less at once",
    "suspension": "raise limits.suspensions, or call externals less often",
    "sleep": "do not sleep",
    "recursion": "raise limits.recursion, or use a loop",
    "wall": "raise limits.wall, or make its externals faster",
}
_NOTES = 300


@dataclass(slots=True)
class CallRecord:
    """What happened during one call.

    Attributes:
        seconds: The time limit of execution.
        elapsed: Time on the clock, in seconds.
        printed: What the script printed, bounded.
        failures: Exceptions that externals raised: the external's name and the exception, as the host saw it.
    """

    seconds: float
    elapsed: float = 0.0
    printed: str = ""
    failures: list[tuple[str, BaseException]] = field(default_factory=list)


def limit_error(script: Script, kind: str, line: int | None, detail: str) -> ToolLimitError:
    """Return the error of a limit."""
    place = f"{script.file}:{line}" if line else script.file
    return ToolLimitError(f"{place}: the script hit its {kind} limit ({detail}); {_ADVICE[kind]}", kind)


def translate(error: MontyError, script: Script, record: CallRecord) -> ToolError:
    """Return the tool error of a failed call."""
    from pydantic_monty import MontyConversionError, MontyCrashedError, MontyRuntimeError

    if isinstance(error, MontyConversionError):
        return ToolInputError(f"{script.file}: an input cannot enter the sandbox: {_short(error)}")
    if isinstance(error, MontyCrashedError):
        if getattr(error, "timed_out", False):
            return limit_error(script, "time", None, f"{record.seconds:g} s")
        return ToolScriptError(f"{script.file}: the sandbox process died: {_short(error)}")
    frames = error.traceback() if isinstance(error, MontyRuntimeError) else []
    frame = frames[-1] if frames else None
    inner = error.exception()
    kind = _limit_kind(inner, frames, script, record)
    if isinstance(inner, ValueError) and not frames:  # lone surrogates, cycles
        return ToolInputError(f"{script.file}: a value cannot enter the sandbox: {_short(inner)}")
    if kind:
        return limit_error(script, kind, _line(frames), _short(inner))
    return _script_error(inner, frame, frames, script, record)


def _limit_kind(inner: BaseException, frames: list[Frame], script: Script, record: CallRecord) -> str | None:
    text = str(inner)
    kind = next((name for name, pattern in _LIMITS if pattern.match(text)), None)
    if kind is None or not isinstance(inner, _TYPES[kind]):
        return None
    if any(str(failure) == text for _, failure in record.failures):
        return None
    if kind == "time" and record.elapsed < record.seconds * 0.9:
        return None
    return None if frames and _raised_by_script(frames[-1], script) else kind


def _raised_by_script(frame: Frame, script: Script) -> bool:
    """Say whether a frame stands where the script raises or raises again, or in code that the script made up.

    The frame of a bare `raise` is what was evaluated last, often the name behind `except`: nothing that takes memory.
    """
    if not frame.filename.startswith("<python-input-"):
        return True
    source = Source(script.code, script.file)
    place = Span(script.file, frame.line, frame.column, frame.end_line, frame.end_column)
    nodes = (part for node in ast.walk(ast.parse(script.code)) for part in _raising(node))
    return any(node.lineno == frame.line and source.span(node) == place for node in nodes)


def _raising(node: ast.AST) -> Iterator[Any]:
    """Yield where the sandbox says that a `raise` is, or a bare one behind `except` or `finally`."""
    if isinstance(node, ast.Raise):
        yield node
        if node.exc is not None:
            yield node.exc
    elif isinstance(node, ast.ExceptHandler):
        if node.type is not None:
            yield from (part for part in ast.walk(node.type) if isinstance(part, ast.expr))
        yield from _plain(node.body)
    elif isinstance(node, ast.Try):
        yield from _plain(node.finalbody)


def _plain(body: list[ast.stmt]) -> Iterator[ast.expr]:
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, (ast.Name, ast.Constant)) and not isinstance(statement, ast.AugAssign):
                yield node


def _script_error(
    inner: BaseException, frame: Frame | None, frames: list[Frame], script: Script, record: CallRecord
) -> ToolError:
    line = _line(frames)
    place = f"{script.file}:{line}" if line else script.file
    text = f"{type(inner).__name__}: {_short(inner)}" if str(inner) else type(inner).__name__
    if frame is not None and frame.filename.startswith("<string>"):
        text += " (in eval or exec)"
    return ToolScriptError(f"{place}: {text}{_cause(inner, record)}{_output(record)}", line)


def _cause(inner: BaseException, record: CallRecord) -> str:
    for name, failure in reversed(record.failures):
        if str(failure) and str(failure) in str(inner):
            return f" (raised by the external '{name}')"
    return ""


def _output(record: CallRecord) -> str:
    tail = " ".join(record.printed.split())[-_NOTES:]
    return f"; printed: {tail}" if tail else ""


def _line(frames: list[Frame]) -> int | None:
    own = [frame.line for frame in frames if frame.filename.startswith("<python-input-")]
    return own[-1] if own else None


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _NOTES * 2 else text[: _NOTES * 2] + "…"

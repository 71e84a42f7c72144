"""Type-checks scripts in the sandbox's own checker without running them.

The trick: the code is fed behind one look-up of an unknown name. The worker checks types, parses and compiles all of it
before it stops at that name; then the session is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.diagnostics import Diagnostic, Span
from engine.tools.checkcache import CheckCache, Finding
from engine.tools.declarations import GATE
from engine.tools.script import Script

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontyError, MontySession

_LIMITS: Any = {"max_feed_duration_secs": 20.0, "max_memory": 256 * 1024 * 1024, "max_recursion_depth": 200}
REQUEST_TIMEOUT = 60.0

Checked = tuple[list[Finding], bool]
"""The findings, and whether they are final: a checker that gave up may do better next time."""


class ScriptChecker:
    """Checks scripts, on all cores, and remembers what it found.

    Args:
        cache_dir: Where to remember findings; None for nowhere.
    """

    def __init__(self, cache_dir: Path | None = None) -> None:
        self._cache = CheckCache(cache_dir) if cache_dir is not None else None

    def check(self, scripts: Sequence[Script]) -> dict[str, list[Diagnostic]]:
        """Return the findings (T006, T002, T001) of each script by its file; nothing is executed."""
        keys = {script.file: _key(script) for script in scripts}
        known = self._load(sorted(set(keys.values())))
        missing = {keys[script.file]: script for script in scripts if keys[script.file] not in known}
        if missing:
            fresh = self._check_all(missing)
            known |= {key: findings for key, (findings, _) in fresh.items()}
            self._store({key: findings for key, (findings, final) in fresh.items() if final})
        return {
            script.file: [_diagnostic(script.file, item) for item in known[keys[script.file]]] for script in scripts
        }

    def _load(self, keys: Sequence[str]) -> dict[str, list[Finding]]:
        """Return what is known about these keys."""
        return self._cache.load(keys) if self._cache else {}

    def _store(self, findings: Mapping[str, list[Finding]]) -> None:
        """Remember findings that are final."""
        if self._cache:
            self._cache.store(findings)

    def _check_all(self, scripts: Mapping[str, Script]) -> dict[str, Checked]:
        """Check scripts that are not known yet, by key."""
        from pydantic_monty import Monty

        workers = min(os.cpu_count() or 1, len(scripts))
        with Monty(max_processes=workers, request_timeout=REQUEST_TIMEOUT) as pool:
            return check_in_pool(pool, scripts, workers)


def _key(script: Script) -> str:
    from pydantic_monty import __version__

    text = f"1\0{__version__}\0{script.stubs}\0{script.code}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _diagnostic(file: str, finding: Finding) -> Diagnostic:
    code, line, column, end_line, end_column, message = finding
    return Diagnostic(code, message, Span(file, line, column, end_line, end_column))


def check_in_pool(pool: Monty, scripts: Mapping[str, Script], workers: int) -> dict[str, Checked]:
    """Check scripts by key, as many at once as there are workers in the pool.

    Args:
        pool: The sandbox's workers.
        scripts: The scripts.
        workers: Their number.
    """
    if len(scripts) == 1 or workers == 1:
        return {key: check_one(pool, script) for key, script in scripts.items()}
    with ThreadPoolExecutor(workers) as threads:
        results = threads.map(lambda script: check_one(pool, script), scripts.values())
        return dict(zip(scripts, results, strict=True))


def check_one(pool: Monty, script: Script, leave: Callable[[Callable[[], None]], None] | None = None) -> Checked:
    """Check a script.

    Args:
        pool: The sandbox's workers.
        script: The script.
        leave: Takes what ends the worker's session, which takes a while; by default it is ended at once.
    """
    from pydantic_monty import MontyCrashedError, MontyError, MontyTypingError

    try:
        with ExitStack() as stack:
            checkout = pool.checkout(
                script_name="script.pym",
                limits=_LIMITS,
                type_check=True,
                type_check_stubs=script.stubs,
                type_check_format="json",
            )
            if not _reaches_gate(stack.enter_context(checkout), script.code):
                return [_gave_up("it did not stop at the gate")], False
            if leave is not None:
                leave(stack.pop_all().close)
            return [], True
    except MontyTypingError as error:
        return [_typing(item, script) for item in json.loads(error.display())], True
    except MontyCrashedError as error:
        return [_gave_up(str(error))], False
    except MontyError as error:
        return _parse_error(error), True


def _reaches_gate(session: MontySession, code: str) -> bool:
    from pydantic_monty import FunctionSnapshot, NameLookupSnapshot

    snapshot = session.feed_start(f"{GATE}\n{code}")
    while (
        isinstance(snapshot, FunctionSnapshot) and snapshot.is_os_function and snapshot.function_name == "import_stubs"
    ):
        snapshot = snapshot.resume_auto()
    return isinstance(snapshot, NameLookupSnapshot) and snapshot.variable_name == GATE


def _typing(item: dict[str, Any], script: Script) -> Finding:
    start, end = item.get("location") or {}, item.get("end_location") or {}
    line, column = int(start.get("row", 2)) - 1, int(start.get("column", 1))
    end_line, end_column = int(end.get("row", line + 1)) - 1, int(end.get("column", column))
    lines = script.code.split("\n")
    line = min(max(line, 1), len(lines))
    code = "T001" if item.get("code") == "invalid-syntax" else "T006"
    message = " ".join(str(item.get("message", "")).split())
    rule = "" if code == "T001" else f" ({item.get('code')})"
    return (code, line, column, max(end_line, line), max(end_column, 1), message + rule)


def _parse_error(error: MontyError) -> list[Finding]:
    frames = error.traceback() if hasattr(error, "traceback") else []
    inner = error.exception()
    if not frames or not isinstance(inner, (NotImplementedError, SyntaxError)):
        return [_gave_up(str(error))]
    frame = frames[-1]
    line = max(frame.line - 1, 1)
    code = "T002" if isinstance(inner, NotImplementedError) else "T001"
    end_line = max(frame.end_line - 1, line)
    return [(code, line, frame.column, end_line, frame.end_column, " ".join(str(inner).split()))]


def _gave_up(reason: str) -> Finding:
    return ("T006", 1, 1, 1, 1, f"the type checker gave up: {' '.join(reason.split())}")

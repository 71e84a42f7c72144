"""Runs scripts in the sandbox: a fresh session per call, always with limits."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Self

from engine.errors import ToolError, ToolScriptError, WorkspaceError
from engine.manifest.bundle_model import ScriptLimits
from engine.tools.failures import CallRecord, limit_error, translate
from engine.tools.script import Script, ScriptExternal
from engine.tools.values import NotJsonError, to_json

if TYPE_CHECKING:
    from pydantic_monty import AsyncMonty, AsyncMontySession

DEFAULT_LIMITS = ScriptLimits()
MAX_PRINTED = 64 * 1024
_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_CHECKOUT_TIMEOUT = 60.0
# Closing the pool races with the interpreter's exit; a pause afterwards lets its threads end.
_REST = 0.02


class ScriptRunner:
    """An async context manager over one pool of sandbox processes, opened by the first call.

    Args:
        max_processes: Scripts at once; a script holds its process while its externals wait.
    """

    def __init__(self, max_processes: int = 64) -> None:
        self._max_processes = max_processes
        self._pool: AsyncMonty | None = None
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Return the runner; the pool opens with the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pool and wait until its threads are at rest."""
        self._closed = True
        if self._pool is not None:
            self._pool = None
            await self._stack.aclose()
            await asyncio.sleep(_REST)

    async def run(
        self,
        script: Script,
        inputs: Mapping[str, Any],
        externals: Mapping[str, Callable[..., Any]],
        limits: ScriptLimits = DEFAULT_LIMITS,
    ) -> Any:
        """Run a script once and return its result as a JSON value.

        Args:
            script: The script.
            inputs: A value for each of its inputs.
            externals: Host functions; only those that the script declares are passed on.
            limits: What the call may use.

        Raises:
            ToolLimitError: It hit a limit.
            ToolScriptError: It, or an external that it called, raised; or its result is not JSON.
            ToolInputError: An input cannot enter the sandbox.
        """
        from pydantic_monty import MontyError

        record = CallRecord(limits.seconds)
        host = _Host(script, externals, record)
        began = time.monotonic()
        try:
            async with asyncio.timeout(limits.wall) as timer:
                output = await self._feed(script, inputs, host, limits)
        except MontyError as error:
            record.elapsed = time.monotonic() - began
            raise translate(error, script, record) from error
        except TimeoutError as error:
            if not timer.expired():
                message = f"{script.file}: no sandbox was free for {_CHECKOUT_TIMEOUT:g} s; lower run.concurrency"
                raise ToolScriptError(message) from error
            raise limit_error(script, "wall", None, f"{limits.wall:g} s") from error
        finally:
            host.abandon()
        try:
            return to_json(output)
        except NotJsonError as error:
            raise ToolScriptError(f"{script.file}: the result is not JSON: {error}") from error

    async def _feed(self, script: Script, inputs: Mapping[str, Any], host: _Host, limits: ScriptLimits) -> Any:
        pool = self._pool or await self._open()
        checkout = pool.checkout(limits=_monty_limits(limits), os_policy={"sleep": "zero"})
        async with checkout as session:
            if host.synchronous:
                return await _drive(session, script, inputs, host)
            return await session.feed_run(
                script.code, inputs=dict(inputs), external_lookup=host.functions, print_callback=host.print
            )

    async def _open(self) -> AsyncMonty:
        from pydantic_monty import AsyncMonty

        async with self._opening:
            if self._closed:
                raise RuntimeError("the runner is closed")
            if self._pool is None:
                pool = AsyncMonty(
                    min_processes=1, max_processes=self._max_processes, checkout_timeout=_CHECKOUT_TIMEOUT
                )
                self._pool = await self._stack.enter_async_context(pool)
                _rest_at_exit()
            return self._pool


async def _drive(session: AsyncMontySession, script: Script, inputs: Mapping[str, Any], host: _Host) -> Any:
    """Run a script that declares externals with plain `def`: such a call is awaited here, the script gets its value."""
    from pydantic_monty import AsyncFunctionSnapshot, MontyComplete

    snapshot: Any = await session.feed_start(
        script.code, inputs=dict(inputs), external_lookup=host.functions, print_callback=host.print
    )
    while not isinstance(snapshot, MontyComplete):
        function = None
        if isinstance(snapshot, AsyncFunctionSnapshot) and not snapshot.is_os_function:
            function = host.synchronous.get(str(snapshot.function_name))
        if function is None:
            snapshot = await snapshot.resume_auto()
            continue
        try:
            answer: Any = {"return_value": await function(*snapshot.args, **snapshot.kwargs)}
        except Exception as error:  # noqa: BLE001 - whatever an external raises belongs to the script
            answer = {"exception": error}
        snapshot = await snapshot.resume(answer)
    return snapshot.output


class _Host:
    """The host's side of one call: the declared externals, wrapped, and what the script prints."""

    def __init__(self, script: Script, externals: Mapping[str, Callable[..., Any]], record: CallRecord) -> None:
        self._record = record
        self._owner = asyncio.current_task()
        self._waiting: set[asyncio.Task[Any]] = set()
        self.functions: dict[str, Callable[..., Any]] = {}
        self.synchronous: dict[str, Callable[..., Awaitable[Any]]] = {}
        for declared in script.externals:
            self._add(script, declared, externals)

    def _add(self, script: Script, declared: ScriptExternal, externals: Mapping[str, Callable[..., Any]]) -> None:
        if declared.name not in externals:
            message = f"{script.file}:{declared.span.line}: the external '{declared.name}' is not provided here"
            raise ToolScriptError(message, declared.span.line)
        wrapped = partial(_invoke, declared.name, externals[declared.name], self._record)
        self.functions[declared.name] = self._tracked(wrapped)
        if not declared.is_async:
            self.synchronous[declared.name] = wrapped

    def _tracked(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def external(*args: Any, **named: Any) -> Any:
            task = asyncio.current_task()
            if task is None or task is self._owner:
                return await function(*args, **named)
            self._waiting.add(task)
            try:
                return await function(*args, **named)
            finally:
                self._waiting.discard(task)

        return external

    def abandon(self) -> None:
        """Cancel the externals that still wait: the script that called them is gone."""
        for task in tuple(self._waiting):
            task.cancel()

    def print(self, _stream: str, text: str) -> None:
        """Keep what the script prints, up to 64 KiB."""
        room = MAX_PRINTED - len(self._record.printed)
        if room > 0:
            self._record.printed += text[:room]


async def _invoke(name: str, function: Callable[..., Any], record: CallRecord, /, *args: Any, **named: Any) -> Any:
    """Call an external; what it raises is recorded, and reaches the script as a builtin exception that it can catch."""
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **named)
        result = await asyncio.to_thread(_in_thread, function, *args, **named)
        return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        record.failures.append((name, error))
        raise RuntimeError(f"the external '{name}' was cancelled") from error
    except Exception as error:
        record.failures.append((name, error))
        raise _crossing(error) from error


def _in_thread(function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
    try:
        return function(*args, **named)
    except StopIteration as error:  # asyncio would wait forever
        raise RuntimeError(f"StopIteration: {error}") from error


def _crossing(error: Exception) -> Exception:
    """Return the builtin exception that a script sees."""
    from engine.errors import PermissionDenied

    if isinstance(error, PermissionDenied):
        return PermissionError(str(error))
    if isinstance(error, WorkspaceError):
        return OSError(str(error))
    if isinstance(error, ToolError):
        return RuntimeError(str(error))
    return error


@lru_cache(maxsize=256)
def _limit_items(limits: ScriptLimits) -> tuple[tuple[str, float], ...]:
    size, unit = limits.memory[:-3], limits.memory[-3:]
    return (
        ("max_feed_duration_secs", limits.seconds),
        ("max_turn_duration_secs", limits.seconds),
        ("max_memory", int(size) * _UNITS[unit]),
        ("max_recursion_depth", limits.recursion),
        ("max_suspensions", limits.suspensions),
        ("max_total_sleep_secs", 1.0),
    )


def _monty_limits(limits: ScriptLimits) -> Any:
    return dict(_limit_items(limits))


@lru_cache(maxsize=1)
def _rest_at_exit() -> None:
    """For programs that end without closing the runner."""
    atexit.register(time.sleep, _REST)

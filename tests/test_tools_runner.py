"""Running scripts: results, externals of both kinds, limits, failures with the author's own lines, cancellation."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.errors import (
    ConflictError,
    PermissionDenied,
    ToolError,
    ToolInputError,
    ToolLimitError,
    ToolScriptError,
    WorkspaceError,
)
from engine.manifest.bundle_model import ScriptLimits
from engine.tools import Script, ScriptRunner, parse_script

HEAD = "from grail import Input, external\n"
ASYNC = HEAD + "@external\nasync def ask(x: int) -> int: ...\n"
SYNC = HEAD + "@external\ndef ask(x: int) -> int: ...\n"
QUICK = ScriptLimits(seconds=0.3, suspensions=50)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner() -> AsyncIterator[ScriptRunner]:
    async with ScriptRunner() as opened:
        yield opened


pytestmark = pytest.mark.asyncio(loop_scope="module")


def script(text: str) -> Script:
    result = parse_script(text, "tools/demo.pym")
    assert result.script is not None, result.diagnostics
    return result.script


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return x * 2


def triple(x: int) -> int:
    return x * 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 1", 2),
        ("{'a': [1, 2.5, None, True, 'é\\n']}", {"a": [1, 2.5, None, True, "é\n"]}),
        ("(1, (2,))", [1, [2]]),
        ("{3, 1, 2}", [1, 2, 3]),
        ("x = 1", None),
        ("from decimal import Decimal\nDecimal('1.50')", "1.50"),
        ("import datetime\ndatetime.date(2020, 1, 2)", "2020-01-02"),
        ("from pathlib import Path\nPath('a/b')", "a/b"),
        ("class A:\n    def __init__(self) -> None:\n        self.x = (1,)\nA()", {"x": [1]}),
        ("10 ** 40", 10**40),
        ("'<class x'", "<class x"),
        ("import time\ntime.sleep(5)\n'woke'", "woke"),
    ],
)
async def test_results_become_json(runner: ScriptRunner, text: str, value: object) -> None:
    assert await runner.run(script(text), {}, {}) == value


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("float('nan')", "nan has no JSON form"),
        ("[1e999]", "inf has no JSON form"),
        ("b'bytes'", "type bytes"),
        ("{1: 2}", "the key 1 of a dict is not a text"),
        ("1j", "type complex"),
        ("def f(): ...\nf", "is not data"),
        ("x = []\nfor i in range(500): x = [x]\nx", "nested more than 64"),
        ("['a' * 1_000_000] * 9", "larger than"),
        ("10 ** 9999", "more than 8192 bits"),
    ],
)
async def test_results_that_are_not_json_are_errors(runner: ScriptRunner, text: str, part: str) -> None:
    limits = ScriptLimits(memory="512MiB")
    with pytest.raises(ToolScriptError, match=r"tools/demo\.pym: the result is not JSON") as caught:
        await runner.run(script(text), {}, {}, limits)
    assert part in str(caught.value)


async def test_a_forgotten_await_says_so(runner: ScriptRunner) -> None:
    with pytest.raises(ToolScriptError, match="needs await"):
        await runner.run(script(ASYNC + "x = ask(1)\nx"), {}, {"ask": double})


@pytest.mark.parametrize("head", [ASYNC, SYNC])
@pytest.mark.parametrize("implementation", [double, triple])
async def test_declared_and_implemented_kinds_may_differ(runner: ScriptRunner, head: str, implementation: Any) -> None:
    call = "await ask" if head is ASYNC else "ask"
    text = f"{head}total = 0\nfor i in range(3):\n    total += {call}(x=i)\ntotal + {call}(10)"
    assert await runner.run(script(text), {}, {"ask": implementation}) == (39 if implementation is triple else 26)


async def test_externals_of_both_kinds_in_one_script(runner: ScriptRunner) -> None:
    text = (
        ASYNC
        + "@external\ndef tell(x: int) -> int: ...\nimport asyncio\n"
        + "[tell(1), *await asyncio.gather(ask(2), ask(3)), tell(4)]"
    )
    assert await runner.run(script(text), {}, {"ask": double, "tell": double}) == [2, 4, 6, 8]
    assert await runner.run(script(text), {}, {"ask": triple, "tell": triple}) == [3, 6, 9, 12]


async def test_gathered_externals_run_at_the_same_time(runner: ScriptRunner) -> None:
    waiting = 0
    most = 0

    async def slow(x: int) -> int:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.05)
        waiting -= 1
        return x

    text = ASYNC + "import asyncio\nawait asyncio.gather(*[ask(i) for i in range(5)])"
    assert await runner.run(script(text), {}, {"ask": slow}) == [0, 1, 2, 3, 4]
    assert most == 5


async def test_a_blocking_external_does_not_block_the_loop(runner: ScriptRunner) -> None:
    def slow(x: int) -> int:
        time.sleep(0.3)
        return x

    ticks = 0
    task = asyncio.ensure_future(runner.run(script(SYNC + "ask(7)"), {}, {"ask": slow}))
    while not task.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert (await task, ticks > 10) == (7, True)


async def test_a_busy_script_does_not_block_the_loop(runner: ScriptRunner) -> None:
    turns = 0
    task = asyncio.ensure_future(runner.run(script("while True: pass\n1"), {}, {}, ScriptLimits(seconds=0.5)))
    while not task.done():
        await asyncio.sleep(0.005)
        turns += 1
    with pytest.raises(ToolLimitError):
        await task
    assert turns > 20


async def test_only_declared_externals_are_passed(runner: ScriptRunner) -> None:
    with pytest.raises(ToolScriptError, match="NameError: name 'secret' is not defined"):
        await runner.run(script("x = 1\nsecret(x)"), {}, {"secret": double})
    with pytest.raises(ToolScriptError, match=r"tools/demo\.pym:3: the external 'ask' is not provided here"):
        await runner.run(script(ASYNC + "1"), {}, {"other": double})


async def test_inputs_reach_the_script_and_cannot_be_anything(runner: ScriptRunner) -> None:
    text = HEAD + 'a: list[int] = Input("a")\nb: str = Input("b")\n[b, sum(a)]'
    assert await runner.run(script(text), {"a": [1, 2], "b": "é"}, {}) == ["é", 3]
    with pytest.raises(ToolInputError, match="cannot enter the sandbox"):
        await runner.run(script(text), {"a": object(), "b": ""}, {})


async def test_each_call_is_fresh(runner: ScriptRunner) -> None:
    assert await runner.run(script("leak = 5\nleak"), {}, {}) == 5
    with pytest.raises(ToolScriptError, match="NameError"):
        await runner.run(script("leak"), {}, {})


# -- failures


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("x = 1\n\n1 / 0\nx", "tools/demo.pym:3: ZeroDivisionError: division by zero", 3),
        ("def f(é):\n    return é['x']\nf({})", "tools/demo.pym:2: KeyError: 'x'", 2),
        ("raise ValueError('né')\n1", "tools/demo.pym:1: ValueError: né", 1),
        ("raise SystemExit('bye')\n1", "tools/demo.pym:1: SystemExit: bye", 1),
        ("import os\nos.environ['HOME']", "tools/demo.pym:2: RuntimeError", 2),
        ("eval('1 / 0')", "tools/demo.pym:1: ZeroDivisionError: division by zero (in eval or exec)", 1),
        ("print('seen', 3)\n1 / 0", "tools/demo.pym:2: ZeroDivisionError: division by zero; printed: seen 3", 2),
        (ASYNC + "\n\n1 / 0", "tools/demo.pym:6: ZeroDivisionError", 6),
    ],
)
async def test_failures_name_the_authors_line(runner: ScriptRunner, text: str, message: str, line: int) -> None:
    with pytest.raises(ToolScriptError) as caught:
        await runner.run(script(text), {}, {"ask": double})
    assert str(caught.value).startswith(message)
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", [ASYNC, SYNC])
@pytest.mark.parametrize(
    ("error", "caught_as"),
    [
        (PermissionDenied("permissions.write does not allow a.py"), "PermissionError"),
        (WorkspaceError("a.py leaves the project"), "OSError"),
        (ConflictError("a.py changed"), "OSError"),
        (FileNotFoundError("no a.py"), "FileNotFoundError"),
        (ValueError("bad"), "ValueError"),
        (TimeoutError("slow"), "TimeoutError"),
    ],
)
async def test_what_an_external_raises_can_be_caught(
    runner: ScriptRunner, head: str, error: Exception, caught_as: str
) -> None:
    def fail(x: int) -> int:
        raise error

    call = "await ask(1)" if head is ASYNC else "ask(1)"
    caught = await runner.run(
        script(f"{head}try:\n    {call}\nexcept {caught_as} as e:\n    r = str(e)\nr"), {}, {"ask": fail}
    )
    assert str(error) in caught
    with pytest.raises(ToolScriptError, match=r"tools/demo\.pym:4: .*\(raised by the external 'ask'\)") as failed:
        await runner.run(script(f"{head}{call}"), {}, {"ask": fail})
    assert str(error) in str(failed.value)


@pytest.mark.parametrize("head", [ASYNC, SYNC])
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    "error", [StopIteration("end"), asyncio.CancelledError(), RecursionError("deep"), StopAsyncIteration()]
)
async def test_odd_exceptions_of_externals(
    runner: ScriptRunner, head: str, is_async: bool, error: BaseException
) -> None:
    def fail(x: int) -> int:
        raise error

    async def fail_later(x: int) -> int:
        raise error

    text = head + ("await ask(1)" if head is ASYNC else "ask(1)")
    with pytest.raises(ToolError):
        await runner.run(script(text), {}, {"ask": fail_later if is_async else fail}, ScriptLimits(wall=2))
    assert await runner.run(script("1"), {}, {}) == 1


async def test_text_that_is_not_unicode_cannot_enter(runner: ScriptRunner) -> None:
    with pytest.raises(ToolInputError, match="cannot enter the sandbox"):
        await runner.run(script(HEAD + 'a: str = Input("a")\na'), {"a": "\ud800"}, {})


async def test_an_external_that_returns_no_data(runner: ScriptRunner) -> None:
    with pytest.raises(ToolScriptError, match="TypeError"):
        await runner.run(script(SYNC + "ask(1)"), {}, {"ask": lambda x: object()})


# -- limits


LIMITS = [
    ("while True: pass\n1", "time"),
    ("try:\n    while True: pass\nexcept BaseException:\n    1\n1", "time"),
    ("try:\n    1\nfinally:\n    while True: pass\n1", "time"),
    ("import math\nmath.factorial(10 ** 6)\n1", "time"),
    ("for i in range(10 ** 9): print('x' * 1000)\n1", "time"),
    ("'a' * 10 ** 12", "memory"),
    ("2 ** (10 ** 9)", "memory"),
    ("9 ** 9 ** 9", "memory"),
    ("x = []\nwhile True: x.append('a' * 1000)\nx", "memory"),
    ("x = 'a'\nwhile True: x += x\nx", "memory"),
    ("d = {}\nfor i in range(10 ** 9): d[i] = str(i)\nd", "memory"),
    ("f'{1:>{10 ** 10}}'", "memory"),
    ("import itertools\nlist(itertools.count())", "memory"),
    ("'a' * (20 << 20)", "memory"),
    ("raise ValueError('a' * 10 ** 12)\n1", "memory"),
    ("try:\n    'a' * 10 ** 12\nexcept BaseException:\n    1\n1", "memory"),
    ("def f(): return f()\nf()", "recursion"),
    (SYNC + "for i in range(100): ask(i)\n1", "suspension"),
    (ASYNC + "try:\n    for i in range(100): await ask(i)\nexcept BaseException:\n    1\n1", "suspension"),
]


@pytest.mark.parametrize(("text", "kind"), LIMITS, ids=[text[:40] for text, _ in LIMITS])
async def test_limits(runner: ScriptRunner, text: str, kind: str) -> None:
    with pytest.raises(ToolLimitError, match=r"tools/demo\.pym(:\d+)?: the script hit its") as caught:
        await runner.run(script(text), {}, {"ask": triple}, ScriptLimits(seconds=0.5, suspensions=50))
    assert caught.value.kind == kind
    assert await runner.run(script("1"), {}, {}) == 1


async def test_wall_time_counts_externals(runner: ScriptRunner) -> None:
    async def stuck(x: int) -> int:
        await asyncio.sleep(30)
        return x

    began = time.monotonic()
    with pytest.raises(ToolLimitError) as caught:
        await runner.run(script(ASYNC + "await ask(1)"), {}, {"ask": stuck}, ScriptLimits(wall=0.2))
    assert (caught.value.kind, time.monotonic() - began < 3) == ("wall", True)
    assert await runner.run(script("1"), {}, {}) == 1


SPOOFS = [
    "raise TimeoutError('feed time limit exceeded: 1.00s > 1s')\n1",
    "e = TimeoutError('feed time limit exceeded: 1.00s > 1s')\nraise e\n1",
    "raise MemoryError('memory limit exceeded: 33580041 bytes > 33554432 bytes')\n1",
    "é = 1; raise MemoryError('memory limit exceeded: 2 bytes > 1 bytes')\n1",
    "def f():\n    raise MemoryError('the worker exceeded its memory limit and was terminated')\nf()",
    "try:\n    raise MemoryError('memory limit exceeded: 2 bytes > 1 bytes')\nexcept MemoryError:\n    raise\n1",
    "try:\n    raise MemoryError('memory limit exceeded: 2 bytes > 1 bytes')\nexcept MemoryError as e:\n    raise e\n1",
    "try:\n    int('')\nexcept ValueError as e:\n    raise MemoryError('memory limit exceeded: 2 bytes > 1') from e\n1",
    "raise RuntimeError('suspension limit 1000 exceeded')\n1",
    "raise RecursionError('maximum recursion depth exceeded')\n1",
    "exec(\"raise MemoryError('memory limit exceeded: 2 bytes > 1 bytes')\")\n1",
    "raise ValueError('memory limit exceeded: 2 bytes > 1 bytes')\n1",
]


@pytest.mark.parametrize("text", SPOOFS)
async def test_a_script_cannot_pretend_to_hit_a_limit(runner: ScriptRunner, text: str) -> None:
    with pytest.raises(ToolScriptError):
        await runner.run(script(text), {}, {})


@pytest.mark.parametrize("head", [ASYNC, SYNC])
@pytest.mark.parametrize(
    "error",
    [TimeoutError("feed time limit exceeded: 1s > 1s"), MemoryError("memory limit exceeded: 2 bytes > 1 bytes")],
)
async def test_an_external_cannot_pretend_either(runner: ScriptRunner, head: str, error: Exception) -> None:
    def fail(x: int) -> int:
        raise error

    with pytest.raises(ToolScriptError, match="raised by the external 'ask'"):
        await runner.run(script(head + ("await ask(1)" if head is ASYNC else "ask(1)")), {}, {"ask": fail})


# -- life


@pytest.mark.parametrize("text", ["while True: pass\n1", ASYNC + "await ask(1)", SYNC + "ask(1)"])
async def test_cancellation_leaves_the_pool_healthy(runner: ScriptRunner, text: str) -> None:
    async def stuck(x: int) -> int:
        await asyncio.sleep(30)
        return x

    for _ in range(5):
        task = asyncio.ensure_future(runner.run(script(text), {}, {"ask": stuck}))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.gather(*[runner.run(script("1 + 1"), {}, {}) for _ in range(100)]) == [2] * 100


async def test_cancellation_reaches_a_waiting_external(runner: ScriptRunner) -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def stuck(x: int) -> int:
        started.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return x

    task = asyncio.ensure_future(runner.run(script(ASYNC + "await ask(1)"), {}, {"ask": stuck}))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 2)


async def test_many_at_once_with_slow_externals(runner: ScriptRunner) -> None:
    async def slow(x: int) -> int:
        await asyncio.sleep(0.05)
        return x

    one = script(ASYNC + "await ask(1) + await ask(2)")
    assert await asyncio.gather(*[runner.run(one, {}, {"ask": slow}) for _ in range(60)]) == [3] * 60


async def test_a_closed_runner_refuses() -> None:
    async with ScriptRunner() as closed:
        assert await closed.run(script("1"), {}, {}) == 1
    with pytest.raises(RuntimeError, match="closed"):
        await closed.run(script("1"), {}, {})


async def test_a_runner_that_ran_nothing_starts_no_process() -> None:
    before = threading.active_count()
    async with ScriptRunner():
        assert threading.active_count() == before


EXITS = """
import asyncio
from engine.tools import ScriptRunner, parse_script
script = parse_script("1 + 1", "x.pym").script
async def main():
    async with ScriptRunner() as runner:
        print(await runner.run(script, {}, {}))
asyncio.run(main())
"""
LEAKS = EXITS.replace(
    "    async with ScriptRunner() as runner:\n        print",
    "    runner = ScriptRunner()\n    if True:\n        print",
)


@pytest.mark.parametrize("program", [EXITS, LEAKS], ids=["closed", "left open"])
async def test_programs_end_cleanly(program: str) -> None:
    for _ in range(6):
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


async def test_existing_scripts_run(runner: ScriptRunner) -> None:
    folder = Path(__file__).parent / "pym"
    seen: list[Any] = []

    async def record(*args: Any, **named: Any) -> bool:
        seen.append((args, named))
        return True

    async def search(pattern: str, glob: str) -> list[dict[str, Any]]:
        return [{"path": f"{pattern}.py"}] if glob == "**/*.py" else []

    source = "def area(w: int, h: int = 2) -> int:\n    return w * h"
    files = {"a.txt": "one two two", "b.txt": "three"}
    externals = {
        "get_node_metadata": lambda: {"name": "area"},
        "get_node_source": lambda: source,
        "replace_node": record,
        "submit_result": record,
        "search": search,
        "file_exists": lambda path: path in files,
        "read_file": lambda path: files[path],
        "run_json_command": lambda cmd, args: [
            {"code": "F401", "location": {"row": 3}, "message": "unused", "fix": {}}
        ],
    }

    async def go(name: str, **inputs: Any) -> Any:
        parsed = parse_script((folder / f"{name}.pym").read_text(), f"{name}.pym").script
        assert parsed is not None
        defaults = {item.name: item.default for item in parsed.inputs if not item.required}
        return await runner.run(parsed, defaults | inputs, externals)

    hints = await go("read_type_hints", node_text=source, include_defaults=True)
    assert hints["result"]["parameters"][1] == {"name": "h", "annotation": "int", "default": "2"}
    assert hints["summary"] == "area: 2 parameters"
    assert (await go("write_docstring", docstring="The area."))["outcome"] == "success"
    assert seen.pop() == (('def area(w: int, h: int = 2) -> int:\n    """The area."""\n    return w * h',), {})
    assert (await go("run_linter", file_path="a.py"))["result"]["issues"][0]["fixable"] is True
    assert (await go("sync_reader", paths=["a.txt", "none", "b.txt"]))["result"] == {"one": 1, "two": 2, "three": 1}
    samples = await go("fixture_data", parameters=[{"name": "n", "annotation": "int"}], overrides={"x": None})
    assert samples == [{"n": 1, "x": None}, {"n": 8, "x": None}]
    assert seen.pop() == ((), {"summary": "2 samples", "changed_files": []})
    assert (await go("gather", patterns=["a", "b"]))["result"] == {"a": ["a.py"], "b": ["b.py"]}
    assert await go("no_declarations") == pytest.approx(4.146)
    with pytest.raises(ToolError, match=r"umlaut\.pym:9: ValueError"):
        await go("umlaut", text="x")
    assert await go("umlaut", text="2") == {"result": 0.5}

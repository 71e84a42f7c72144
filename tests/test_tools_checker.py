"""The type check: exact places, nothing executed, and a cache that survives anything."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from engine.tools import Script, ScriptChecker, parse_script

PYM = Path(__file__).parent / "pym"
HEAD = "from grail import Input, external\n"


def parsed(text: str, file: str = "tools/demo.pym") -> Script:
    result = parse_script(text, file)
    assert result.script is not None, result.diagnostics
    return result.script


def check(text: str) -> list[str]:
    script = parsed(text)
    found = ScriptChecker().check([script])[script.file]
    return [f"{item.span.line}:{item.span.column}-{item.span.end_column} {item.code} {item.message}" for item in found]


def test_existing_scripts_have_the_right_types() -> None:
    scripts = [parsed(path.read_text(), str(path)) for path in sorted(PYM.glob("*.pym"))]
    assert ScriptChecker().check(scripts) == {script.file: [] for script in scripts}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("é = 'é'; é.foo\n1\n", '1:10-15 T006 Object of type `Literal["é"]` has no attribute `foo`'),
        (HEAD + 'a: int = Input("a")\na.foo\n', "3:1-6 T006 Object of type `int` has no attribute `foo`"),
        (
            HEAD + "@external\nasync def read_file(path: str) -> str: ...\nx = await read_file(3)\nx\n",
            "4:21-22 T006 Argument to function `read_file` is incorrect: Expected `str`, found `Literal[3]`",
        ),
        ("nope\n", "1:1-5 T006 Name `nope` used when not defined"),
        ("from json import nope\n1\n", "1:18-22 T006 Module `json` has no member `nope`"),
        ("return 1\n1\n", "1:1-9 T001 `return` statement outside of a function"),
        ("def f(a, a):\n    return a\nf(1, 2)\n", "1:10-11 T001"),
        (
            "async def f(é):\n    é = é; return [i async for i in é]\nf\n",
            "2:22-38 T002 The monty syntax parser does not yet support async comprehensions",
        ),
    ],
)
def test_findings_have_the_authors_places(text: str, expected: str) -> None:
    found = check(text)
    assert found, "no finding"
    assert found[0].startswith(expected)


def test_nothing_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    text = (
        HEAD + "@external\nasync def write_file(path: str, content: str) -> bool: ...\n"
        f"await write_file({str(marker)!r}, 'x')\nprint('printed')\nwhile True:\n    pass\n1\n"
    )
    assert check(text) == []
    assert not marker.exists()


def test_several_scripts_are_reported_by_their_own_file() -> None:
    scripts = [parsed("nope\n", "a.pym"), parsed("nope\n", "b.pym"), parsed("1\n", "c.pym")]
    found = ScriptChecker().check(scripts)
    assert {file: [item.span.file for item in items] for file, items in found.items()} == {
        "a.pym": ["a.pym"],
        "b.pym": ["b.pym"],
        "c.pym": [],
    }
    assert ScriptChecker().check([]) == {}


def scripts_of(count: int) -> list[Script]:
    return [parsed(f"x = {number}\nx + nope{number}\n", f"{number}.pym") for number in range(count)]


def test_the_cache_spares_the_check(tmp_path: Path) -> None:
    scripts = scripts_of(20)
    first = ScriptChecker(tmp_path).check(scripts)
    assert all(len(items) == 1 for items in first.values())
    assert ScriptChecker(tmp_path).check(scripts) == first
    with closing(sqlite3.connect(tmp_path / "script-checks.sqlite3")) as database, database:
        database.execute("UPDATE checks SET findings = '[]'")
    assert ScriptChecker(tmp_path).check(scripts) == {script.file: [] for script in scripts}


def test_a_changed_script_is_checked_again(tmp_path: Path) -> None:
    checker = ScriptChecker(tmp_path)
    assert checker.check([parsed("nope\n", "a.pym")])["a.pym"] != []
    assert checker.check([parsed("1\n", "a.pym")])["a.pym"] == []
    head = "from grail import Input\n"
    assert checker.check([parsed(head + 'a: str = Input("a")\na.upper()\n', "a.pym")])["a.pym"] == []
    assert checker.check([parsed(head + 'a: int = Input("a")\na.upper()\n', "a.pym")])["a.pym"] != []


@pytest.mark.parametrize(
    "damage",
    [b"", b"not a database at all, but long enough to be read as one" * 40, b"SQLite format 3\0" + b"x" * 4096],
)
def test_a_broken_cache_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    scripts = scripts_of(2)
    expected = ScriptChecker().check(scripts)
    checker = ScriptChecker(tmp_path)
    checker.check(scripts)
    [file] = tmp_path.iterdir()
    file.write_bytes(damage)
    assert checker.check(scripts) == expected
    assert checker.check(scripts) == expected


def test_broken_rows_are_checked_again(tmp_path: Path) -> None:
    scripts = scripts_of(2)
    expected = ScriptChecker(tmp_path).check(scripts)
    [file] = tmp_path.iterdir()
    with sqlite3.connect(file) as database:
        database.execute("UPDATE checks SET findings = '[[1, 2]]'")
    database.close()
    assert ScriptChecker(tmp_path).check(scripts) == expected


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    scripts = scripts_of(1)
    assert ScriptChecker(blocked / "below").check(scripts) == ScriptChecker().check(scripts)


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    from engine.tools import checkcache

    cache = checkcache.CheckCache(tmp_path)
    cache.store({f"old{number}": [] for number in range(checkcache.MAX_ROWS)})
    time.sleep(0.01)
    cache.store({f"new{number}": [] for number in range(10)})
    assert len(cache.load([f"new{number}" for number in range(10)])) == 10
    assert len(cache.load([f"old{number}" for number in range(checkcache.MAX_ROWS)])) == checkcache.MAX_ROWS - 10


def test_a_script_that_the_checker_cannot_finish_is_a_finding() -> None:
    found = check("x = " + "[" * 150 + "1" + "]" * 150 + "\nx\n")
    assert all(" T00" in item for item in found)

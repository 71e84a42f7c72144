"""Every benchmark runs at its smallest size and fills all of its rows; how fast anything is, is not judged here."""

from __future__ import annotations

import dataclasses
import json
import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, main, measure
from tests.benchmarks.harness import Aim, Row, Sample, Scale, in_turns
from tests.benchmarks.report import BEGIN, END, text_table, write_between_markers
from tests.benchmarks.servers import VLLM_URL

ROWS = {
    "startup": ["engine --help", "import engine", "validate, cached", "validate, no cache"],
    "validation": [
        "1 bundle, cold, CPU per bundle",
        "1 bundle, cold, wall per bundle",
        "1 bundle, unchanged, the whole command",
        "3 bundles, cold, CPU per bundle",
        "3 bundles, cold, wall per bundle",
        "3 bundles, unchanged, the whole command",
    ],
    "reload": [
        f"{kind}, {way}: {part}"
        for kind in ("prompt", "manifest", "script")
        for way in ("in place", "atomic")
        for part in ("p50", "p99")
    ],
    "discovery": [
        "MB per CPU second",
        "MB per wall second",
        "MB per CPU second",
        "MB per wall second",
        "longest stall",
    ],
    "toolcall": ["one call, beside bare AsyncMonty", "one call, beside bare Monty (sync)"],
    "run": ["one after the other"] * 4 + ["64 at once"] * 4,
    "grammar": [
        f"{tools}, {mode}: {figure}"
        for tools in ("1 tool", "5 tools", "50 tools")
        for mode in ("ebnf", "structural_tag")
        for figure in (
            "build",
            "build again",
            "first compile",
            "compile for other",
            "build and first",
            "one token's mask",
        )
    ],
    "constrained": [
        *(f"llama.cpp, {at_once} at once, ebnf" for at_once in (1, 2)),
        *(f"vLLM, {at_once} at once, {mode}" for at_once in (1, 8) for mode in ("ebnf", "structural_tag")),
    ],
    "throughput": [
        f"{server}, {at_once} at once: {figure}"
        for server in ("vLLM", "llama.cpp")
        for at_once in (1, 4, 16)
        for figure in ("the whole command", "after its start-up", "start-up and end", "CPU per request")
    ],
    "embedded": ["one request at a time"] * 2 + ["requests at once"] * 2,
    "watching": [
        "plan of 200 tasks at a run's start",
        "plan of 200 tasks, every prompt rendered",
        "--changed-since, 20 files",
        "an event, summed up",
        "engine top, attaching to a run of 500 tasks",
        "a frame of the live view, 64 tasks in flight of 10,000",
    ],
    "tasks": [
        f"{way}, {at_once} at once, beside {peer}"
        for way in ("plain", "streaming")
        for at_once in (1, 64)
        for peer in ("openai SDK", "openai[aiohttp], raw responses", "Pydantic AI", "LangGraph")
    ],
    "cached": ["engine run, 40 tasks, all from the cache", "CPU of it"],
    "resume": ["200 tasks, 20 left"],
    "memory": ["peak of a run of 200 tasks"],
    "eventlog": [
        "events per second, until stored",
        "CPU per event",
        "append, as its caller sees it",
        "events per second, with the rows of their tasks",
        "CPU per event, with the rows of their tasks",
        "plan of 100,000 tasks, until stored",
        "plan of 100,000 tasks, as its caller sees it",
    ],
}

PEERS = {"Pydantic AI": "pydantic_ai", "LangGraph": "langgraph"}
NEED_A_MODEL = ("embedded", "grammar", "constrained", "throughput")


def check(name: str) -> None:
    rows = measure(name, Scale(quick=True))
    assert len(rows) == len(ROWS[name])
    for row, expected in zip(rows, ROWS[name], strict=True):
        assert expected in row.name
        if not find_spec(PEERS.get(row.peer or "", "engine")) or row.name.startswith("vLLM"):
            assert row.ours is None
            assert "left out" in row.note
            continue
        figures = [row.ours] if row.name.endswith("start-up and end") else [row.ours, row.other]
        assert all(value is not None and math.isfinite(value) and value > 0 for value in figures), row
        assert row.aim is None or row.met is not None


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in NEED_A_MODEL])
def test_benchmark_fills_its_rows(name: str) -> None:
    check(name)


@pytest.mark.embedded
@pytest.mark.parametrize("name", ["embedded", "constrained", "throughput"])
def test_benchmark_of_a_model_fills_its_rows(name: str, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The rows of vLLM are filled in tests/vllm, where there is a server.
    monkeypatch.setenv("ENGINE_SKIP_VLLM", "1")
    monkeypatch.delenv(VLLM_URL, raising=False)
    check(name)


@pytest.mark.embedded
@pytest.mark.xgrammar
def test_grammar_benchmark_fills_its_rows(weights: Path) -> None:
    check("grammar")


@pytest.mark.parametrize(
    ("aim", "ours", "other", "met"),
    [
        (Aim("ratio", "<=", 1.3), 13.0, 10.0, True),
        (Aim("ratio", "<=", 1.3), 13.1, 10.0, False),
        (Aim("ratio", ">=", 0.8), 7.9, 10.0, False),
        (Aim("ours", "<=", 150), 150.0, None, True),
        (Aim("over", "<=", 1), 2.5, 1.0, False),
        (Aim("over", "<=", 1), 1.5, 1.0, True),
    ],
)
def test_aims(aim: Aim, ours: float, other: float | None, met: bool) -> None:
    row = Row("b", "n", "ms", "p", ours, other, aim)
    assert row.met is met
    assert row.as_json()["met"] is met


def test_candidates_take_turns_and_the_warm_up_is_thrown_away() -> None:
    order: list[str] = []

    def candidate(name: str) -> Sample:
        order.append(name)
        return Sample(wall=len(order), cpu=0)

    samples = in_turns({"a": lambda: candidate("a"), "b": lambda: candidate("b")}, 2)
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert [sample.wall for sample in samples["a"]] == [3, 6]


def test_tables_say_which_aims_are_missed(tmp_path: Path) -> None:
    rows = [
        Row("B", "good", "ms", "floor", 1.0, 1.0, Aim("ratio", "<=", 1.3)),
        Row("B", "bad", "ms", "floor", 1234.5, 1.0, Aim("ratio", "<=", 1.3), "why"),
        Row("B", "absent", "ms", "peer", None, None, Aim("ratio", "<=", 1.3), "not there"),
    ]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    write_between_markers(page, rows)
    text = page.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| bad | ms | 1 234 | floor | 1 | 1234.50 | ≤ 1.3 times | **no** |" in text
    assert "| absent | ms | — | peer | — | — | ≤ 1.3 times | not measured |" in text
    assert "Missed aims: B: bad." in text
    assert "- bad: why" in text
    assert "absent: not there" in text_table(rows)


def test_what_is_not_measured_again_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n", "utf-8")
    first, second = (Row(name, "row", "ms", "floor", 2.0, 1.0, Aim("ratio", "<=", 1.3)) for name in "AB")
    write_between_markers(page, [first, second])
    write_between_markers(page, [dataclasses.replace(second, ours=1.0)])
    text = page.read_text("utf-8")
    assert text.count("### A\n") == text.count("### B\n") == 1
    assert "| row | ms | 2 | floor | 1 | 2.00 | ≤ 1.3 times | **no** |" in text
    assert "| row | ms | 1 | floor | 1 | 1.00 | ≤ 1.3 times | yes |" in text
    assert text.count("Missed aims: A: row.") == 1


def test_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here", "utf-8")
    with pytest.raises(SystemExit, match="markers"):
        write_between_markers(page, [])
    assert page.read_text("utf-8") == "nothing here"


def test_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eventlog", "--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ROWS["eventlog"]


def test_unknown_benchmark_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["nothing"])
    assert exit_info.value.code == 2
    assert "eventlog" in capsys.readouterr().err

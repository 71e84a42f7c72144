"""The rows as a table: for a terminal, as JSON, and between the markers of a Markdown page."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.harness import Row

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
_MISSED = "Missed aims: "
_HEAD = ("what", "unit", "ours", "beside", "other", "ratio", "aim", "met")


def machine() -> str:
    """Say where the figures come from."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, "
        f"Python {platform.python_version()}, load average {load:.1f}"
    )


def figure(value: float | None) -> str:
    """Write a number with three digits that mean something."""
    if value is None:
        return "—"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def cells(row: Row) -> tuple[str, ...]:
    """Return the texts of a row."""
    ratio = "—" if row.ratio is None else f"{row.ratio:.2f}"
    aim = row.aim.text(row.unit) if row.aim else "—"
    met = {True: "yes", False: "**no**", None: "not measured" if row.ours is None else "—"}[row.met]
    return (row.name, row.unit, figure(row.ours), row.peer, figure(row.other), ratio, aim, met)


def text_table(rows: Sequence[Row]) -> str:
    """Return the rows with aligned columns."""
    lines = [_HEAD, *(tuple(cell.strip("*") for cell in cells(row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    notes = [f"  {row.name}: {row.note}" for row in rows if row.note]
    return "\n".join([*shown, *notes])


def sections(rows: Sequence[Row]) -> dict[str, str]:
    """Return the table of each benchmark, with its notes and where it was measured."""
    found = {}
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        own = [row for row in rows if row.benchmark == benchmark]
        lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in own]
        notes = [f"- {row.name}: {row.note}" for row in own if row.note]
        parts = ["\n".join(lines), *(["\n".join(notes)] if notes else []), f"Measured on {machine()}."]
        found[benchmark] = "\n\n".join(parts)
    return found


def markdown(tables: Mapping[str, str]) -> str:
    """Return the sections one after another, and the aims that were missed."""
    missed = [
        f"{title}: {line.split('|')[1].strip()}"
        for title, text in tables.items()
        for line in text.splitlines()
        if line.endswith("| **no** |")
    ]
    parts = [f"### {title}\n\n{text}" for title, text in tables.items()]
    return "\n\n".join([*parts, f"{_MISSED}{'; '.join(missed) if missed else 'none'}."])


def write_between_markers(path: Path, rows: Sequence[Row]) -> None:
    """Replace the sections of what was measured between the two markers of a page; the others stay as they are."""
    text = path.read_text("utf-8")
    before, found, rest = text.partition(BEGIN)
    inside, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"{path} lacks the markers {BEGIN} and {END}")
    kept = dict(part.split("\n\n", 1) for part in inside.partition(_MISSED)[0].strip().split("### ")[1:])
    tables = {title: text.strip() for title, text in kept.items()} | sections(rows)
    path.write_text(f"{before}{BEGIN}\n\n{markdown(tables)}\n\n{END}{after}", "utf-8")

"""The rows as a table: for a terminal, as JSON, and between the markers of a Markdown page."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.harness import Row

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
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


def markdown(rows: Sequence[Row]) -> str:
    """Return one table per benchmark."""
    parts = [f"Measured on {machine()}."]
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        own = [row for row in rows if row.benchmark == benchmark]
        lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in own]
        notes = [f"- {row.name}: {row.note}" for row in own if row.note]
        parts += [f"### {benchmark}", "\n".join(lines), *(["\n".join(notes)] if notes else [])]
    missed = [f"{row.benchmark}: {row.name}" for row in rows if row.met is False]
    parts.append("Missed aims: " + ("; ".join(missed) if missed else "none") + ".")
    return "\n\n".join(parts)


def write_between_markers(path: Path, table: str) -> None:
    """Replace what stands between the two markers of a page."""
    text = path.read_text("utf-8")
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"{path} lacks the markers {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", "utf-8")

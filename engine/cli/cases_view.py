"""The report of a test run for people: a table, then why cases failed, then what the baseline says."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from engine.cli.cases_progress import COLORS, inline
from engine.cli.console import count, printable

if TYPE_CHECKING:
    from rich.text import Text

    from engine.run.testing import CaseResult, Report, Trial
    from engine.run.testing.compare import Comparison

MAX_LINES, MAX_REASONS = 30, 10


def report_text(report: Report, *, color: bool) -> str:
    """Return the report, perhaps with ANSI colours."""
    parts = [_table(report, color=color)]
    parts += [_case_text(case) for case in report.judged if case.state in ("failed", "error")]
    parts += _comparison_texts(report)
    text = "\n".join([*parts, _summary(report)]) + "\n"
    return text if color else click.unstyle(text)


def _table(report: Report, *, color: bool) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case", overflow="fold")
    combinations = report.combinations
    for combination in combinations:
        heading = "passed" if len(combinations) == 1 and combination.name == "default" else combination.name
        table.add_column(Text(inline(heading)), overflow="fold")
    cells = {(case.bundle, case.case, case.combination): case for case in report.cases}
    rows = dict.fromkeys((case.bundle, case.case) for case in report.cases)
    several = len(report.bundles) > 1
    for bundle, name in rows:
        row = [_cell(cells.get((bundle, name, combination))) for combination in combinations]
        table.add_row(Text(inline(f"{bundle}: {name}" if several else name)), *row)
    out = io.StringIO()
    width = max(80, shutil.get_terminal_size((120, 24)).columns)
    Console(file=out, width=width, force_terminal=color, no_color=not color).print(table)
    return out.getvalue()


def _cell(case: CaseResult | None) -> Text:
    from rich.text import Text

    if case is None:
        return Text("-")
    if not case.trials:
        return Text("not run", "yellow")
    text = f"{case.state} {case.passed}/{len(case.trials)}"
    if len(case.trials) > 1:
        text += f" {case.rate:.0%} ({case.interval.low:.0%} to {case.interval.high:.0%})"
    return Text(text, COLORS[case.state])


def _case_text(case: CaseResult) -> str:
    """Return why a case failed: each unmet expectation once, then what came in the first such trial."""
    where = f"{case.bundle}: {case.case}"
    if case.combination.name != "default":
        where += f" ({case.combination.name})"
    wanted = f", wanted {case.wanted:.0%}" if case.planned > 1 else ""
    head = f"{click.style(case.state, fg=COLORS[case.state], bold=True)} {inline(where)}"
    lines = [f"{head}: {case.passed} of {len(case.trials)} passed{wanted}"]
    bad = [trial for trial in case.trials if trial.state != "passed"]
    lines += [f"  {line}" for line in _reasons(bad)]
    shown = next((trial for trial in bad if trial.evidence is not None), None)
    if shown is not None:
        lines += [f"  {line}" for line in _evidence(shown)]
    return "\n".join(lines) + "\n"


def _reasons(trials: Sequence[Trial]) -> Iterator[str]:
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for trial in trials:
        if trial.error is not None:
            first, _, rest = trial.error.partition("\n")
            seeds.setdefault(("error", first, rest), []).append(trial.seed)
        for failure in trial.failures:
            place = f"{failure.span.file}:{failure.span.line}: {failure.what}"
            seeds.setdefault((place, failure.message, failure.detail), []).append(trial.seed)
    for (place, message, detail), found in list(seeds.items())[:MAX_REASONS]:
        named = ", ".join(map(str, found[:5])) + (", …" if len(found) > 5 else "")
        which = f" [seed {named}]" if len(trials) > 1 or len(found) > 1 else ""
        yield f"{inline(place)}: {inline(message)}{which}"
        yield from (f"    {printable(line)}" for line in detail.splitlines())
    if len(seeds) > MAX_REASONS:
        yield f"… and {len(seeds) - MAX_REASONS} more; --output-format json has them all"


def _evidence(trial: Trial) -> Iterator[str]:
    assert trial.evidence is not None  # noqa: S101 - asked before
    calls = "" if trial.evidence.reply else "\n".join(map(str, trial.evidence.calls))
    for title, text in (("reply", trial.evidence.reply), ("calls", calls), ("diff", trial.evidence.diff)):
        if text:
            lines = text.rstrip().splitlines()
            yield f"{title} (seed {trial.seed}):"
            yield from (f"    {printable(line)}" for line in lines[:MAX_LINES])
            if len(lines) > MAX_LINES:
                yield f"    … and {count(len(lines) - MAX_LINES, 'line')} more"


def _comparison_texts(report: Report) -> list[str]:
    from engine.run.testing.compare import compare

    lines = []
    for one in compare(report):
        if one.case is None:
            lines.append(inline(f"{one.combination.name} against {one.baseline.name}: {_numbers(one)}"))
        elif one.worse:
            certain = "worse" if one.regressed else "worse, perhaps by chance"
            lines.append(f"  {click.style(certain, fg='red')} {inline(one.case)}: {_numbers(one)}")
    return ["\n".join(lines) + "\n"] if lines else []


def _numbers(one: Comparison) -> str:
    now, before = (f"{passed}/{total}" for passed, total in (one.passed, one.before))
    low, high = one.interval.low * 100, one.interval.high * 100
    return f"{now} against {before}, {one.difference * 100:+.0f} points (95 %: {low:+.0f} to {high:+.0f})"


def _summary(report: Report) -> str:
    counts = [f"{report.count(state)} {state}" for state in ("passed", "failed", "error", "not run")]
    told = ", ".join(text for text in counts if not text.startswith("0 ")) or "0 passed"
    trials = sum(len(case.trials) for case in report.cases)
    tokens = sum(case.usage.total_tokens for case in report.cases)
    partial = "" if report.complete else "; not all of them ran"
    cases = count(len(report.judged), "case")
    return f"{cases}: {told}; {count(trials, 'trial')}, {tokens} tokens, {report.seconds:.1f} s{partial}"

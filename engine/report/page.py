"""The page: everything in one file, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from engine.report import text
from engine.report.charts import Axis, Plot, bars, edges, endings, in_flight, lanes, ranges
from engine.report.diffs import diff_of
from engine.report.facts import RunFacts, TaskFacts
from engine.report.statistics import Bin, histogram
from engine.report.summary import causes, latencies, saving, shown_outcomes, slowest, tallies, tool_spreads

MARK = "engine report"
"""What tells a report from other pages, in its `generator`."""

_TEMPLATES = Path(__file__).parent / "templates"
# Bytes of the tasks' details and lines: with the rest, a page stays below 10 MB.
_DETAILS, _LINES = 5_000_000, 3_500_000
_ROWS = 10_000
_GROUPS = {"all": "", "turn": "turn", "bundle": "bundle", "answered by": "answered by"}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("plain", "short", "count", "amount", "duration", "moment", "percent"):
        environment.filters[name] = getattr(text, name)
    return environment


def render(run: RunFacts) -> str:
    """Return the page of a run: HTML that needs nothing beside itself."""
    style, script = _read("style.css"), _read("script.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            style=Markup(style),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704 - a file of this package
            style_hash=_hash(style),
            script_hash=_hash(script),
            mark=MARK,
            version=version("bundle-engine"),
            run=run,
            **_overview(run),
            **_timeline(run),
            **_measured(run),
            **_tasks(run),
            settings=list(_settings(run)),
        )
    )


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _hash(content: str) -> str:
    """Return the source expression by which a policy allows exactly this content."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _overview(run: RunFacts) -> Mapping[str, Any]:
    prompt, completion = run.used.prompt_tokens, run.used.completion_tokens
    outcomes = shown_outcomes(run)
    everything = latencies(run, "all")
    saved = saving(run.tasks)
    return {
        "outcomes": outcomes,
        "legend": [(kind, "finished, from the cache" if kind == "cached" else kind) for kind, _ in outcomes],
        "causes": causes(run.tasks),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "tokens": prompt + completion,
        "ran": sum(bool(task.spans) and not task.cached for task in run.tasks),
        "finished": run.outcomes["finished"],
        "all_replies": everything[0] if everything else None,
        "saved": saved,
        "summary": {
            "run": run.run_id,
            "status": run.status,
            "seconds": round(run.seconds, 3),
            "tasks": dict(run.outcomes),
            "changes": dict(run.changes),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cached": saved.tasks,
            "saved_tokens": saved.tokens,
            "cost": run.cost,
            "bundles": list(run.bundles),
            "targets": list(run.targets),
        },
    }


def _timeline(run: RunFacts) -> Mapping[str, Any]:
    axis = Axis(run.parts)
    return {
        "axis": axis,
        "lanes": lanes(run, axis),
        "flight": in_flight(run, axis, 120.0),
        "ended": endings(run, axis, 120.0),
    }


def _measured(run: RunFacts) -> Mapping[str, Any]:
    samples = run.samples
    spreads = {group: latencies(run, group)[:20] for group in _GROUPS}
    # A single bundle or model tells nothing beside all replies.
    shown = [group for group, several in spreads.items() if several and (group == "all" or len(several) > 1)]
    scale = ranges([one for group in shown for one in spreads[group]])
    groups, place = [], 0
    for group in shown:
        groups.append((_GROUPS[group], scale.rows[place : place + len(spreads[group])]))
        place += len(spreads[group])
    times = histogram(samples.milliseconds.get(("all", "all replies"), ()), 40)
    plots = [
        (label, _plot(bins, unit), edges(bins, unit, 4))
        for label, unit, bins in (
            ("Prompt tokens of a request", "tokens", histogram(samples.prompt)),
            ("Tokens of a reply", "tokens", histogram(samples.completion)),
            ("Tokens a second, while a reply is written", "a second", histogram(samples.speed)),
        )
    ]
    return {
        "latency_plot": bars(times, 140.0, "ms"),
        "latency_ticks": edges(times, "ms", 8),
        "latency_groups": groups,
        "scale": scale.ticks,
        "token_plots": [plot for plot in plots if plot[1] is not None],
        "tools": tool_spreads(run.tools),
        "bundles": tallies(run.tasks, "bundle")[:100],
        "slowest": slowest(run.tasks),
    }


def _plot(bins: Sequence[Bin], unit: str) -> Plot | str | None:
    """Return a histogram; in words where all values are the same."""
    if len(bins) == 1:
        return f"{text.amount(bins[0].low)} {unit} each, {text.count(bins[0].count)} times"
    return bars(bins, 300.0, unit)


def _tasks(run: RunFacts) -> Mapping[str, Any]:
    listed = run.tasks if len(run.tasks) <= _ROWS else _first(run.tasks)
    items, detailed = [], 0
    module = _environment().get_template("parts.html.j2").module
    left = {True: _DETAILS, False: _LINES}
    for task in listed:
        item = _item(module, task)
        full = task.detail is not None
        if full and len(item) > left[True]:
            task.detail, full = None, False
            item = _item(module, task)
        size = len(item.encode())
        if size > left[full]:
            break
        left[full] -= size
        detailed += full
        items.append(item)
    return {
        "items": Markup("").join(items),
        "limits": _limits(len(run.tasks), len(items), detailed, run.run_id),
        "files": tallies(run.tasks, "file") if len(run.tasks) > 50 else [],
    }


def _item(module: Any, task: TaskFacts) -> Markup:
    diffs = []
    for change in task.detail.changes if task.detail else ():
        diff = diff_of(change.change)
        diffs.append((change, diff.lines, diff.left_out))
    item: Markup = module.item(task, diffs)
    return item


def _first(tasks: list[TaskFacts]) -> list[TaskFacts]:
    """Return as many tasks as a page lists: those with details, then those that did not finish, then others."""
    ranked = sorted(tasks, key=lambda task: (task.detail is None, task.outcome == "finished", task.number))
    return sorted(ranked[:_ROWS], key=lambda task: task.number)


def _limits(tasks: int, listed: int, detailed: int, run_id: str) -> str:
    """Say what the page leaves out."""
    said = []
    if listed < tasks:
        said.append(f"{text.count(listed)} of {text.count(tasks)} tasks are listed; the sums above count all of them.")
    if detailed < listed:
        said.append(
            f"{text.count(detailed)} tasks are shown with their diffs and turns, those that did not finish and those "
            f"with changes first: engine show {run_id} --task GLOB and engine diff {run_id} show any other."
        )
    return " ".join(said)


def _settings(run: RunFacts) -> Iterator[tuple[str, str]]:
    yield "run", run.run_id
    yield "status", run.status
    for name, values in (("settings", run.settings), ("asked for", run.request)):
        for key, value in values.items():
            if value not in (None, [], {}, ""):
                yield f"{name}: {key}", value if isinstance(value, str) else str(value)
    for name, digest in run.digests.items():
        yield f"bundle {name}", f"sha256 {digest}"

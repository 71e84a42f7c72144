"""Completes names: codes, params, adapters, models, families, languages, node types, runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click
from click.shell_completion import CompletionItem

from engine.cli.completion.places import app, bundle_folders, manifest, sections, starting


def codes(_: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a diagnostic code, by its id or its readable name."""
    from engine.diagnostics import CODES

    rows = CODES.values()
    found = [CompletionItem(row.id, help=row.summary) for row in rows if row.id.startswith(incomplete.upper())]
    return found or [CompletionItem(row.name, help=row.summary) for row in rows if row.name.startswith(incomplete)]


def params(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete `name=` and, where the values are known, `name=value`."""
    written = {name: schema for folder in bundle_folders(ctx) for name, schema in sections(folder, "params").items()}
    schemas = {str(name): schema for name, schema in written.items() if isinstance(schema, dict)}
    name, equals, _ = incomplete.partition("=")
    if not equals:
        return [
            CompletionItem(f"{known}=", type="part", help=str(schema.get("description") or "").strip() or None)
            for known, schema in schemas.items()
            if known.startswith(name)
        ]
    return starting([f"{name}={value}" for value in _values(schemas.get(name, {}))], incomplete)


def _values(schema: dict[str, object]) -> list[str]:
    """Return the values that a param's schema lists, as they are written on the command line."""
    listed = schema.get("enum")
    values = listed if isinstance(listed, list) else [True, False] if schema.get("type") == "boolean" else []
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def adapters(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete an adapter of the bundles on the line, or `none`."""
    known = [str(name) for folder in bundle_folders(ctx) for name in sections(folder, "adapters")]
    return starting([*dict.fromkeys(known), "none"], incomplete)


def cases(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of a case of the bundles on the line."""
    from engine.manifest import read_yaml

    found = []
    for folder in bundle_folders(ctx):
        for path in sorted(folder.glob(str(manifest(folder).get("tests")))):
            data = read_yaml(path.read_text("utf-8"), str(path)).data
            found += [str(case.get("name")) for case in data.get("cases", ())]
    return starting(list(dict.fromkeys(found)), incomplete)


def models(_: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of known weights, or a file."""
    from engine.backends.weights import WEIGHTS

    return [*starting(sorted(WEIGHTS), incomplete), CompletionItem(incomplete, type="file")]


def plugins(_: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a model family."""
    from engine.models import PLUGINS

    return starting(sorted(PLUGINS), incomplete)


def languages(_: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a language."""
    from engine.manifest import LANGUAGES

    return starting(list(LANGUAGES), incomplete)


def node_types(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a node type of the languages on the line, or of any."""
    from engine.manifest import node_types

    return starting(node_types(tuple(ctx.params.get("languages") or ())), incomplete)


def runs(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a run of the project, newest first."""
    with app(ctx).reader() as log:
        records = log.runs(limit=50)
    return [
        CompletionItem(
            record.run_id,
            help=f"{datetime.fromtimestamp(record.started, UTC).astimezone():%d %B %H:%M}, {record.status}",
        )
        for record in records
        if record.run_id.startswith(incomplete)
    ]


def event_types(_: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a type of events."""
    from engine.events import EVENT_TYPES

    return starting(sorted(EVENT_TYPES), incomplete)


def task_states(_: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a state of tasks, after a comma another one."""
    from engine.events import TASK_STATES

    before, comma, _last = incomplete.rpartition(",")
    return starting([f"{before}{comma}{state}" for state in TASK_STATES], incomplete)

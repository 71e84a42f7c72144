"""What determines a task's result, as far as it is known before the task runs, and the digest of all that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from engine.bundle import Bundle
from engine.discovery import CodeNode
from engine.manifest.bundle_model import McpTool, PythonTool
from engine.prompts.seen import EVERYTHING, names_seen
from engine.run.cache.metadata import NAME, metadata_keys
from engine.run.cache.record import text_digest
from engine.run.cache.semantics import SEMANTICS
from engine.run.plan import Assignment, Task

POSITIONS = ("start_line", "end_line", "start_byte", "end_byte")
"""Fields of a node that change with edits elsewhere in its file: they count only where the bundle can see them."""

_FIELDS = ("node_id", "type", "name", "qualified_name", "language", "file_path", "docstring", "text")
_EXPLAINING = ("bundle.yaml ", "bundle file ")  # they say what is behind another bundle digest
_LIBRARIES = ("jinja2", "pydantic-monty")


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything but the node that determines the results of an assignment.

    Attributes:
        bundle: The bundle's name.
        parts: Each part by the name that a person knows it by; values are short, or digests.
        positions: The positions of a node that the bundle can see.
        digest: Of the parts, hex.
        text: The parts as JSON.
    """

    bundle: str
    parts: Mapping[str, str]
    positions: tuple[str, ...]
    digest: str
    text: str


@dataclass(frozen=True, slots=True)
class TaskKey:
    """What a result is stored under.

    Attributes:
        digest: Of everything, hex.
        scene: All but the node.
        node: What the bundle can see of the node, as JSON.
        note: What a reviewer says.
    """

    digest: str
    scene: Scene
    node: str
    note: str


def why_uncachable(bundle: Bundle) -> str | None:
    """Return why the results of a bundle are never kept, or None."""
    for tool in bundle.manifest.tools:
        if isinstance(tool, PythonTool):
            return f"nobody can tell what the Python tool {tool.python} reads"
        if isinstance(tool, McpTool):
            return f"nobody can tell what the tools of the MCP server {tool.mcp.command[0]} read"
    return None


def make_scene(assignment: Assignment, served: Mapping[str, str]) -> Scene:
    """Return what determines the results of an assignment.

    Args:
        assignment: The bundle and its settings.
        served: What the backend says about itself: `engine.backends.identity_of`.
    """
    parts = dict(sorted([*_bundle_parts(assignment.bundle), *_settings(assignment), *served.items(), *_engine()]))
    counted = {name: value for name, value in parts.items() if not name.startswith(_EXPLAINING)}
    digest = text_digest(json.dumps(counted, ensure_ascii=True))
    text = json.dumps(parts, ensure_ascii=True)
    return Scene(assignment.bundle.name, parts, positions_seen(assignment.bundle), digest, text)


def make_key(task: Task, scene: Scene) -> TaskKey:
    """Return what a task's result is stored under."""
    node = json.dumps(node_fields(task.node, scene.positions), ensure_ascii=True)
    return TaskKey(text_digest(f"{scene.digest}\n{node}\n{json.dumps(task.note)}"), scene, node, task.note)


def node_fields(node: CodeNode, positions: tuple[str, ...] = POSITIONS) -> dict[str, Any]:
    """Return what counts of a node."""
    return {name: getattr(node, name) for name in (*_FIELDS, *positions)}


def positions_seen(bundle: Bundle) -> tuple[str, ...]:
    """Return the positions of a node that a bundle's templates, expressions or scripts can see."""
    scripts = [tool.script for tool in bundle.tools] + [item.script for item in bundle.context]
    facts = [metadata_keys(script.code) for script in scripts if NAME in {each.name for each in script.externals}]
    if None in facts:
        return POSITIONS
    expressions = [rule.when for rule in bundle.manifest.routing if rule.when is not None]
    expressions += [source for tool in bundle.tools for source in tool.spec.bind.values()]
    roots = [name for name in bundle.prompt_names if name is not None]
    seen = names_seen(bundle.templates, roots, expressions, "node")
    given = {item.name for script in scripts for item in script.inputs}.union(*(keys for keys in facts if keys))
    return tuple(
        name for name in POSITIONS if EVERYTHING in seen or f"node.{name}" in seen or name in seen or name in given
    )


def _bundle_parts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yield the parts of a bundle by the names of its files; the digest is of all of them."""
    yield "bundle", bundle.name
    yield "bundle digest", bundle.digest
    for key, value in _flat(bundle.manifest.model_dump(mode="json", exclude={"tests"})):
        yield f"bundle.yaml {key}", value
    for name, text in bundle.templates.sources.items():
        if name not in ("bundle.yaml", "bundle.yml"):
            yield f"bundle file {name}", text_digest(text)
    for name, adapter in bundle.adapters.items():
        yield f"adapter {name}", adapter.digest or adapter.served_name or ""


def _settings(assignment: Assignment) -> Iterator[tuple[str, str]]:
    for name, value in assignment.params.items():
        yield f"param {name}", json.dumps(value, sort_keys=True)
    yield "plugin", assignment.plugin.name
    yield "adapter", (assignment.adapter or "none") if assignment.adapters else "switched off"
    yield "seed", json.dumps(assignment.seed)
    yield "constraint", "left out" if assignment.unconstrained else "as declared"


def _engine() -> Iterator[tuple[str, str]]:
    yield "engine semantics", str(SEMANTICS)
    for name in _LIBRARIES:
        yield f"library {name}", _version(name)


@lru_cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of JSON values with their dotted paths."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if not items:
        yield path, json.dumps(value)
        return
    for key, item in items:
        yield from _flat(item, f"{path}.{key}" if path else str(key))

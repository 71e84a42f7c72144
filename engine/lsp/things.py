"""What names in a bundle stand for: which exist, what they mean and where they are defined.

Each kind of thing is one row of `THINGS`; completion, hover and definitions read the same table.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.lsp.outline import fits, read_outline
from engine.lsp.positions import Lines
from engine.lsp.schemas import docs_of
from engine.lsp.script_context import declared_inputs
from engine.lsp.view import View
from engine.manifest import LANGUAGES, JsonPath, node_types
from engine.manifest.schema import Kind

if TYPE_CHECKING:
    from engine.tools import ScriptInput


@dataclass(frozen=True, slots=True)
class Target:
    """A place to go to: a file, its text, and the range in it."""

    path: Path
    text: str
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Thing:
    """One kind of thing; each function takes the view and the path of the place that names it.

    Attributes:
        names: The names that exist.
        docs: What one of them means, as Markdown.
        place: Where one of them is defined.
    """

    names: Callable[[View, JsonPath], Iterable[str]]
    docs: Callable[[View, JsonPath, str], str | None] = lambda _view, _path, _name: None
    place: Callable[[View, JsonPath, str], Target | None] = lambda _view, _path, _name: None


def in_manifest(view: View, *paths: JsonPath) -> Target | None:
    """Return the first of these values that the manifest has: its key, or the value of a list's item."""
    for path in paths:
        slot = view.outline.key(path) or view.outline.value(path)
        if slot is not None:
            return Target(view.folder / view.manifest_name, view.outline.text, slot.first, slot.last)
    return next((found for path in paths if (found := _inherited(view, path)) is not None), None)


def _inherited(view: View, path: JsonPath) -> Target | None:
    """Return where a value of the merged manifest is written, in whichever bundle."""
    document = view.draft.document if view.draft is not None else None
    if document is None or not document.parts or path not in document.positions:
        return None
    span = document.positions.key(path)
    text = document.part(span.file).text
    start, end = Lines(text).span(span, "utf-32")
    lines = Lines(text)
    return Target(Path(posixpath.normpath(span.file)), text, lines.offset(start, "utf-32"), lines.offset(end, "utf-32"))


def overridden(view: View, path: JsonPath) -> Target | None:
    """Return the value of the nearest parent that a value of the manifest replaces."""
    document = view.draft.document if view.draft is not None else None
    for part in document.parts[1:] if document is not None else ():
        slot = read_outline(part.text).key(path)
        if slot is not None:
            return Target(Path(posixpath.normpath(part.file)), part.text, slot.first, slot.last)
    return None


def in_file(view: View, name: str, first: int = 0, last: int = 0) -> Target | None:
    """Return a place in a file of the bundle, None when there is no such file."""
    path = view.path(name)
    return Target(path, view.text(name) or "", first, last) if path is not None else None


def in_template(view: View, name: str, first: int = 0, last: int = 0) -> Target | None:
    """Return a place in a template, by the name that templates have for it: `@parent/` is the bundle above."""
    owner, plain = view.owner(name)
    if owner is view.source:
        return in_file(view, plain, first, last)
    text = view.template(name)
    return Target(Path(posixpath.normpath(owner.show(plain))), text, first, last) if text is not None else None


# -- tools and their inputs


def tool_docs(view: View, _path: JsonPath, name: str) -> str | None:
    """Return a tool's description and schema, as the model sees them."""
    schema = view.schemas.get(name)
    if schema is None:
        return None
    parameters = json.dumps(schema.parameters, indent=2, ensure_ascii=False)
    return f"`{name}`: {schema.description}\n\n```json\n{parameters}\n```"


def tool_place(view: View, _path: JsonPath, name: str) -> Target | None:
    """Return a tool's script, or its entry in the manifest where it has none."""
    use = view.use_of(name, tool=True)
    found = in_file(view, use.file) if use is not None else None
    entry = next((path for tool, path in view.tool_entries() if tool == name), use.path if use is not None else None)
    return found or (in_manifest(view, (*entry, "path"), entry) if entry else None)


def _inputs(view: View, path: JsonPath) -> dict[str, ScriptInput | None]:
    """Return the inputs of the tool that a path of the manifest is about."""
    file = _script_of(view, path)
    use = next((use for use in view.uses if use.file == file), None)
    if use is not None and use.script is not None:
        return {item.name: item for item in use.script.inputs}
    return dict.fromkeys(declared_inputs(view.text(file) or "")) if file else {}


def _script_of(view: View, path: JsonPath) -> str | None:
    slot = view.outline.value((*path[:2], "path")) or view.outline.value(path[:2])
    return posixpath.normpath(slot.text) if slot is not None and slot.text else None


def _input_docs(view: View, path: JsonPath, name: str) -> str | None:
    item = _inputs(view, path).get(name)
    if item is None:
        return None
    return docs_of(name, {**item.schema, "description": item.description}, required=item.required)


def _input_place(view: View, path: JsonPath, name: str) -> Target | None:
    file = _script_of(view, path)
    text = view.text(file) if file else None
    first = declared_inputs(text).get(name) if text is not None else None
    return in_file(view, file, first, first + len(name)) if file and first is not None else None


def _called(view: View, path: JsonPath) -> str | None:
    """Return the tool that an expected call of a case names; the outline is that of the case's file."""
    slot = view.outline.value((*path[: path.index("arguments")], "tool")) if "arguments" in path else None
    return slot.text if slot is not None else None


def _properties(view: View, tool: str | None) -> dict[str, Any]:
    schema = view.schemas.get(tool or "")
    return dict(schema.parameters.get("properties", {})) if schema is not None else {}


def argument_names(view: View, tool: str | None) -> list[str]:
    """Return the arguments that a tool takes."""
    return list(_properties(view, tool))


def argument_docs(view: View, tool: str | None, name: str) -> str | None:
    """Return what an argument of a tool means."""
    schema = _properties(view, tool).get(name)
    return docs_of(name, schema) if isinstance(schema, dict) else None


# -- what the manifest defines


def _adapter_docs(view: View, _path: JsonPath, name: str) -> str | None:
    spec = view.draft.manifest.adapters.get(name) if view.draft is not None else None
    if spec is None:
        return None
    parts = [f"{key}: `{value}`" for key, value in spec.model_dump(exclude_none=True).items()]
    return f"`{name}`: a LoRA adapter\n\n" + "\n\n".join(parts)


def context_docs(view: View, _path: JsonPath, name: str) -> str | None:
    """Return what a context provider says of itself."""
    use = view.use_of(name, tool=False)
    if use is None:
        return None
    about = use.script.description if use.script is not None else ""
    return f"`context.{name}`: what `{use.file}` gives" + (f"\n\n{about}" if about else "")


def context_place(view: View, _path: JsonPath, name: str) -> Target | None:
    """Return a context provider's script."""
    use = view.use_of(name, tool=False)
    entry = next((slot.path for slot in view.outline.values("context", "*", "name") if slot.text == name), None)
    found = in_file(view, use.file) if use is not None else None
    return found or (in_manifest(view, (*entry[:2], "path"), entry) if entry else None)


def param_docs(view: View, _path: JsonPath, name: str) -> str | None:
    """Return what a param means."""
    schema = view.params.get(name)
    return docs_of(name, schema) if schema is not None else None


def _plugin_names(_view: View, _path: JsonPath) -> Iterable[str]:
    from engine.models import PLUGINS

    return sorted(PLUGINS)


def _plugin_docs(_view: View, _path: JsonPath, name: str) -> str | None:
    from engine.models import PLUGINS, get_plugin

    return f"`{name}`: grammar modes {', '.join(get_plugin(name).modes())}" if name in PLUGINS else None


def _strategy_names(_view: View, _path: JsonPath) -> Iterable[str]:
    from engine.grammar.strategies import STRATEGIES

    return sorted(STRATEGIES)


def _languages_of(view: View) -> tuple[str, ...]:
    now = tuple(slot.text for slot in view.outline.values("nodes", "languages", "*"))
    known = view.draft.manifest.nodes.languages if view.draft is not None else ()
    return tuple(name for name in now or known if name in LANGUAGES)


def _language_docs(_view: View, _path: JsonPath, name: str) -> str | None:
    return f"`{name}`: node types {', '.join(node_types((name,)))}" if name in LANGUAGES else None


def _sections(*section: str) -> Callable[[View, JsonPath, str], Target | None]:
    return lambda view, _path, name: in_manifest(view, (*section, name))


# -- files


_ENDINGS: dict[str, tuple[str, ...]] = {
    "script": (".pym",),
    "template": (".j2", ".jinja", ".jinja2", ".md", ".txt"),
    "grammar": (".ebnf", ".gbnf", ".lark", ".json"),
    "query": (".scm",),
    "gguf": (".gguf",),
}


def _files(kind: str) -> Callable[[View, JsonPath], Iterable[str]]:
    return lambda view, _path: [name for name in view.files if name.endswith(_ENDINGS[kind])]


def _any_file(view: View, _path: JsonPath) -> Iterable[str]:
    return [name for name in view.files if name != view.manifest_name]


def _adapter_paths(view: View, _path: JsonPath) -> Iterable[str]:
    folders = [posixpath.dirname(name) for name in view.files if name.endswith("/adapter_config.json")]
    return [*folders, *(name for name in view.files if name.endswith(".gguf"))]


def _file_place(view: View, _path: JsonPath, name: str) -> Target | None:
    folder = in_file(view, posixpath.join(name, "adapter_config.json"))
    return in_file(view, name) or folder


def _parent_names(view: View, _path: JsonPath) -> Iterable[str]:
    from engine.bundle.source import MANIFESTS

    try:
        beside = sorted(path for path in view.folder.parent.iterdir() if path != view.folder and path.is_dir())
    except OSError:
        return []
    return [f"../{path.name}" for path in beside if any((path / name).is_file() for name in MANIFESTS)]


def _parent_place(view: View, _path: JsonPath, name: str) -> Target | None:
    from engine.bundle.source import MANIFESTS

    for manifest in MANIFESTS:
        path = Path(posixpath.normpath((view.folder / name / manifest).as_posix()))
        if path.is_file():
            return Target(path, "")
    return None


def _file_thing(names: Callable[[View, JsonPath], Iterable[str]]) -> Thing:
    return Thing(names, place=_file_place)


THINGS: dict[str, Thing] = {
    "adapter": Thing(lambda view, _: view.adapters, _adapter_docs, _sections("adapters")),
    "tool": Thing(lambda view, _: view.tools, tool_docs, tool_place),
    "context": Thing(lambda view, _: view.context, context_docs, context_place),
    "param": Thing(lambda view, _: view.params, param_docs, _sections("params")),
    "input": Thing(_inputs, _input_docs, _input_place),
    "plugin": Thing(_plugin_names, _plugin_docs),
    "strategy": Thing(_strategy_names),
    "language": Thing(lambda _view, _path: sorted(LANGUAGES), _language_docs),
    "node type": Thing(lambda view, _: node_types(_languages_of(view))),
    "check": Thing(lambda _view, _path: ["parses"]),
    "script": _file_thing(_files("script")),
    "template": _file_thing(_files("template")),
    "grammar": _file_thing(_files("grammar")),
    "query": _file_thing(_files("query")),
    "gguf": _file_thing(_files("gguf")),
    "adapter path": _file_thing(_adapter_paths),
    "file": _file_thing(_any_file),
    "parent": Thing(_parent_names, place=_parent_place),
}

Pattern = tuple[str | int, ...]

VALUES: dict[Kind, dict[Pattern, str]] = {
    "bundle": {
        ("model", "plugin"): "plugin",
        ("model", "adapter"): "adapter",
        ("routing", "*", "adapter"): "adapter",
        ("routing", "*", "after_tool"): "tool",
        ("loop", "termination_tool"): "tool",
        ("tools", "*", "context", "*"): "context",
        ("grammar", "strategy"): "strategy",
        ("nodes", "languages", "*"): "language",
        ("nodes", "types", "*"): "node type",
        ("checks", "*"): "check",
        ("extends",): "parent",
        ("prompts", "system"): "template",
        ("prompts", "user"): "template",
        ("tools", "*"): "script",
        ("tools", "*", "path"): "script",
        ("context", "*", "path"): "script",
        ("grammar", "file"): "grammar",
        ("nodes", "query"): "query",
        ("adapters", "*", "path"): "adapter path",
        ("adapters", "*", "gguf"): "gguf",
    },
    "tests": {
        ("cases", "*", "expect", "calls", "*", "tool"): "tool",
        ("cases", "*", "expect", "no_calls", "*"): "tool",
        ("cases", "*", "language"): "language",
        ("cases", "*", "file"): "file",
    },
    "engine": {("operations", "*", "plugin"): "plugin"},
}
"""Which kind of thing a value names."""

KEYS: dict[Kind, dict[Pattern, str]] = {
    "bundle": {("tools", "*", "inputs"): "input", ("tools", "*", "bind"): "input"},
    "tests": {("cases", "*", "params"): "param"},
    "engine": {},
}
"""Which kind of thing the keys of a mapping name."""

EXPRESSIONS: dict[Pattern, tuple[str, ...]] = {
    ("nodes", "when"): ("node", "params"),
    ("routing", "*", "when"): ("turn", "node", "params", "model", "context"),
    ("tools", "*", "bind", "*"): ("node", "params", "context", "model"),
}
"""The values that are expressions, and the names that they may use."""


def thing_at(table: dict[Pattern, str], path: JsonPath) -> str | None:
    """Return the kind of thing that a path stands for."""
    return next((kind for pattern, kind in table.items() if fits(path, pattern)), None)

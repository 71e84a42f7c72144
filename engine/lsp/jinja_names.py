"""What names mean in a bundle's templates and expressions."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from functools import cache

from engine.lsp.homes import TEMPLATES
from engine.lsp.things import Target, context_docs, context_place, in_manifest, in_template, param_docs
from engine.lsp.view import View

NODE_DOCS = {
    "node_id": "The node's stable id.",
    "id": "The node's stable id.",
    "type": "The node's type, such as `function`.",
    "name": "The node's name.",
    "qualified_name": "The name with those of the classes and functions around it.",
    "language": "The file's language.",
    "file_path": "The file, relative to the project.",
    "text": "The node's source.",
    "docstring": "The node's docstring, or none.",
    "start_line": "The first line, from 1.",
    "end_line": "The last line.",
    "start_byte": "The first byte.",
    "end_byte": "The byte behind the last one.",
    "content_hash": "A hash of the source.",
}
"""The attributes of `node`."""

MODEL_DOCS = {
    "plugin": "The model family.",
    "id": "What the server calls the model.",
    "adapter": "The adapter that answers, or none.",
}
"""The attributes of `model`."""

ROOT_DOCS = {
    "node": "The code node that the task is about.",
    "params": "The values of the bundle's params.",
    "context": "What the bundle's context providers gave.",
    "model": "The model that answers.",
    "tools": "The tools that are offered to the model.",
    "turn": "The number of the turn, from 1.",
    "loop": "The state of the loop around this place.",
    "self": "The blocks of this template.",
}
"""The names that every template has, and those of loops."""

_ALIASES = {"node_text": "text", "node_name": "name", "node_type": "type"}

STATEMENTS = (
    *("block", "call", "elif", "else", "endblock", "endcall", "endfilter", "endfor", "endif", "endmacro", "endraw"),
    *(
        "endset",
        "endwith",
        "extends",
        "filter",
        "for",
        "from",
        "if",
        "import",
        "include",
        "macro",
        "raw",
        "set",
        "with",
    ),
)
"""The statements of Jinja."""

_BLOCK = re.compile(r"\{%[-+]?\s*block\s+(\w+)")
_EXTENDS = re.compile(r"\{%[-+]?\s*extends\s+['\"]([^'\"]+)['\"]")
_CHAIN = 16


@cache
def filter_names() -> tuple[str, ...]:
    """Return the filters that templates have."""
    from engine.prompts.filters import FILTERS

    return tuple(sorted(FILTERS))


@cache
def test_names() -> tuple[str, ...]:
    """Return the tests that templates have; those that are written as operators left out."""
    from engine.prompts.filters import TESTS

    return tuple(sorted(name for name in TESTS if name.isidentifier()))


def attributes(view: View, owner: Sequence[str]) -> list[str]:
    """Return the attributes of a name; none for one that may have any."""
    if len(owner) != 1:
        return []
    known = view.scope.names.get(owner[0])
    order = {"node": list(NODE_DOCS), "model": list(MODEL_DOCS), "params": list(view.params)}.get(
        owner[0], view.context
    )
    return [name for name in order if known is not None and name in known]


def docs(view: View, owner: Sequence[str], name: str) -> str | None:
    """Return what a name or an attribute means, as Markdown."""
    if not owner:
        about = ROOT_DOCS.get(name) or NODE_DOCS.get(_ALIASES.get(name, name))
        return f"`{name}`: {about}" if about and (name in view.scope.names or name in ROOT_DOCS) else None
    if len(owner) > 1:
        return None
    if owner[0] == "params":
        return param_docs(view, (), name)
    if owner[0] == "context":
        return context_docs(view, (), name)
    about = {"node": NODE_DOCS, "model": MODEL_DOCS}.get(owner[0], {}).get(name)
    return f"`{owner[0]}.{name}`: {about}" if about else None


def place(view: View, owner: Sequence[str], name: str) -> Target | None:
    """Return where a name is defined: a param in the manifest, a context provider in its script."""
    if tuple(owner) == ("params",):
        return in_manifest(view, ("params", name))
    if tuple(owner) == ("context",):
        return context_place(view, (), name)
    return in_manifest(view, (name,)) if not owner and name in ("params", "context") else None


def template_paths(view: View, own: str) -> list[str]:
    """Return the files that a template may include."""
    from engine.prompts import PARENT

    endings = (*TEMPLATES, ".md", ".txt")
    above = view.source.parents[0].files if view.source.parents else ()
    mine = [name for name in view.files if name != own and name.endswith(endings)]
    return [*mine, *(f"{PARENT}{name}" for name in above if name.endswith(endings))]


def chain(view: View, text: str) -> Iterable[tuple[str, str]]:
    """Yield the templates that a template extends, the nearest first: name and text."""
    seen: set[str] = set()
    for _ in range(_CHAIN):
        match = _EXTENDS.search(text)
        name = posixpath.normpath(match[1]) if match else None
        above = view.template(name) if name is not None and name not in seen else None
        if name is None or above is None:
            return
        seen.add(name)
        yield name, above
        text = above


def blocks(view: View, text: str) -> dict[str, str | None]:
    """Return the names of blocks: those of the templates that a template extends, then its own; and where from."""
    found: dict[str, str | None] = {}
    for name, above in chain(view, text):
        for match in _BLOCK.finditer(above):
            found.setdefault(match[1], name)
    for match in _BLOCK.finditer(text):
        found.setdefault(match[1], None)
    return found


def block_place(view: View, text: str, block: str) -> Target | None:
    """Return where a block that a template fills is defined."""
    for name, above in chain(view, text):
        for match in _BLOCK.finditer(above):
            if match[1] == block:
                return in_template(view, name, match.start(1), match.end(1))
    return None


def bound_at(text: str, name: str) -> int | None:
    """Return where a template binds a name: `set`, `for`, `macro`, `import … as`."""
    pattern = rf"\{{%[-+]?\s*(?:set|for|macro|import|from)\b[^%]*?\b({re.escape(name)})\b"
    match = re.search(pattern, text)
    return match.start(1) if match else None

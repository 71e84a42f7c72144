"""Which attributes of a variable templates and expressions can see: found in their trees, without rendering."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jinja2 import nodes

from engine.prompts.environment import PromptEnvironment
from engine.prompts.templates import SYNTAX_ERRORS, Templates

EVERYTHING = "*"
"""Stands for all attributes: the variable is used as a whole, or in a way that a tree does not tell."""


def names_seen(templates: Templates, roots: Iterable[str], expressions: Iterable[str], owner: str) -> frozenset[str]:
    """Return the plain names, and the attributes of one variable, that can make a difference.

    What cannot be parsed, and an include that is not named literally, counts as EVERYTHING.

    Args:
        templates: The templates of a bundle.
        roots: The templates that are rendered.
        expressions: Jinja expressions beside them.
        owner: The variable, such as `node`; its attributes are among the result as `node.text`.
    """
    found: set[str] = set()
    for tree in (*_reached(templates, roots), *map(_expression, expressions)):
        found.update(_names(tree, owner) if tree is not None else [EVERYTHING])
    return frozenset(found)


def _reached(templates: Templates, roots: Iterable[str]) -> Iterator[nodes.Node | None]:
    """Yield the trees of the templates, and of those that they reach; None for one that nobody can tell."""
    pending, known = list(roots), set[str]()
    while pending:
        name = pending.pop()
        if name in known:
            continue
        known.add(name)
        tree = templates.parse(name) if name in templates.sources else None
        if not isinstance(tree, nodes.Template):
            yield None
            continue
        yield tree
        for node in tree.find_all((nodes.Extends, nodes.FromImport, nodes.Import, nodes.Include)):
            written = _literals(node.template)  # type: ignore[attr-defined] # the four have it
            if None in written:
                yield None
            there = [templates.layers.resolve(one, name) for one in written if one is not None]
            pending += [one for one in there if one in templates.sources]


def _expression(source: str) -> nodes.Node | None:
    try:
        return PromptEnvironment().parse(f"{{{{ ({source}) }}}}")
    except SYNTAX_ERRORS:
        return None


def _literals(node: nodes.Node) -> list[str | None]:
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, nodes.List | nodes.Tuple):
        return [name for item in node.items for name in _literals(item)]
    return [None]


def _names(node: nodes.Node, owner: str) -> Iterator[str]:
    if (
        isinstance(node, nodes.Getattr | nodes.Getitem)
        and isinstance(node.node, nodes.Name)
        and node.node.name == owner
    ):
        arg = node.attr if isinstance(node, nodes.Getattr) else getattr(getattr(node, "arg", None), "value", None)
        plain = isinstance(arg, str) and arg not in ("get", "items", "keys", "values")
        yield f"{owner}.{arg}" if plain else EVERYTHING
    elif isinstance(node, nodes.Name):
        yield EVERYTHING if node.name == owner else node.name
    else:
        for child in node.iter_child_nodes():
            yield from _names(child, owner)

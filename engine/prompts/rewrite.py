"""Rewrites a parsed template so that its loops, macros and literals are charged to the budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from engine.prompts.budget import CALL, STEP

_BODIES = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)


class Metered(NodeTransformer):
    """Adds a charge at the start of each body and around each text or container that is built."""

    def visit(self, node: nodes.Node, *args: Any, **named: Any) -> Any:
        """Return the node with its children and itself metered."""
        self.generic_visit(node, *args, **named)
        handler = _HANDLERS.get(type(node))
        return handler(node) if handler else node


def _body(node: Any) -> nodes.Node:
    base = STEP if isinstance(node, nodes.For) else CALL
    charge = _call("tick", [nodes.Const(base + (text_length(node) >> 3))], node.lineno)
    node.body.insert(0, nodes.ExprStmt(charge, lineno=node.lineno))
    return cast("nodes.Node", node)


def _concat(node: Any) -> nodes.Node:
    return _call("tilde", node.nodes, node.lineno)


def _sequence(node: Any) -> nodes.Node:
    if getattr(node, "ctx", "load") != "load" or _constant(node.items):
        return cast("nodes.Node", node)  # the targets of an assignment, or a literal that cannot grow
    return _call("built", [node], node.lineno)


def _mapping(node: Any) -> nodes.Node:
    constant = _constant([part for pair in node.items for part in (pair.key, pair.value)])
    return cast("nodes.Node", node) if constant else _call("built", [node], node.lineno)


def text_length(node: nodes.Node) -> int:
    """Return the number of characters of literal text in a node, without the bodies that are charged on their own."""
    total = 0
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.TemplateData):
            total += len(child.data)
        elif not isinstance(child, _BODIES):
            total += text_length(child)
    return total


def _constant(items: list[nodes.Expr]) -> bool:
    return all(isinstance(item, nodes.Const) for item in items)


def _call(name: str, args: list[nodes.Expr], lineno: int) -> nodes.Call:
    function = nodes.EnvironmentAttribute(name, lineno=lineno)
    return nodes.Call(function, list(args), [], None, None, lineno=lineno)


_HANDLERS: dict[type[nodes.Node], Callable[[Any], nodes.Node]] = {
    nodes.Concat: _concat,
    nodes.Dict: _mapping,
    nodes.List: _sequence,
    nodes.Tuple: _sequence,
} | dict.fromkeys(_BODIES, _body)

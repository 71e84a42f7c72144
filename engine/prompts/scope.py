"""Which names a template or an expression may use, for the static check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NODE_FIELDS = (
    "node_id",
    "id",
    "type",
    "name",
    "qualified_name",
    "language",
    "file_path",
    "text",
    "docstring",
    "start_line",
    "end_line",
    "start_byte",
    "end_byte",
    "content_hash",
)
"""The attributes of `node`; discovery's CodeNode has exactly these."""

MODEL_FIELDS = ("plugin", "id", "adapter")
"""The attributes of `model`."""

NODE_ALIASES = ("node_text", "node_name", "node_type", "node_id", "file_path", "start_line", "end_line")
"""Flat names for the node's attributes, as older templates and scripts use them."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Names that exist.

    Attributes:
        names: For each name the attributes that it has, or None when it may have any.
    """

    names: Mapping[str, frozenset[str] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))

    def only(self, *names: str) -> Scope:
        """Return the part of the scope with these names."""
        return Scope({name: self.names[name] for name in names if name in self.names})


def prompt_scope(params: Iterable[str], context_names: Iterable[str]) -> Scope:
    """Return the scope of a bundle's prompts and expressions.

    Args:
        params: Names of the bundle's params.
        context_names: Names of its context providers.
    """
    names: dict[str, frozenset[str] | None] = {
        "node": frozenset(NODE_FIELDS),
        "params": frozenset(params),
        "context": frozenset(context_names),
        "model": frozenset(MODEL_FIELDS),
        "tools": None,
        "turn": None,
    }
    return Scope(names | dict.fromkeys(NODE_ALIASES))

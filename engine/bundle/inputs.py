"""Inputs of scripts that the engine fills from the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def node_inputs(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat node names (`node_text`, `file_path` …) that the variables hold."""
    from engine.prompts import NODE_ALIASES

    return {name: variables[name] for name in NODE_ALIASES if name in variables}

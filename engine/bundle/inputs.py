"""Inputs of scripts that the engine fills from the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def node_inputs(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat node names (`node_text`, `file_path` …) that the variables hold."""
    from engine.tools import SYSTEM_INPUTS

    return {name: variables[name] for name in SYSTEM_INPUTS if name in variables}

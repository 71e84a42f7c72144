"""Manifests: the typed models of bundle.yaml and engine.yaml, YAML with positions, JSON Schema export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.manifest.bundle_model import Manifest
    from engine.manifest.document import Document, JsonPath, Position, Positions
    from engine.manifest.engine_config import load_engine_config
    from engine.manifest.engine_model import EngineConfig
    from engine.manifest.languages import LANGUAGES, LanguageSpec, node_types
    from engine.manifest.reader import decode, dotted, read_yaml
    from engine.manifest.schema import json_schema, validator
    from engine.manifest.typed import Typed, read_engine_config, read_manifest

# Loaded on first use: pydantic and jsonschema cost more than most verbs need.
_HOMES = {
    "Document": "document",
    "EngineConfig": "engine_model",
    "JsonPath": "document",
    "LANGUAGES": "languages",
    "LanguageSpec": "languages",
    "Manifest": "bundle_model",
    "Position": "document",
    "Positions": "document",
    "Typed": "typed",
    "decode": "reader",
    "dotted": "reader",
    "json_schema": "schema",
    "load_engine_config": "engine_config",
    "node_types": "languages",
    "read_engine_config": "typed",
    "read_manifest": "typed",
    "read_yaml": "reader",
    "validator": "schema",
}

__all__ = [
    "LANGUAGES",
    "Document",
    "EngineConfig",
    "JsonPath",
    "LanguageSpec",
    "Manifest",
    "Position",
    "Positions",
    "Typed",
    "decode",
    "dotted",
    "json_schema",
    "load_engine_config",
    "node_types",
    "read_engine_config",
    "read_manifest",
    "read_yaml",
    "validator",
]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'engine.manifest' has no attribute {name!r}")
    return getattr(importlib.import_module(f"engine.manifest.{_HOMES[name]}"), name)

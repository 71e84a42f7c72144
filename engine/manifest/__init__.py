"""Manifests: the typed models of bundle.yaml and engine.yaml, YAML with positions, JSON Schema export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.manifest.bundle_model import Manifest
    from engine.manifest.case_model import Case, CaseFile
    from engine.manifest.document import Document, JsonPath, Position, Positions
    from engine.manifest.engine_config import load_engine_config
    from engine.manifest.engine_model import EngineConfig
    from engine.manifest.languages import LANGUAGES, LanguageSpec, node_types
    from engine.manifest.reader import decode, dotted, read_yaml
    from engine.manifest.reading_repairs import split_items, with_repairs
    from engine.manifest.schema import json_schema, validator
    from engine.manifest.typed import Typed, read_cases, read_engine_config, read_manifest, read_manifest_alone

# Loaded on first use: pydantic and jsonschema cost more than most verbs need.

__all__ = [
    "LANGUAGES",
    "Case",
    "CaseFile",
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
    "read_cases",
    "read_engine_config",
    "read_manifest",
    "read_manifest_alone",
    "read_yaml",
    "split_items",
    "validator",
    "with_repairs",
]

__getattr__ = lazy(
    __name__,
    {
        "bundle_model": ("Manifest",),
        "case_model": ("Case", "CaseFile"),
        "document": ("Document", "JsonPath", "Position", "Positions"),
        "engine_config": ("load_engine_config",),
        "engine_model": ("EngineConfig",),
        "languages": ("LANGUAGES", "LanguageSpec", "node_types"),
        "reader": ("decode", "dotted", "read_yaml"),
        "reading_repairs": ("split_items", "with_repairs"),
        "schema": ("json_schema", "validator"),
        "typed": ("Typed", "read_cases", "read_engine_config", "read_manifest", "read_manifest_alone"),
    },
)

"""Completion of a mapping's keys, each with what usually follows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from engine.lsp.completion.choices import Choice, literal, option
from engine.lsp.schemas import Key, Schema, docs_of, keys_at, schemas_at, type_of, values_of
from engine.lsp.yaml_context import Cursor
from engine.manifest import JsonPath
from engine.manifest.schema import Kind


def key_choices(
    kind: Kind, path: JsonPath, cursor: Cursor, present: Sequence[str], *, has_value: bool, indent: int
) -> Iterator[Choice]:
    """Yield the keys that a mapping may still have, the required ones first.

    Args:
        kind: The document.
        path: The mapping.
        cursor: The cursor.
        present: The keys that the mapping has.
        has_value: Whether a colon follows the cursor, so that only the key is written.
        indent: How much deeper than its line's text the mapping is.
    """
    for key in keys_at(kind, path, present):
        insert = key.name if has_value else key_text(kind, (*path, key.name), key, flow=cursor.flow, indent=indent)
        detail = "required" if key.required else type_of(key.schema)
        docs = docs_of(key.name, key.schema, required=key.required)
        yield Choice(key.name, "key", cursor.first, cursor.last, insert, "$" in insert, detail, docs)


def key_text(kind: Kind, path: JsonPath, key: Key, *, flow: bool, indent: int = 0) -> str:
    """Return a key with what follows it: the values to choose from, or the beginning of a mapping or a list."""
    forms = [form for form in schemas_at(kind, path) if form.get("type") != "null"]
    listed = [value for form in forms for value in values_of(form)]
    if listed:
        return f"{key.name}: {_options(listed, key.schema)}"
    kinds = [form.get("type") for form in forms]
    if "string" in kinds or flow or not kinds:
        return f"{key.name}: $0"
    deeper = "\n" + " " * (indent + 2)
    if kinds[0] == "array":
        return f"{key.name}: [$0]" if _short(forms[0]) else f"{key.name}:{deeper}- $0"
    return f"{key.name}:{deeper}$0" if kinds[0] == "object" else f"{key.name}: $0"


def _short(schema: Schema) -> bool:
    """Whether the items of a list are single values, which stand in one line."""
    items = schema.get("items", {})
    return items.get("type") in ("string", "integer", "number") and "$ref" not in items


def _options(values: Sequence[object], schema: Schema) -> str:
    first = schema.get("default")
    ordered = sorted(values, key=lambda value: value != first)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in ordered]
    return literal(texts[0]) if len(texts) == 1 else "${1|" + ",".join(map(option, texts)) + "|}"

"""JSON Schema to JSON Schema: every bound in it, and nothing that one server holds and another ignores.

What is written is the part of JSON Schema that xgrammar (vLLM, SGLang), llguidance (the embedded runtime) and
llama.cpp's own converter hold alike; `tests/test_grammar_modes.py` measures all three. Beside `anyOf` they ignore the
other keywords, so siblings are joined into the branches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.grammar.bounds import DEFAULT_BOUNDS, Bounds
from engine.grammar.frame import CallFrame
from engine.grammar.json_containers import any_object, any_value, write_array, write_object
from engine.grammar.json_pattern import MAX_STRING, rewritten, text
from engine.grammar.json_scalars import Written, closed_object, constants, either, integer, number
from engine.grammar.merge import Schema
from engine.grammar.numeric import Range
from engine.grammar.regex import UnsupportedPatternError
from engine.grammar.walk import Problem, SchemaWalk, as_object, walk_arguments
from engine.messages import ToolSchema

_SHORT = 60


class Definitions:
    """The `$defs` of a schema: its parts by name, for xgrammar writes bounds out anew wherever they stand."""

    def __init__(self) -> None:
        self.all: dict[str, Written] = {}
        self._names: dict[str, str] = {}

    def add(self, hint: str, schema: Written) -> Written:
        """Name a schema and return a reference to it; an equal one keeps its first name."""
        key = json.dumps(schema)
        if key not in self._names:
            stem = re.sub(r"[^A-Za-z0-9]+", "-", hint).strip("-").lower() or "part"
            free = (f"{stem}-{number}" for number in range(1, len(self.all) + 2))
            self._names[key] = next(name for name in (stem, *free) if name not in self.all)
            self.all[self._names[key]] = schema
        return {"$ref": f"#/$defs/{self._names[key]}"}


class JsonWriter(SchemaWalk[Written]):
    """Writes one tool's schema anew; findings collect in `problems`."""

    def __init__(self, root: Schema, definitions: Definitions, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        super().__init__(root, bounds)
        self.definitions = definitions

    def anything(self) -> Written:
        """Write any value, of as many levels as the bounds allow."""
        return any_value(self.definitions, self.bounds)

    def one_of(self, parts: Sequence[Written]) -> Written:
        """Write a choice."""
        return either(parts)

    def shared(self, ref: str, written: Written) -> Written:
        """Name the target of a reference, unless it is short."""
        return written if len(json.dumps(written)) < _SHORT else self.definitions.add(ref.rpartition("/")[2], written)

    def values(self, values: Sequence[Any], path: str) -> Written:  # noqa: ARG002 - the signature of every walk
        """Write constants."""
        return constants(values)

    def one_type(self, name: str, schema: Mapping[str, Any], path: str, depth: int) -> Written | None:
        """Write the values of one type."""
        if name == "string":
            return self._string(schema, path)
        if name == "integer":
            found = integer(Range.of(schema), self.bounds.digits)
            return None if found is None else self.definitions.add(name, found)
        if name == "number":
            return self._number(schema, path)
        if name in ("boolean", "null"):
            return {"type": name}
        return (write_array if name == "array" else write_object)(self, schema, path, depth)

    def _number(self, schema: Mapping[str, Any], path: str) -> Written | None:
        bounds = Range.of(schema)
        if bounds.low is not None or bounds.high is not None:
            self.report(path, "maximum" if bounds.low is None else "minimum", "not every llama.cpp bounds numbers")
        found = number(bounds, self.bounds.digits)
        return None if found is None else self.definitions.add("number", found)

    def _string(self, schema: Mapping[str, Any], path: str) -> Written | None:
        asked, low = schema.get("maxLength"), int(schema.get("minLength", 0))
        high = max(low, min(self.bounds.string, MAX_STRING)) if asked is None else int(asked)
        if low > high:
            return None
        if "pattern" not in schema:
            return self.definitions.add(f"text-{low}-{high}", text(low, high))
        try:
            re.compile(schema["pattern"])
            pattern, exact = rewritten(schema["pattern"], low, high)
        except re.error as error:
            self.report(path, "pattern", f"is not a valid regular expression: {error}", refused=True)
            return None
        except UnsupportedPatternError as error:
            self.report(path, "pattern", f"a grammar cannot express {error}", refused=True)
            return None
        if not exact:
            self.report(path, "pattern", "cannot be joined exactly with the bounds of the length")
        return None if pattern is None else {"type": "string", "pattern": pattern}


def typed_schema(
    parameters: Schema, definitions: Definitions, bounds: Bounds = DEFAULT_BOUNDS
) -> tuple[Written | None, list[Problem]]:
    """Return the schema of a tool's arguments with every bound in it, and what not every server holds of it."""
    parameters = as_object(parameters)
    return walk_arguments(JsonWriter(parameters, definitions, bounds), parameters)


def json_inexpressible(schema: Schema) -> list[Problem]:
    """Return what a tool's schema says and mode json_schema does not hold on every server; see `inexpressible`."""
    return typed_schema(schema, Definitions())[1]


def any_arguments(tool: ToolSchema, definitions: Definitions, bounds: Bounds) -> Written:  # noqa: ARG001 - one signature for all strategies
    """Return the schema of any arguments: strategies that do not look at the tool's own."""
    return any_object(definitions, bounds)


def reply_schema(
    arguments: Mapping[str, Written], definitions: Definitions, frame: CallFrame, *, calls: int
) -> dict[str, Any]:
    """Return the schema of a whole reply: one call as a JSON object, or a list of them.

    Args:
        arguments: The schema of the arguments by the tool's name.
        definitions: What those schemas refer to.
        frame: Gives the keys of a call.
        calls: With more than one, a list of at most this many calls instead of a call.
    """
    name_key, arguments_key = frame.json_keys
    each = [
        closed_object({name_key: {"const": name}, arguments_key: schema}, [name_key, arguments_key])
        for name, schema in arguments.items()
    ]
    one = either(each)
    reply = {"type": "array", "items": one, "minItems": 1, "maxItems": calls} if calls > 1 else one
    return {**reply, "$defs": definitions.all} if definitions.all else reply

"""JSON Schema to grammar: how each type is written, and the list of what the grammar does not express."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from engine.grammar.bounds import DEFAULT_BOUNDS, Bounds
from engine.grammar.charset import ALL, intersect
from engine.grammar.containers import write_array, write_object
from engine.grammar.expr import Expr, Rules, choice, literal
from engine.grammar.marked import spells
from engine.grammar.marked_pattern import counts, may_hold, within
from engine.grammar.merge import Schema
from engine.grammar.numeric import Range, integers, numbers
from engine.grammar.pattern import PatternWriter, narrow, parse_cached, solid
from engine.grammar.regex import Node, UnsupportedPatternError
from engine.grammar.runs import few_cuts
from engine.grammar.shapes import malformed
from engine.grammar.syntax import JSON_SYNTAX, Syntax
from engine.grammar.values import any_value
from engine.grammar.walk import Problem, SchemaWalk, as_object, walk_arguments

__all__ = ["Problem", "SchemaWriter", "inexpressible", "write_arguments"]


class SchemaWriter(SchemaWalk[Expr]):
    """Writes one tool's schema as grammar; findings collect in `problems`."""

    def __init__(
        self, root: Schema, rules: Rules, bounds: Bounds = DEFAULT_BOUNDS, syntax: Syntax = JSON_SYNTAX
    ) -> None:
        super().__init__(root, bounds)
        self.rules = rules
        self.syntax = syntax
        self._argument = ""
        self._kinds: set[str] = set()

    @contextmanager
    def member(self, path: str) -> Iterator[None]:
        """Write the value of an object's member, and note where its text may be that of another value."""
        with self.writing(self.syntax.inner):
            if not self.syntax.unsigned:
                yield
                return
            self._argument, self._kinds = path, set()
            yield
            if len(self._kinds) > 1:
                self.report(path, "type", "that a text is also JSON of another type is checked after parsing")

    def _note(self, kind: str) -> None:
        if self.syntax.unsigned:
            self._kinds.add(kind)

    @contextmanager
    def writing(self, syntax: Syntax) -> Iterator[None]:
        """Write in another syntax."""
        outer, self.syntax = self.syntax, syntax
        try:
            yield
        finally:
            self.syntax = outer

    def manner(self) -> tuple[Syntax, str]:
        """Return the syntax and, where it matters for what is noted of it, the argument."""
        return self.syntax, self._argument if self.syntax.unsigned else ""

    def anything(self) -> Expr:
        """Match any value."""
        return any_value(self.rules, self.bounds, self.syntax)

    def one_of(self, parts: Sequence[Expr]) -> Expr:
        """Match one of the parts."""
        return choice(*parts)

    def values(self, values: Sequence[Any], path: str) -> Expr:  # noqa: ARG002 - the signature of every walk
        """Match one of the constants."""
        for value in values:
            if value is not None and (not isinstance(value, str) or _reads_as_json(value)):
                self._note("string" if isinstance(value, str) else "other")
        return self.syntax.ended(self.rules, self.rules.add("choice", choice(*map(self.syntax.literal, values))))

    def one_type(self, name: str, schema: Mapping[str, Any], path: str, depth: int) -> Expr | None:
        """Match the values of one type."""
        if name in ("object", "array") or (name in ("integer", "number") and Range.of(schema) != Range()):
            self._note("other")
        if name == "string":
            self._note("string")
            return self._string(schema, path)
        found = self._no_string(name, schema, path, depth)
        return None if found is None else self.syntax.ended(self.rules, found)

    def _no_string(self, name: str, schema: Mapping[str, Any], path: str, depth: int) -> Expr | None:
        if name == "integer":
            return integers(Range.of(schema), self.bounds.digits)
        if name == "number":
            return numbers(Range.of(schema), self.bounds.digits, self.rules)
        if name == "boolean":
            return choice(literal("true"), literal("false"))
        if name == "null":
            return literal("null")
        with self.writing(self.syntax.compound):
            return (write_array if name == "array" else write_object)(self, schema, path, depth)

    def _string(self, schema: Mapping[str, Any], path: str) -> Expr | None:
        asked = schema.get("maxLength")
        low, high = self.bounds.string_range(int(schema.get("minLength", 0)), None if asked is None else int(asked))
        if max(low, self.syntax.least) > high:
            return None
        if "pattern" not in schema:
            self._report_length(schema, path, high)
            return self.syntax.string(self.rules, low, high, None if "maxLength" in schema else few_cuts(high))
        try:
            re.compile(schema["pattern"])
            body = self._pattern(schema, low, high, path)
        except re.error as error:
            self.report(path, "pattern", f"is not a valid regular expression: {error}", refused=True)
            return None
        except UnsupportedPatternError as error:
            self.report(path, "pattern", f"a grammar cannot express {error}", refused=True)
            return None
        if body is None:
            return None
        return self.syntax.ended(self.rules, self.rules.add("text", self.syntax.quoted(body)))

    def _report_length(self, schema: Mapping[str, Any], path: str, high: int) -> None:
        """Note the bounds that hold only for a text without the first character of the marker."""
        marker = self.syntax.marker
        if not spells(self.syntax.chars, marker) or high < len(marker):
            return
        for key, least in (("minLength", 2), ("maxLength", 0)):
            if schema.get(key, -1) >= least:
                self.report(path, key, f"of a text with '{marker[0]}' in it is checked after parsing")

    def _pattern(self, schema: Mapping[str, Any], low: int, high: int, path: str) -> Expr | None:
        tree = self._fitting(parse_cached(schema["pattern"]))
        if tree is None:
            return None
        self._report_marker(tree, schema, path)
        with suppress(ValueError):
            exact = narrow(tree, low, high)
            return None if exact is None else PatternWriter(self.rules, high, self.syntax).write(exact)
        for share in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64):
            written = PatternWriter(self.rules, max(1, high // share), self.syntax).write(tree)
            if written.longest <= high and written.shortest >= low:
                return written
        self.report(path, "pattern", "cannot be joined exactly with the bounds of the length")
        return PatternWriter(self.rules, high, self.syntax).write(tree)

    def _fitting(self, tree: Node) -> Node | None:
        """Return what the syntax can write of a pattern's texts."""
        chars = intersect(self.syntax.chars, self.syntax.edges)
        found = tree if chars == ALL else within(tree, chars)
        return solid(found) if found is not None and self.syntax.least else found

    def _report_marker(self, tree: Node, schema: Mapping[str, Any], path: str) -> None:
        marker = self.syntax.marker
        if not marker:
            return
        if may_hold(tree, marker):
            self.report(path, "pattern", f"may allow {marker}, which ends a text: checked after parsing")
        if counts(tree, marker, bounded="minLength" in schema or "maxLength" in schema):
            self.report(path, "pattern", f"of a text with '{marker[0]}' in it is checked after parsing")


def _reads_as_json(text: str) -> bool:
    try:
        return not isinstance(json.loads(text), str)
    except ValueError:
        return False


def write_arguments(
    parameters: Schema, rules: Rules, bounds: Bounds = DEFAULT_BOUNDS, syntax: Syntax = JSON_SYNTAX
) -> tuple[Expr | None, list[Problem]]:
    """Return the grammar of a tool's arguments and what it does not express.

    Args:
        parameters: The tool's JSON Schema; without properties and without `additionalProperties` it takes no arguments.
        rules: Where rules are added.
        bounds: Default bounds.
        syntax: How the arguments are written.
    """
    parameters = as_object(parameters)
    if syntax.name != JSON_SYNTAX.name:
        parameters = _no_other_type(parameters)
    return walk_arguments(SchemaWriter(parameters, rules, bounds, syntax), parameters)


def _no_other_type(parameters: Schema) -> Schema:
    """Return parameters that are an object and nothing else: only JSON could write another value in their place."""
    if not isinstance(parameters, Mapping):
        return {"type": "object"} if parameters is True else parameters
    named = parameters["type"]
    if named == "object" or malformed(parameters):
        return parameters
    return {**parameters, "type": "object"} if "object" in named and not isinstance(named, str) else False


def inexpressible(schema: Schema, bounds: Bounds = DEFAULT_BOUNDS, syntax: Syntax = JSON_SYNTAX) -> list[Problem]:
    """Return what a tool's schema says and its typed grammar does not: refused, or checked after parsing."""
    return write_arguments(schema, Rules(), bounds, syntax)[1]

"""The walk over a JSON Schema that every way of writing shares: references, branches, and siblings joined into them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.grammar.bounds import DEFAULT_BOUNDS, Bounds
from engine.grammar.merge import ANNOTATIONS, Schema, UnmergeableError, merge
from engine.grammar.refs import recursive_refs, resolve
from engine.grammar.shapes import has_type, left_to_check, malformed, types_meant

_MAX_DEPTH = 32
_MAX_STEPS = 5000
_MAX_LOOPS = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a schema says and the grammar does not.

    Attributes:
        path: JSON pointer into the schema; empty for the schema itself.
        keyword: The keyword.
        refused: True when no grammar is made; False when the value is checked after parsing.
        reason: One clause that says why.
    """

    path: str
    keyword: str
    refused: bool
    reason: str


class TooLargeError(Exception):
    """The walk has gone deeper or on for longer than any honest schema needs."""


class SchemaWalk(ABC, Generic[T]):
    """Walks one tool's schema; findings collect in `problems`.

    A method returns None where no value can satisfy the schema (or a recursive schema has reached its bound): an
    optional property is then left out, a branch of anyOf is dropped, and what cannot be left out makes the whole
    impossible.
    """

    def __init__(self, root: Schema, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self.bounds = bounds
        self._problems: dict[Problem, None] = {}
        self._root = root
        self._recursive = recursive_refs(root)
        self._level = 0
        self._known: dict[tuple[str, Bounds, int, object], T | None] = {}
        self._steps = 0

    @abstractmethod
    def anything(self) -> T:
        """Write any value."""

    @abstractmethod
    def one_of(self, parts: Sequence[T]) -> T:
        """Write a choice of at least one part."""

    @abstractmethod
    def values(self, values: Sequence[Any], path: str) -> T | None:
        """Write a choice of constants; raises ValueError for one that is not JSON."""

    @abstractmethod
    def one_type(self, name: str, schema: Mapping[str, Any], path: str, depth: int) -> T | None:
        """Write the values of one type."""

    def manner(self) -> object:
        """Return what else changes how the same schema is written at different places; it must be hashable."""
        return None

    def shared(self, ref: str, written: T) -> T:  # noqa: ARG002 - for ways of writing that name what they use twice
        """Return what stands for the target of a reference wherever it is used."""
        return written

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Write with the bounds of what stands inside an array or a free object."""
        outer, self.bounds = self.bounds, self.bounds.inner()
        try:
            yield
        finally:
            self.bounds = outer

    def report(self, path: str, keyword: str, reason: str, *, refused: bool = False) -> None:
        """Note a finding once."""
        self._problems[Problem(path, keyword, refused, reason)] = None

    @property
    def problems(self) -> list[Problem]:
        """The findings so far."""
        return list(self._problems)

    def write(self, schema: Schema, path: str = "", depth: int = 0) -> T | None:
        """Return what stands for a schema's values, or None when there are none."""
        self._steps += 1
        if depth > _MAX_DEPTH or self._steps > _MAX_STEPS:
            raise TooLargeError
        if isinstance(schema, bool):
            return self.anything() if schema else None
        wrong = "type" if not isinstance(schema, Mapping) else malformed(schema)
        if wrong:
            self.report(path, wrong, "is not valid JSON Schema", refused=True)
            return None
        for key, handler in (("$ref", self._ref), ("allOf", self._all), ("anyOf", self._any), ("oneOf", self._any)):
            if key in schema:
                return handler(key, schema, path, depth + 1)
        if "const" in schema or "enum" in schema:
            return self._constants(schema, path)
        return self._typed(schema, path, depth + 1)

    def _typed(self, schema: Mapping[str, Any], path: str, depth: int) -> T | None:
        types = types_meant(schema)
        for key in left_to_check(schema, types):
            self.report(path, key, "a grammar cannot express it")
        if not types:
            return self.anything()
        if "number" in types:
            types = [name for name in types if name != "integer"]
        parts = [part for name in types if (part := self.one_type(name, schema, path, depth)) is not None]
        return self.one_of(parts) if parts else None

    def _constants(self, schema: Mapping[str, Any], path: str) -> T | None:
        values = [schema["const"]] if "const" in schema else list(schema["enum"])
        rest = {
            key: value
            for key, value in schema.items()
            if key not in ANNOTATIONS and key != ("const" if "const" in schema else "enum")
        }
        try:
            fitting = [value for value in values if _satisfies(value, rest, self._root)]
            return self.values(fitting, path) if fitting else None
        except ValueError as error:
            self.report(path, "enum", str(error), refused=True)
            return None

    def _ref(self, key: str, schema: Mapping[str, Any], path: str, depth: int) -> T | None:
        ref = schema[key]
        target = resolve(self._root, ref)
        if target is None:
            self.report(path, key, f"{ref} is not in the schema", refused=True)
            return None
        loops = ref in self._recursive
        if loops and self._level >= (self.bounds.recursion + 1) * min(len(self._recursive), _MAX_LOOPS):
            return None
        rest = {name: value for name, value in schema.items() if name != key and name not in ANNOTATIONS}
        memo = (ref, self.bounds, self._level, self.manner())
        if not rest and memo in self._known:
            return self._known[memo]
        joined = self._merge(target, rest, path)
        self._level += loops
        found = None if joined is None else self.write(joined, path, depth)
        self._level -= loops
        if not rest:
            found = None if found is None else self.shared(ref, found)
            self._known[memo] = found
        return found

    def _all(self, key: str, schema: Mapping[str, Any], path: str, depth: int) -> T | None:
        joined: Schema | None = {name: value for name, value in schema.items() if name != key}
        for part in schema[key]:
            flat = self._flat(part)
            joined = None if joined is None or flat is None else self._merge(joined, flat, path)
        if joined is None:
            self.report(path, key, "cannot be joined with its siblings", refused=True)
            return None
        return self.write(joined, path, depth)

    def _any(self, key: str, schema: Mapping[str, Any], path: str, depth: int) -> T | None:
        base = {name: value for name, value in schema.items() if name != key and name not in ANNOTATIONS}
        flat = [self._flat(part) for part in schema[key]] if base or key == "oneOf" else []
        branches: list[Schema | None] = flat if base else list(schema[key])
        if key == "oneOf" and not _apart([part for part in flat if part is not None]):
            self.report(path, key, "that only one branch fits is checked after parsing")
        parts: list[T] = []
        for index, branch in enumerate(branches):
            joined = None if branch is None else self._merge(base, branch, f"{path}/{key}/{index}")
            part = None if joined is None else self.write(joined, f"{path}/{key}/{index}", depth)
            parts += [] if part is None else [part]
        return self.one_of(parts) if parts else None

    def _flat(self, schema: Schema) -> Schema | None:
        """Return the schema with a `$ref` at its top replaced by its target; None when that is missing or recursive."""
        seen: set[str] = set()
        while isinstance(schema, Mapping) and "$ref" in schema:
            ref = schema["$ref"]
            target = resolve(self._root, ref) if isinstance(ref, str) else None
            if target is None or ref in seen:
                self.report("", "$ref", f"{ref} cannot be resolved", refused=True)
                return None
            seen.add(ref)
            joined = self._merge(target, {name: value for name, value in schema.items() if name != "$ref"}, "")
            if joined is None:
                return None
            schema = joined
        return schema

    def _merge(self, left: Schema, right: Schema, path: str) -> Schema | None:
        try:
            return merge(left, right)
        except UnmergeableError as error:
            self.report(path, error.keyword, "cannot be joined with the same keyword beside it", refused=True)
        except (TypeError, AttributeError, ValueError):
            self.report(path, "allOf", "is not valid JSON Schema", refused=True)
        return None


def walk_arguments(walk: SchemaWalk[T], parameters: Schema) -> tuple[T | None, list[Problem]]:
    """Return what a walk writes for a tool's whole parameters, and its findings.

    Args:
        walk: A walk whose root is `parameters`.
        parameters: The tool's parameters, from `as_object`.
    """
    try:
        found = walk.write(parameters)
    except TooLargeError:
        walk.report("", "properties", "the schema is too deep or too large", refused=True)
        return None, walk.problems
    if found is None and not any(problem.refused for problem in walk.problems):
        walk.report("", "type", "no value satisfies the schema", refused=True)
    return found, walk.problems


def as_object(parameters: Schema) -> Schema:
    """Return a tool's parameters with the type said; without properties and the like they take no arguments."""
    if not isinstance(parameters, Mapping):
        return parameters
    free = any(
        key in parameters
        for key in ("properties", "additionalProperties", "$ref", "anyOf", "oneOf", "allOf", "patternProperties")
    )
    extra = {} if free and parameters.get("properties") != {} else {"additionalProperties": False}
    return {"type": "object", **extra, **parameters}


def _satisfies(value: Any, rest: Mapping[str, Any], root: Schema) -> bool:
    if not rest or set(rest) == {"type"}:
        return not rest or has_type(value, types_meant(rest))
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    defs = {key: root[key] for key in ("$defs", "definitions") if isinstance(root, Mapping) and key in root}
    try:
        Draft202012Validator.check_schema({**rest, **defs})
        # An empty registry: jsonschema's own would fetch a reference from the network.
        return Draft202012Validator({**rest, **defs}, registry=Registry()).is_valid(value)
    except (SchemaError, Unresolvable, RecursionError) as error:
        raise ValueError(f"its siblings are not valid JSON Schema: {str(error)[:200]}") from error


def _apart(branches: Sequence[Schema]) -> bool:
    """Whether no value can fit two branches, as far as their types and the constants of a common property show."""
    kinds = [types_meant(part) if isinstance(part, Mapping) else [] for part in branches]
    flat = [("number" if name == "integer" else name) for names in kinds for name in names]
    if all(kinds) and len(flat) == len(set(flat)):
        return True
    return any(_discriminates(name, branches) for name in _required(branches[0])) if branches else True


def _required(schema: Schema) -> list[str]:
    return list(schema.get("required", ())) if isinstance(schema, Mapping) else []


def _discriminates(name: str, branches: Sequence[Schema]) -> bool:
    seen: list[Any] = []
    for part in branches:
        own = part.get("properties", {}).get(name) if isinstance(part, Mapping) and name in _required(part) else None
        if not isinstance(own, Mapping) or not ("const" in own or "enum" in own):
            return False
        seen += [own["const"]] if "const" in own else list(own["enum"])
    return len(seen) == len({repr(value) for value in seen})

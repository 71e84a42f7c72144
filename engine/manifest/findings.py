"""Schema errors in the author's terms: which code, which words, the narrowest place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.diagnostics import Diagnostic, Span, did_you_mean
from engine.manifest.document import Document, JsonPath
from engine.manifest.older import older_shape, renamed
from engine.manifest.reader import dotted

# jsonschema's ValidationError; its annotations add an "unset" to every field, which iter_errors never yields.
SchemaError = Any

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


@dataclass(frozen=True, slots=True)
class SchemaFinding:
    """A finding and the path whose value cannot be used because of it."""

    diagnostic: Diagnostic
    path: JsonPath


def schema_findings(document: Document, errors: Sequence[SchemaError]) -> list[SchemaFinding]:
    """Turn jsonschema's errors into findings, less those about values in which the reading found something already."""
    found: list[SchemaFinding] = []
    seen: set[tuple[str, JsonPath, str]] = set()
    for error in leaves(errors):
        for finding in _translate(document, error):
            mark = (finding.diagnostic.code, finding.path, finding.diagnostic.message)
            known = document.odd_keys if finding.diagnostic.code == "S001" else document.tainted
            if mark not in seen and finding.path not in known:
                seen.add(mark)
                found.append(finding)
    return found


def describe(value: Any) -> str:
    """Say what kind of value this is, such as `a list`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}" if len(str(value)) < 30 else "a number"
    if isinstance(value, str):
        return f"text {_short(value)}"
    return "a list" if isinstance(value, list) else "a mapping"


def _dotted(document: Document, path: JsonPath) -> str:
    """Return a path as its author would write it: in the document that has it, of those that were merged."""
    return dotted(document.positions.written(path))


def _short(value: Any) -> str:
    text = str(value)
    text = text if len(text) <= 40 else text[:37] + "…"
    return "'" + text.replace("\n", "\\n") + "'"


def leaves(errors: Sequence[SchemaError]) -> Iterator[SchemaError]:
    """Replace each failed union by the errors of the branch that the author most likely meant."""
    for error in errors:
        if error.validator == "anyOf" and not _key_rule(error):
            yield from _best_branch(error)
        else:
            yield error


def _key_rule(error: SchemaError) -> bool:
    return all(set(branch) == {"required"} for branch in error.validator_value)


def _best_branch(error: SchemaError) -> Iterator[SchemaError]:
    """The errors of the branch that the author most likely meant; the union itself where none fits at all."""
    branches: dict[int, list[SchemaError]] = {}
    for child in error.context or ():
        branches.setdefault(int(child.relative_schema_path[0]), []).append(child)
    scored = [
        (_score(error.validator_value[index], error.instance, children), -index)
        for index, children in branches.items()
        if _fits_type(error.validator_value[index], error.instance)
    ]
    if not scored:
        yield error
        return
    best = -max(scored)[1]
    for child in branches[best]:
        child.parent = error
        yield from leaves([child])


def _fits_type(branch: Mapping[str, Any], instance: Any) -> bool:
    names = {dict: ("object",), list: ("array",), str: ("string",), bool: ("boolean",)}
    allowed = names.get(type(instance), ("number", "integer") if isinstance(instance, (int, float)) else ("null",))
    return branch.get("type") in allowed


def _score(branch: Mapping[str, Any], instance: Any, children: Sequence[SchemaError]) -> tuple[int, int]:
    known = branch.get("properties", {})
    matched = sum(10 for key in instance if key in known) if isinstance(instance, dict) else 0
    close = (
        sum(3 for key in instance if key not in known and did_you_mean(str(key), known))
        if matched == 0 and isinstance(instance, dict)
        else 0
    )
    return matched + close, -len(children)


def _translate(document: Document, error: SchemaError) -> Iterator[SchemaFinding]:
    path = tuple(error.absolute_path)
    handler = _HANDLERS.get(str(error.validator), _invalid_value)
    yield from handler(document, error, path)


def _unknown_key(document: Document, error: SchemaError, path: JsonPath) -> Iterator[SchemaFinding]:
    patterns = error.schema.get("patternProperties")
    if patterns:
        for key in (key for key in error.instance if not matches(patterns, key)):
            message = f"{_dotted(document, (*path, key))}: the name {_short(key)} is not an identifier"
            yield _finding(document, "S005", message, (*path, key), "use letters, digits and _", at_key=True)
        return
    known = error.schema.get("properties", {})
    where = _dotted(document, path) if path else "the top level"
    for key in error.instance:
        if key not in known:
            older = renamed((*path, key))
            hint = f"it is called '{older}'" if older in known else did_you_mean(key, known)
            message = f"unknown key {_short(key)} in {where}" + (f": {hint}" if hint else "")
            help_text = f"known keys: {', '.join(known)}"
            yield _finding(document, "S001", message, (*path, key), help_text, at_key=True)


def matches(patterns: Mapping[str, Any], key: str) -> bool:
    """Whether a key has the form of one of the patterns."""
    import re

    return any(re.search(pattern, key) for pattern in patterns)


def _missing_key(document: Document, error: SchemaError, path: JsonPath) -> Iterator[SchemaFinding]:
    properties = error.schema.get("properties", {})
    for key in error.validator_value:
        if key not in error.instance:
            where = _dotted(document, path) if path else "the manifest"
            help_text = properties.get(key, {}).get("description")
            if (*path, key) == ("format",) and older_shape(document.data):
                help_text = "this is a manifest of an earlier format: engine migrate PATH converts it"
            span = document.positions.key(path)
            finding = Diagnostic("S003", f"{where} lacks the key '{key}'", span, help_text)
            yield SchemaFinding(finding, path or (key,))


def _wrong_type(document: Document, error: SchemaError, path: JsonPath) -> Iterator[SchemaFinding]:
    if path == ("format",):
        yield _unknown_format(document, error)
        return
    kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    wanted = _TYPES.get(str(kinds[0]), str(kinds[0]))  # what may be null too goes by its first kind
    yield _finding(
        document,
        "S002",
        _type_message(_dotted(document, path), wanted, error.instance),
        path,
        _type_help(error, wanted),
    )


def _wrong_union(document: Document, error: SchemaError, path: JsonPath) -> Iterator[SchemaFinding]:
    if _key_rule(error):
        keys = [branch["required"][0] for branch in error.validator_value]
        message = f"{_dotted(document, path)} needs one of the keys {', '.join(keys)}"
        span = document.positions.key(path)
        yield SchemaFinding(Diagnostic("S006", message, span, f"add {' or '.join(keys)}"), path)
        return
    kinds = dict.fromkeys(_TYPES.get(str(branch.get("type")), "another value") for branch in error.validator_value)
    kinds.pop("nothing", None)
    wanted = " or ".join(kinds)
    yield _finding(
        document,
        "S002",
        _type_message(_dotted(document, path), wanted, error.instance),
        path,
        _type_help(error, wanted),
    )


def _type_message(name: str, wanted: str, instance: Any) -> str:
    return f"{name} must be {wanted}, not {describe(instance)}"


def _type_help(error: SchemaError, wanted: str) -> str | None:
    if wanted == "text" and isinstance(error.instance, (int, float)) and not isinstance(error.instance, bool):
        return "quote it"
    return f"write {wanted}" if "description" not in error.schema else _description(error)


def _description(error: SchemaError) -> str | None:
    here = error.schema.get("description")
    if here is None and error.parent is not None:
        here = error.parent.schema.get("description")
    return here if isinstance(here, str) else "engine schema shows the whole format"


def _not_a_choice(document: Document, error: SchemaError, path: JsonPath) -> Iterator[SchemaFinding]:
    choices = [error.validator_value] if error.validator == "const" else list(error.validator_value)
    if path == ("format",):
        yield _unknown_format(document, error)
        return
    hint = did_you_mean(error.instance, choices) if isinstance(error.instance, str) else None
    listed = ", ".join(map(str, choices))
    message = f"{_dotted(document, path)} is {_short(error.instance)}, not one of {listed}" + (
        f": {hint}" if hint else ""
    )
    yield _finding(document, "S004", message, path, _description(error))


def _unknown_format(document: Document, error: SchemaError) -> SchemaFinding:
    known = error.schema["const"]
    message = f"format {_short(error.instance)} is not one that this engine reads: it reads format {known}"
    return _finding(document, "S007", message, ("format",), f"write 'format: {known}'")


def _conflict(document: Document, error: SchemaError, path: JsonPath) -> Iterator[SchemaFinding]:
    spans = {key: document.positions.key((*path, key)) for key in error.validator_value["required"]}
    first, second = sorted(spans, key=lambda key: spans[key])
    message = f"{_dotted(document, path)}: the keys {first} and {second} exclude each other"
    yield SchemaFinding(Diagnostic("S006", message, spans[second], f"keep {first} or {second}"), path)


_BOUNDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "pattern": "does not have the form {}",
}


def _invalid_value(document: Document, error: SchemaError, path: JsonPath) -> Iterator[SchemaFinding]:
    template = _BOUNDS.get(str(error.validator), "is not valid ({})")
    empty = error.validator in ("minItems", "minLength") and error.validator_value == 1
    rule = "must not be empty" if empty else template.format(error.validator_value)
    value = f" ({_short(error.instance)})" if isinstance(error.instance, (str, int, float)) and not empty else ""
    message = f"{_dotted(document, path)}{value} {rule}"
    yield _finding(document, "S005", message, path, _description(error))


def _finding(
    document: Document, code: str, message: str, path: JsonPath, help_text: str | None, *, at_key: bool = False
) -> SchemaFinding:
    span: Span = document.positions.key(path) if at_key else document.positions.value(path)
    return SchemaFinding(Diagnostic(code, message, span, help_text), path)


_HANDLERS = {
    "additionalProperties": _unknown_key,
    "required": _missing_key,
    "type": _wrong_type,
    "anyOf": _wrong_union,
    "enum": _not_a_choice,
    "const": _not_a_choice,
    "not": _conflict,
}

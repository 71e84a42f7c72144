"""JSON Schema at the border to the model: arguments are checked against the schema that the model saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from engine.tools.patterns import matches

_MAX_PROBLEMS = 5
_MAX_TEXT = 200


@lru_cache(maxsize=1)
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not matches(pattern, instance):
            yield ValidationError(f"{_short(repr(instance))} does not match {pattern!r}")

    return validators.extend(  # type: ignore[no-untyped-call]  # jsonschema has no types here
        Draft202012Validator, {"pattern": pattern}
    )


class ArgumentChecker:
    """Checks arguments against one schema, compiled once."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = _validator_class()(dict(schema))

    def problems(self, arguments: Mapping[str, Any]) -> str:
        """Return every problem on one line, empty when the arguments fit."""
        instance = dict(arguments)
        found = sorted(self._validator.iter_errors(instance), key=lambda item: item.json_path)
        texts = [_problem(item) for item in found[:_MAX_PROBLEMS]]
        if len(found) > _MAX_PROBLEMS:
            texts.append(f"and {len(found) - _MAX_PROBLEMS} more")
        return "; ".join(texts)


def _problem(error: Any) -> str:
    place = error.json_path.removeprefix("$").removeprefix(".")
    message = _short(" ".join(str(error.message).split()))
    return f"{place}: {message}" if place else message


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT // 2] + " … " + text[-_MAX_TEXT // 2 :]


def fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Say whether a value fits a schema."""
    return not any(True for _ in _validator_class()(dict(schema)).iter_errors(value))

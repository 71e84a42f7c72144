"""Arguments after parsing: checked with jsonschema against the schema that the model saw, whatever the grammar held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

from engine.errors import ConfigError
from engine.grammar.linear_pattern import PatternError, matches

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


def _validator(schema: Mapping[str, Any] | bool) -> Any:
    from referencing import Registry

    # An empty registry: jsonschema's own would fetch a reference from the network.
    plain = schema if isinstance(schema, bool) else dict(schema)
    return _validator_class()(plain, registry=Registry())


class ArgumentChecker:
    """Checks arguments against one schema, compiled when the first are checked; tasks may share it."""

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        self._schema = schema

    @cached_property
    def _validator(self) -> Any:
        return _validator(self._schema)

    def problems(self, arguments: Mapping[str, Any]) -> str:
        """Return every problem on one line, empty when the arguments fit.

        Raises:
            ConfigError: The schema cannot be used to check anything.
        """
        from jsonschema.exceptions import UnknownType
        from referencing.exceptions import Unresolvable

        unusable = (Unresolvable, UnknownType, PatternError, TypeError, ValueError, RecursionError, AttributeError)
        try:
            found = sorted(self._validator.iter_errors(dict(arguments)), key=lambda item: item.json_path)
        except unusable as error:
            reason = _short(" ".join(str(error).split()) or type(error).__name__)
            raise ConfigError(f"the arguments cannot be checked: their schema is not usable: {reason}") from error
        texts = [_problem(item) for item in found[:_MAX_PROBLEMS]]
        if len(found) > _MAX_PROBLEMS:
            texts.append(f"and {len(found) - _MAX_PROBLEMS} more")
        return "; ".join(texts)


def check_arguments(schema: Mapping[str, Any] | bool, arguments: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the arguments of a call, on one line, or None when they fit the schema.

    Patterns are matched in linear time, and no reference is fetched from anywhere.

    Args:
        schema: The tool's JSON Schema, as the model saw it.
        arguments: The parsed arguments.

    Raises:
        ConfigError: The schema cannot be used: a reference leads out of it, or a pattern has look-around.
    """
    return ArgumentChecker(schema).problems(arguments) or None


def _problem(error: Any) -> str:
    place = error.json_path.removeprefix("$").removeprefix(".")
    message = _short(" ".join(str(error.message).split()))
    return f"{place}: {message}" if place else message


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT // 2] + " … " + text[-_MAX_TEXT // 2 :]


def fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Say whether a value fits a schema."""
    return not any(True for _ in _validator(schema).iter_errors(value))

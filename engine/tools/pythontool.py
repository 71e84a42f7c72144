"""A Python callable as a tool: outside of the sandbox, so only where the machine's owner trusts it."""

from __future__ import annotations

import asyncio
import inspect
import time
import typing
from collections.abc import Callable
from importlib import import_module
from typing import Any

from engine.errors import ConfigError
from engine.grammar.argument_check import ArgumentChecker
from engine.messages import ToolCall, ToolResult, ToolSchema
from engine.tools.base import ToolEnvironment
from engine.tools.results import error_result, value_result
from engine.tools.values import NotJsonError, to_json


class PythonTool:
    """A callable: an object that the program hands over, or one that a bundle names `package.module:callable`.

    Args:
        target: The callable, or its name, which is imported here.
        trusted: Whether a name may be imported: `trust.python_tools` of engine.yaml.
        name: What the model calls it, if not the callable's name.
        description: What the model reads, if not the docstring.

    Raises:
        ConfigError: It is not trusted, cannot be imported, or its signature has no JSON Schema.
    """

    def __init__(
        self,
        target: str | Callable[..., Any],
        *,
        trusted: bool = False,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        if isinstance(target, str) and not trusted:
            raise ConfigError(
                f"the tool {target} is Python code outside of the sandbox: "
                "set trust.python_tools in engine.yaml to allow it"
            )
        self._function = _load(target) if isinstance(target, str) else target
        self.name = name or _name_of(target)
        self._model, parameters = _signature(self._function, self.name)
        text = description or inspect.getdoc(self._function) or ""
        self._schema = ToolSchema(self.name, text, parameters)
        self._checker = ArgumentChecker(parameters)

    @property
    def schema(self) -> ToolSchema:
        """What the model sees."""
        return self._schema

    async def call(self, call: ToolCall, environment: ToolEnvironment) -> ToolResult:  # noqa: ARG002 - nothing is bound
        """Check the arguments and call it, in a thread unless it is async; every failure is an error result."""
        began = time.perf_counter()
        problems = self._checker.problems(call.arguments)
        if problems:
            return error_result(call, f"{self.name}: the arguments do not fit: {problems}", _ms(began))
        try:
            model = self._model.model_validate(dict(call.arguments))
            arguments = {key: getattr(model, key) for key in type(model).model_fields}
            if inspect.iscoroutinefunction(self._function):
                value = await self._function(**arguments)
            else:
                value = await asyncio.to_thread(self._function, **arguments)
            return value_result(call, to_json(value), _ms(began))
        except NotJsonError as error:
            return error_result(call, f"{self.name}: the result is not JSON: {error}", _ms(began))
        except Exception as error:  # noqa: BLE001 - a tool may raise anything; the model reads it
            return error_result(call, f"{self.name}: {type(error).__name__}: {error}", _ms(began))


def _name_of(target: str | Callable[..., Any]) -> str:
    return target.rpartition(":")[2].rpartition(".")[2] if isinstance(target, str) else getattr(target, "__name__", "")


def _load(target: str) -> Callable[..., Any]:
    module, _, path = target.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"the tool {target} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError(f"the tool {target} is not a callable")
    return typing.cast("Callable[..., Any]", found)


def _signature(function: Callable[..., Any], target: str) -> tuple[Any, dict[str, Any]]:
    """Return a pydantic model of the parameters, and its JSON Schema."""
    from pydantic import ConfigDict, PydanticUserError, create_model

    try:
        hints = typing.get_type_hints(function, include_extras=True)
        fields: dict[str, Any] = {}
        for item in inspect.signature(function).parameters.values():
            if item.kind not in {item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY}:
                raise ConfigError(f"the tool {target} takes '{item}'; a tool takes named parameters only")
            default = ... if item.default is item.empty else item.default
            fields[item.name] = (hints.get(item.name, Any), default)
        model = create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
        schema = model.model_json_schema()
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        raise ConfigError(f"the parameters of the tool {target} have no JSON Schema: {error}") from error
    return model, _tidy(schema)


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop the titles that pydantic makes from names."""
    schema.pop("title", None)
    for item in schema.get("properties", {}).values():
        item.pop("title", None)
    return {"required": [], **schema, "additionalProperties": False}


def _ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000

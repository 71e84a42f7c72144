"""Python callables as tools, and the module that `.pym` scripts import in an editor."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.errors import ConfigError
from engine.messages import ToolCall
from engine.pym import Input, external
from engine.tools import PythonTool, ToolEnvironment

EMPTY = ToolEnvironment()
HERE = "test_tools_python"


def greet(name: str, times: int = 1, style: Literal["a", "b"] = "a", tags: list[str] | None = None) -> dict[str, Any]:
    """Greet somebody.

    More about it.
    """
    return {"result": f"hello {name} " * times + style, "summary": f"{len(tags or [])} tags"}


async def wait(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def unfit() -> object:
    return object()


def anything(*args: int) -> None: ...


class Holder:
    @staticmethod
    def inside(x: int) -> int:
        return x + 1


NOT_CALLABLE = 3


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def tool(name: str) -> PythonTool:
    return PythonTool(f"{HERE}:{name}", trusted=True)


def call(**arguments: Any) -> ToolCall:
    return ToolCall("c1", "tool", arguments)


def test_an_untrusted_callable_is_not_even_imported() -> None:
    with pytest.raises(ConfigError, match=r"set trust\.python_tools in engine\.yaml"):
        PythonTool("antigravity_that_is_not_there:fly", trusted=False)


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("no_such_module:f", "cannot be imported"),
        (f"{HERE}:nothing", "cannot be imported"),
        (f"{HERE}:NOT_CALLABLE", "is not a callable"),
        (f"{HERE}:anything", "named parameters only"),
    ],
)
def test_targets_that_do_not_work(target: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        PythonTool(target, trusted=True)


def test_the_schema_comes_from_the_signature() -> None:
    schema = tool("greet").schema
    assert (schema.name, schema.description) == ("greet", "Greet somebody.\n\nMore about it.")
    assert schema.parameters == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "times": {"type": "integer", "default": 1},
            "style": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    assert PythonTool(f"{HERE}:greet", trusted=True, name="hi", description="Hi.").schema.name == "hi"


async def test_calls() -> None:
    result = await tool("greet").call(call(name="you", times=2, tags=["x"]), EMPTY)
    assert (result.value, result.summary, result.is_error) == ("hello you hello you a", "1 tags", False)
    assert (await tool("wait").call(call(seconds=0.01), EMPTY)).value == 0.01
    assert (await tool("Holder.inside").call(call(x=1), EMPTY)).value == 2


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("greet", {}, "'name' is a required property"),
        ("greet", {"name": "x", "style": "c"}, "style: 'c' is not one of ['a', 'b']"),
        ("greet", {"name": "x", "more": 1}, "'more' was unexpected"),
        ("fail", {"x": 3}, "fail: ValueError: no 3"),
        ("unfit", {}, "the result is not JSON"),
    ],
)
async def test_failures_are_error_results(name: str, arguments: dict[str, Any], part: str) -> None:
    result = await tool(name).call(call(**arguments), EMPTY)
    assert (result.is_error, part in result.content) == (True, True), result.content


def test_declarations_say_that_they_need_the_engine() -> None:
    with pytest.raises(RuntimeError, match="the input 'a' exists inside the engine only"):
        Input("a", default="x", description="d")
    with pytest.raises(RuntimeError, match="the external 'greet' exists inside the engine only"):
        external(greet)


def test_importing_the_tools_stays_light() -> None:
    heavy = ("pydantic_monty", "jsonschema", "jinja2", "pydantic")
    code = f"import sys, engine.tools, engine.prompts, engine.pym; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_sorted_and_exist() -> None:
    import engine.prompts
    import engine.tools

    for module in (engine.tools, engine.prompts):
        constants = [name for name in module.__all__ if name.isupper()]
        classes = [name for name in module.__all__ if name[0].isupper() and not name.isupper()]
        assert [*constants, *classes] == [*sorted(constants), *sorted(classes)]
        assert module.__all__ == [*constants, *classes, *sorted(name for name in module.__all__ if name[0].islower())]
        assert all(getattr(module, name) is not None for name in module.__all__)
        with pytest.raises(AttributeError):
            module.nope  # noqa: B018

"""`.pym` scripts as tools: the merged schema, bound inputs, argument checks, envelopes, the dispatcher."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnostics import Span
from engine.errors import PermissionDenied
from engine.manifest.bundle_model import ScriptLimits, ScriptTool
from engine.messages import ToolCall, ToolResult, ToolSchema
from engine.tools import (
    PymTool,
    Script,
    ScriptRunner,
    ToolDispatcher,
    ToolEnvironment,
    hidden_inputs,
    merge_inputs,
    parse_script,
)
from engine.tools.results import value_result

HEAD = "from grail import Input, external\n"
INPUTS = HEAD + (
    'text: str = Input("text", description="Some text.")\n'
    'style: str | None = Input("style", default="google")\n'
    'count: int = Input("count", default=1)\n'
    'tags: list[str] = Input("tags", default=[])\n'
    'node_text: str = Input("node_text")\n'
    'source: str = Input("source", default="none")\n'
)
EMPTY = ToolEnvironment()


def parsed(text: str) -> Script:
    result = parse_script(text, "tools/demo.pym")
    assert result.script is not None, result.diagnostics
    return result.script


def where(*path: str) -> Span:
    return Span("bundle.yaml:" + ".".join(path))


def spec(**fields: Any) -> ScriptTool:
    return ScriptTool.model_validate({"path": "tools/demo.pym", **fields}, strict=False)


def merged(text: str, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    schema, found = merge_inputs(parsed(text), spec(**fields), where)
    return schema, [f"{item.span.file} {item.code} {item.message}" for item in found]


# -- the schema


def test_the_schema_has_what_the_model_may_set() -> None:
    schema, found = merged(INPUTS + "1", bind={"source": "node.text"})
    assert found == []
    assert schema == {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "Some text."},
            "style": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": "google"},
            "count": {"type": "integer", "default": 1},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["text"],
        "additionalProperties": False,
    }
    assert hidden_inputs(parsed(INPUTS + "1"), spec(bind={"source": "node.text"})) == {"node_text", "source"}


def test_the_manifests_details_are_merged_per_property() -> None:
    schema, found = merged(
        INPUTS + "1",
        inputs={
            "text": {"description": "Other.", "min_length": 2, "max_length": 9, "pattern": "^a", "default": "abc"},
            "style": {"max_length": 5, "enum": ["a", None], "default": "a"},
            "count": {"minimum": 1, "maximum": 3.0},
            "tags": {"min_items": 0, "max_items": 2},
        },
    )
    assert found == []
    properties = schema["properties"]
    assert properties["text"] == {
        "type": "string", "description": "Other.", "minLength": 2, "maxLength": 9, "pattern": "^a", "default": "abc"
    }  # fmt: skip
    assert properties["style"]["anyOf"] == [{"type": "string", "maxLength": 5}, {"type": "null"}]
    assert (properties["style"]["enum"], properties["style"]["default"]) == (["a", None], "a")
    assert properties["count"] == {"type": "integer", "default": 1, "minimum": 1, "maximum": 3}
    assert properties["tags"]["maxItems"] == 2
    assert schema["required"] == []
    assert parsed(INPUTS + "1").inputs[0].schema == {"type": "string", "description": "Some text."}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"inputs": {"txt": {}}}, "inputs.txt T008 tools/demo.pym has no input 'txt'; did you mean 'text'?"),
        ({"bind": {"sorce": "1"}}, "bind.sorce T008 tools/demo.pym has no input 'sorce'; did you mean 'source'?"),
        (
            {"inputs": {"node_text": {}}},
            "inputs.node_text S006 the input 'node_text' is filled by the engine, so the model",
        ),
        ({"bind": {"source": "1"}, "inputs": {"source": {}}}, "inputs.source S006 the input 'source' is filled by"),
        (
            {"inputs": {"count": {"min_length": 1}}},
            "inputs.count.min_length S005 min_length does not apply to the input 'count'",
        ),
        ({"inputs": {"text": {"minimum": 1}}}, "inputs.text.minimum S005 minimum does not apply"),
        ({"inputs": {"text": {"pattern": "("}}}, "inputs.text.pattern S005 '(' is not a regular expression"),
        (
            {"inputs": {"text": {"pattern": "(?=a)"}}},
            "inputs.text.pattern S005 '(?=a)' is not a regular expression without",
        ),
        ({"inputs": {"text": {"default": 3}}}, "inputs.text.default S005 the default 3 does not fit the input 'text'"),
        (
            {"inputs": {"text": {"enum": ["a", 3]}}},
            "inputs.text.enum S005 3 does not fit the input 'text', which is str",
        ),
        (
            {"inputs": {"text": {"min_length": 5, "max_length": 4}}},
            "inputs.text.max_length S005 no value of 'text' is possible",
        ),
        ({"inputs": {"count": {"minimum": 2}}}, "inputs.count. S005 the script's own default 1 of 'count'"),
    ],
)
def test_what_does_not_fit_the_script_is_a_finding(fields: dict[str, Any], expected: str) -> None:
    _, found = merged(INPUTS + "1", **fields)
    assert len(found) == 1
    assert found[0].startswith("bundle.yaml:" + expected)


# -- calls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner() -> AsyncIterator[ScriptRunner]:
    async with ScriptRunner() as opened:
        yield opened


here = pytest.mark.asyncio(loop_scope="module")


def tool(runner: ScriptRunner, text: str, limits: dict[str, Any] | None = None, **fields: Any) -> PymTool:
    script = parsed(text)
    entry = spec(**fields)
    schema, found = merge_inputs(script, entry, where)
    assert found == []
    return PymTool(
        script,
        schema=ToolSchema("demo", script.description, schema),
        bound=hidden_inputs(script, entry),
        limits=ScriptLimits.model_validate(limits or {}),
        runner=runner,
    )


def call(**arguments: Any) -> ToolCall:
    return ToolCall("c1", "demo", arguments)


@here
async def test_a_call_from_end_to_end(runner: ScriptRunner) -> None:
    body = '{"result": [text, style, count, tags, node_text, source], "summary": "done", "knowledge_delta": {"k": 1}}'
    environment = ToolEnvironment(inputs={"node_text": "def f(): ...", "source": "bound", "unused": 1})
    result = await tool(runner, INPUTS + body, bind={"source": "node.text"}).call(call(text="é", count=2), environment)
    assert result.value == ["é", "google", 2, [], "def f(): ...", "bound"]
    assert result.content == '["é","google",2,[],"def f(): ...","bound"]\ndone'
    assert (result.call_id, result.name, result.is_error, result.outcome) == ("c1", "demo", False, "success")
    assert (result.summary, result.knowledge_delta) == ("done", {"k": 1})
    assert result.duration_ms > 0


@here
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({}, "'text' is a required property"),
        ({"text": 1}, "text: 1 is not of type 'string'"),
        (
            {"text": "x", "count": "2", "tags": [1]},
            "count: '2' is not of type 'integer'; tags[0]: 1 is not of type 'string'",
        ),
        ({"text": "x", "other": 1}, "'other' was unexpected"),
        ({"text": "x", "node_text": "mine"}, "node_text is set by the engine and cannot be passed"),
        ({"text": "x", "source": "mine", "node_text": "m"}, "node_text, source is set by the engine"),
        ({"text": "b"}, "text: 'b' does not match '^[ax]'"),
        ({"text": "x" * 5000}, "…"),
    ],
)
async def test_arguments_that_do_not_fit(runner: ScriptRunner, arguments: dict[str, Any], part: str) -> None:
    checked = tool(runner, INPUTS + "1", bind={"source": "1"}, inputs={"text": {"pattern": "^[ax]", "max_length": 90}})
    result = await checked.call(call(**arguments), ToolEnvironment(inputs={"node_text": "", "source": ""}))
    assert result.is_error
    assert part in result.content
    assert "\n" not in result.content
    assert len(result.content) < 600
    assert (result.outcome, result.value) == ("error", None)


@here
async def test_a_pattern_takes_linear_time(runner: ScriptRunner) -> None:
    checked = tool(runner, INPUTS + "1", inputs={"text": {"pattern": "^(a+)+$"}})
    began = time.monotonic()
    result = await checked.call(call(text="a" * 5000 + "!"), ToolEnvironment(inputs={"node_text": ""}))
    assert result.is_error
    assert time.monotonic() - began < 1


@here
async def test_a_bound_input_without_a_value(runner: ScriptRunner) -> None:
    result = await tool(runner, INPUTS + "1").call(call(text="x"), EMPTY)
    assert (result.is_error, "no value for the input 'node_text'" in result.content) == (True, True)
    result = await tool(runner, INPUTS + "source", bind={"source": "1"}).call(
        call(text="x"), ToolEnvironment(inputs={"node_text": ""})
    )
    assert result.value == "none"


@here
async def test_defaults_of_the_manifest_win(runner: ScriptRunner) -> None:
    text = HEAD + 'a: str = Input("a")\nb: int = Input("b", default=1)\n[a, b]'
    result = await tool(runner, text, inputs={"a": {"default": "x"}, "b": {"default": 5}}).call(call(), EMPTY)
    assert result.value == ["x", 5]


@here
async def test_whole_numbers_reach_an_int_as_int(runner: ScriptRunner) -> None:
    result = await tool(runner, HEAD + 'n: int = Input("n")\nstr(n)').call(call(n=3.0), EMPTY)
    assert result.content == "3"


@here
async def test_failures_are_error_results(runner: ScriptRunner) -> None:
    result = await tool(runner, "x = 1\n1 / 0").call(call(), EMPTY)
    assert (result.is_error, result.content) == (True, "tools/demo.pym:2: ZeroDivisionError: division by zero")
    result = await tool(runner, "while True: pass\n1", limits={"seconds": 0.2}).call(call(), EMPTY)
    assert "hit its time limit" in result.content
    text = HEAD + "@external\nasync def write_file(path: str, content: str) -> bool: ...\nawait write_file('a', '')"

    def refuse(path: str, content: str) -> bool:
        raise PermissionDenied("permissions.write does not allow a")

    result = await tool(runner, text).call(call(), ToolEnvironment(externals={"write_file": refuse}))
    assert "permissions.write does not allow a" in result.content
    result = await tool(runner, text).call(call(), EMPTY)
    assert "'write_file' is not provided" in result.content


@here
async def test_a_call_costs_little_more_than_the_bare_sandbox(runner: ScriptRunner) -> None:
    from pydantic_monty import AsyncMonty

    checked = tool(runner, HEAD + 'a: str = Input("a")\n{"result": a, "summary": "ok"}')

    async def median(function: Any) -> float:
        times = []
        for _ in range(200):
            began = time.perf_counter()
            await function()
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    async with AsyncMonty() as pool:

        async def bare() -> Any:
            async with pool.checkout(limits={"max_feed_duration_secs": 2.0, "max_memory": 32 << 20}) as session:
                return await session.feed_run('{"result": a, "summary": "ok"}', inputs={"a": "x"})

        await median(bare)
        floor = await median(bare)
        cost = await median(lambda: checked.call(call(a="x"), EMPTY))
    assert cost - floor < 0.001
    await asyncio.sleep(0.02)


# -- results


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, {"content": "3", "value": 3}),
        (None, {"content": "null", "value": None}),
        ("plain é", {"content": "plain é", "value": "plain é"}),
        ([1, "é"], {"content": '[1,"é"]', "value": [1, "é"]}),
        ({}, {"content": "{}", "value": {}}),
        ({"a": 1}, {"content": '{"a":1}', "value": {"a": 1}}),
        ({"result": 1, "other": 2}, {"value": {"result": 1, "other": 2}}),
        ({"result": {"a": 1}}, {"content": '{"a":1}', "value": {"a": 1}}),
        ({"result": None, "summary": "done"}, {"content": "done", "value": None, "summary": "done"}),
        ({"result": 1, "outcome": "partial"}, {"value": 1, "outcome": "partial", "is_error": False}),
        ({"result": 1, "outcome": "success", "extra": 2}, {"value": {"result": 1, "extra": 2}}),
        ({"error": "no", "outcome": "error"}, {"content": "no", "is_error": True, "outcome": "error", "value": None}),
        ({"error": "no"}, {"content": "no", "is_error": True, "outcome": "error"}),
        ({"error": None, "result": 1}, {"value": 1, "is_error": False}),
        ({"outcome": "error", "summary": "bad"}, {"content": "bad", "is_error": True}),
        ({"outcome": "error"}, {"content": "the tool failed and did not say why", "is_error": True}),
        ({"error": {"code": 1}}, {"content": '{"code":1}', "is_error": True}),
        ({"result": 1, "outcome": "great"}, {"is_error": True}),
        ({"summary": 3}, {"is_error": True}),
        ({"result": 1, "knowledge_delta": [1]}, {"is_error": True}),
        ({"result": 1, "knowledge_delta": None, "summary": None}, {"value": 1, "knowledge_delta": {}, "summary": ""}),
    ],
)
def test_results(value: Any, expected: dict[str, Any]) -> None:
    result = value_result(call(), value, 1.5)
    assert {name: getattr(result, name) for name in expected} == expected
    assert result.duration_ms == 1.5


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["result", "error", "outcome", "summary", "a"]), x),
    )
)
def test_any_json_value_becomes_a_result(value: Any) -> None:
    result = value_result(call(), value)
    assert isinstance(result.content, str)
    json.dumps(result.value)
    assert result.outcome in {"success", "partial", "error"}


# -- the dispatcher


class Broken:
    schema = ToolSchema("broken", "", {"type": "object"})

    async def call(self, call: ToolCall, environment: ToolEnvironment) -> ToolResult:
        raise KeyError("inside")


@here
async def test_the_dispatcher(runner: ScriptRunner) -> None:
    dispatcher = ToolDispatcher([tool(runner, "42"), Broken()])
    assert (await dispatcher.dispatch(call(), EMPTY)).value == 42
    unknown = await dispatcher.dispatch(ToolCall("c2", "dem", {}), EMPTY)
    assert (unknown.is_error, unknown.call_id) == (True, "c2")
    assert unknown.content == "there is no tool 'dem'; did you mean 'demo'? The tools are: demo, broken."
    failed = await dispatcher.dispatch(ToolCall("c3", "broken", {}), EMPTY)
    assert (failed.is_error, failed.content) == (True, "broken: KeyError: 'inside'")
    none = await ToolDispatcher([]).dispatch(call(), EMPTY)
    assert none.content == "there is no tool 'demo'. The tools are: none."

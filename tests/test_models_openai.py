"""Native tools APIs: streamed calls, strict schemas, history and ids."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from kernel_parts import PROMPT, PlainTool, ScriptedBackend, tool
from schema_strategies import TOOL_SCHEMAS

from engine.backends import Completion
from engine.backends.dialects import DIALECTS
from engine.backends.dialects.strict_subset import why_not_strict
from engine.errors import ConfigError
from engine.grammar import Constraint, ConstraintOptions, ToolGrammarError
from engine.grammar.argument_check import fits
from engine.kernel import Kernel, KernelConfig
from engine.kernel.bounds import PromptBound
from engine.manifest.bundle_model import Sampling, TaskLimits
from engine.messages import Message, ToolCall, ToolResult, ToolSchema, Usage
from engine.models import OpenAIPlugin
from engine.models.api_calls import CallAssembler, read_api_calls
from engine.models.function_gemma_format import CONTROL_TOKENS as GEMMA_TOKENS
from engine.models.hermes import CONTROL_TOKENS as CHATML_TOKENS
from engine.models.llama3 import CONTROL_TOKENS as LLAMA_TOKENS
from engine.models.openai_nulls import without_nulls
from engine.models.openai_strict import strict_parameters


def _delta(index=0, **function):
    delta = {"index": index, "id": function.pop("id", None), "function": function}
    return {key: value for key, value in delta.items() if value is not None}


def _assembled(*deltas):
    assembler = CallAssembler()
    for delta in deltas:
        assembler.add([delta])
    return assembler.calls()


def _call(ident, name, arguments):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_id_and_name_come_first_and_then_the_arguments_in_pieces():
    assembler = CallAssembler()
    assembler.add(None)
    assembler.add([_delta(id="a", name="save", arguments=""), _delta(1, id="b", name="load")])
    assembler.add([_delta(1, arguments='{"x"'), _delta(0, arguments='{"y": ')])
    assembler.add([_delta(0, arguments="1}"), _delta(1, arguments=": 2}")])
    assert assembler.calls() == [_call("a", "save", '{"y": 1}'), _call("b", "load", '{"x": 2}')]


@pytest.mark.parametrize(
    "deltas",
    [
        [_delta(None, id="a", name="save", arguments="{"), _delta(None, arguments="}"), _delta(None, id="b", name="f")],
        [_delta(0, id="a", name="save"), _delta(0, id="a", name="save", arguments="{}"), _delta(0, id="b", name="f")],
        [_delta(None, id="a", name="save"), _delta(None, id="b", name="f"), _delta(None, id="a", arguments="{}")],
        [_delta(0, id="a"), _delta(0, name="save", arguments={}), _delta(None, id="b", name="f")],
    ],
)
def test_servers_that_leave_out_or_repeat_parts(deltas):
    assert _assembled(*deltas) == [_call("a", "save", "{}"), _call("b", "f", "")]


def test_without_index_and_id_a_name_begins_a_call():
    whole = _delta(None, name="save", arguments="{}")
    assert _assembled(whole, whole) == [_call(None, "save", "{}"), _call(None, "save", "{}")]
    good, bad = read_api_calls(_assembled(whole, whole))
    assert [call.id for call in good] == ["call_1", "call_2"]
    assert bad == ()


def test_what_is_no_delta_is_reported():
    good, bad = read_api_calls(_assembled("text", None, _delta(id="a", name="f", arguments="{}"), {"function": 1}))
    assert [call.id for call in good] == ["a"]
    assert len(bad) == 2
    assert all("no function name" in call.problem for call in bad)


@given(st.data())
def test_any_cut_of_the_pieces_gives_the_same_calls(data):
    calls = [
        _call(f"id{number}", data.draw(st.sampled_from(["save", "load"])), json.dumps({"x": data.draw(st.text())}))
        for number in range(data.draw(st.integers(1, 3)))
    ]
    queues = []
    for number, call in enumerate(calls):
        text = call["function"]["arguments"]
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        first = _delta(number, id=call["id"], name=call["function"]["name"])
        queues.append([first, *(_delta(number, arguments=piece) for piece in pieces)])
    deltas = [queue.pop(0) for queue in queues]
    while any(queues):
        deltas.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    assert _assembled(*deltas) == calls


PLUGIN = OpenAIPlugin()
TYPED = ConstraintOptions("typed")
WEATHER = ToolSchema(
    "get_weather",
    "Look up.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1, "description": "Where."},
            "days": {"type": "integer"},
        },
        "required": ["city"],
    },
)
TIME = ToolSchema("get_time", "", {"type": "object", "properties": {}})


def _tool(properties, **rest):
    return ToolSchema("t", "", {"type": "object", "properties": properties, **rest})


def test_the_request_declares_strict_tools():
    assert PLUGIN.constraint([WEATHER, TIME], TYPED) == Constraint(
        "strict_tools",
        snapshot(
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "get_weather",
                            "description": "Look up.",
                            "parameters": {
                                "type": "object",
                                "properties": {
                                    "city": {"type": "string", "description": "Where."},
                                    "days": {"type": ["integer", "null"]},
                                },
                                "required": ["city", "days"],
                                "additionalProperties": False,
                            },
                            "strict": True,
                        },
                    },
                    {
                        "type": "function",
                        "function": {
                            "name": "get_time",
                            "description": "",
                            "parameters": {
                                "type": "object",
                                "properties": {},
                                "required": [],
                                "additionalProperties": False,
                            },
                            "strict": True,
                        },
                    },
                ],
                "tool_choice": "required",
                "parallel_tool_calls": False,
            }
        ),
        "typed@1",
    )


def test_who_changes_a_constraint_changes_no_other():
    PLUGIN.constraint([TIME], TYPED).value["tools"].clear()
    assert len(PLUGIN.constraint([TIME], TYPED).value["tools"]) == 1
    with pytest.raises(ToolGrammarError, match=r"schema of a tool \(t\) is not JSON"):
        PLUGIN.constraint([_tool({"a": {"const": object()}})], TYPED)


def test_text_and_several_calls_are_asked_for():
    value = PLUGIN.constraint([TIME], replace(TYPED, text="allowed", parallel_calls=True)).value
    assert (value["tool_choice"], value["parallel_tool_calls"]) == ("auto", True)
    assert PLUGIN.tool_choice([TIME]) == "required"
    assert PLUGIN.tool_choice([]) is None


@pytest.mark.parametrize("strategy", ["permissive", "strict_json", "custom", "permissive@1"])
def test_a_strategy_that_no_server_would_enforce_is_refused(strategy):
    with pytest.raises(ConfigError, match=r"'openai' has no grammar strategy '[a-z_]+': .* use typed, or none"):
        PLUGIN.constraint([TIME], ConstraintOptions(strategy, custom='root ::= "a"'))


def test_modes():
    for mode in ("ebnf", "structural_tag"):
        with pytest.raises(ConfigError, match=f"'openai' has no grammar mode '{mode}'; it has auto, json_schema"):
            PLUGIN.constraint([TIME], replace(TYPED, mode=mode))
    assert PLUGIN.constraint([TIME], replace(TYPED, mode="json_schema")) == PLUGIN.constraint([TIME], TYPED)
    assert PLUGIN.constraint([TIME], ConstraintOptions("none")).kind == "none"


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"properties": {"m": {"type": "object", "additionalProperties": {"type": "string"}}}}, "/properties/m: addit"),
        ({"properties": {"m": {"type": "object"}}}, "/properties/m: additionalProperties: .*free keys"),
        ({"properties": {"a": {"type": "array", "items": {"type": "object"}}}}, "/properties/a/items: additionalProp"),
        ({"properties": {"m": {}}}, "/properties/m: type: .*cannot leave the type open"),
        ({"properties": {"m": {"type": "array"}}}, "/properties/m/items: type: "),
        ({"properties": {"m": {"$ref": "#/$defs/none"}}}, r"/properties/m: \$ref: "),
        ({"properties": {"m": {"const": [1]}}}, "/properties/m: enum: .*list"),
        ({"properties": {"m": {"type": "string", "pattern": "("}}}, "/properties/m: pattern: .*not a valid"),
        ({"properties": {"m": {"type": "null"}}, "patternProperties": {"a": True}}, "its schema: patternProperties: "),
        ({"properties": {"m": {"type": "null"}}, "required": ["n"]}, "its schema: required: .*no schema"),
        (
            {"anyOf": [{"properties": {"a": {"type": "null"}}}, {"properties": {"b": {"type": "null"}}}]},
            ".*anyOf: the root",
        ),
        ({"type": "string"}, "its schema: type: the root"),
    ],
)
def test_what_cannot_be_strict_is_refused_with_its_place(parameters, place):
    tool = ToolSchema("t", "", parameters)
    with pytest.raises(ToolGrammarError, match=f"tool 't' has no strict schema: {place}"):
        PLUGIN.constraint([tool], TYPED)
    assert any(problem.refused for problem in strict_parameters(parameters)[1])


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "string", "maxLength": 4}, "maxLength"),
        ({"type": "string", "minLength": 4}, "minLength"),
        ({"type": "string", "pattern": "^(?!a)b"}, "pattern"),
        ({"type": "array", "items": {"type": "null"}, "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "prefixItems": [{"type": "null"}, {"type": "string"}], "items": False}, "prefixItems"),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "minProperties": 1}, "minProperties"),
        ({"type": "integer", "not": {"const": 3}}, "not"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    ],
)
def test_what_is_left_out_is_reported_as_checked_after_parsing(schema, keyword):
    written, problems = strict_parameters({"type": "object", "properties": {"p": schema}, "required": ["p"]})
    assert [(problem.path, problem.keyword, problem.refused) for problem in problems] == [
        ("/properties/p", keyword, False)
    ]
    assert why_not_strict(written) is None
    assert keyword not in json.dumps(written)


def test_what_strict_mode_knows_is_kept():
    numbers = {"minimum": 1, "maximum": 9, "exclusiveMinimum": 0, "exclusiveMaximum": 10, "multipleOf": 0.5}
    kept = {
        "s": {"type": "string", "pattern": "^a+$", "format": "uuid"},
        "n": {"type": "number", **numbers},
        "a": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        "e": {"type": "string", "enum": ["x", "y"], "description": "One."},
    }
    written, _ = strict_parameters({"type": "object", "properties": kept, "required": list(kept)})
    assert written["properties"] == kept
    notes = {"type": "string", "default": "x", "title": "T", "format": "phone", "examples": ["y"]}
    written, problems = strict_parameters(_tool({"s": notes}).parameters)
    assert (written["properties"], problems) == ({"s": {"type": ["string", "null"]}}, [])


def test_references_are_definitions():
    node = {
        "type": "object",
        "properties": {"v": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}},
        "required": ["v"],
    }
    tool = _tool({"head": {"$ref": "#/$defs/Node", "description": "First."}}, **{"$defs": {"Node": node}})
    written, problems = strict_parameters(tool.parameters)
    assert problems == []
    assert why_not_strict(written) is None
    assert written["properties"]["head"]["description"] == "First."
    deep = {"head": {"v": "a", "next": {"v": "b", "next": None}}}
    assert fits(written, deep)
    assert not fits(written, {"head": {"v": "a"}})
    assert PLUGIN.parse_response("", [tool], [_call("1", "t", json.dumps(deep))]).tool_calls[0].arguments == {
        "head": {"v": "a", "next": {"v": "b"}}
    }


def _filled(schema, value, *, every):
    """Return a value with a null for each property left out; unless `every`, only where the schema allows null."""
    while "anyOf" in schema:
        schema = next(part for part in schema["anyOf"] if fits(part, value))
    if isinstance(value, list):
        return [_filled(schema["items"], item, every=every) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _filled(part, value[name], every=every) if name in value else None
        for name, part in schema["properties"].items()
        if name in value or every or fits(part, None)
    }


@given(st.data())
def test_every_value_can_be_said_strictly_and_comes_back(data):
    schema, values = data.draw(TOOL_SCHEMAS)
    written, problems = strict_parameters(schema)
    if written is None or any(problem.refused for problem in problems):
        return
    assert why_not_strict(written) is None
    value = data.draw(values)
    said = _filled(schema, value, every=True)
    assert fits(written, said), (written, said)
    back = without_nulls(schema, said)
    assert fits(schema, back)
    if "anyOf" not in json.dumps(schema):
        assert back == _filled(schema, value, every=False)


@pytest.mark.parametrize(
    ("schema", "given_", "expected"),
    [
        ({"properties": {"a": {"type": "string"}}}, {"a": None}, {}),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"a": None}, {"a": None}),
        ({"properties": {"a": {"type": ["string", "null"]}}}, {"a": None}, {"a": None}),
        ({"properties": {"a": {"enum": ["x", None]}}}, {"a": None, "b": None}, {"a": None, "b": None}),
        ({"properties": {"a": True, "b": False}}, {"a": None, "b": None}, {"a": None}),
        ({"properties": {"a": {"$ref": "#/$defs/S"}}, "$defs": {"S": {"type": "string"}}}, {"a": None}, {}),
        ({"properties": {"a": {"$ref": "http://x/y"}}}, {"a": None}, {}),
        ({"allOf": [{"properties": {"a": {"type": "integer"}}}]}, {"a": None}, {}),
        ({"properties": {"l": {"items": {"properties": {"a": {"type": "null"}, "b": {"type": "string"}}}}}},
         {"l": [{"a": None, "b": None}]}, {"l": [{"a": None}]}),
        ({"properties": {"l": {"prefixItems": [{"properties": {"a": {"type": "string"}}}]}}},
         {"l": [{"a": None}, {"a": None}]}, {"l": [{}, {"a": None}]}),
        ({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "anyOf": [{"required": ["b"]}]},
         {"a": None, "b": "x"}, {"b": "x"}),
    ],
)  # fmt: skip
def test_a_null_is_taken_out_where_the_schema_does_not_allow_it(schema, given_, expected):
    assert without_nulls(schema, given_) == expected


def test_a_schema_that_leads_to_itself_ends():
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert without_nulls(loop, {"x": {"y": None}}) == {"x": {"y": None}}


HISTORY = [
    Message("system", "Be brief."),
    Message("user", "Weather?"),
    Message("assistant", "", (ToolCall("abc", "get_weather", {"city": "Łódź"}), ToolCall("def", "get_time", {}))),
    Message("tool", "grey", tool_call_id="abc", name="get_weather"),
    Message("tool", "noon", tool_call_id="def", name="get_time"),
    Message("assistant", "Grey."),
]


def test_messages_are_the_api_s_own():
    assert PLUGIN.build_messages("And now?", None, [WEATHER, TIME], HISTORY) == snapshot(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "abc",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Łódź"}'},
                    },
                    {"id": "def", "type": "function", "function": {"name": "get_time", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "content": "grey", "tool_call_id": "abc", "name": "get_weather"},
            {"role": "tool", "content": "noon", "tool_call_id": "def", "name": "get_time"},
            {"role": "assistant", "content": "Grey."},
            {"role": "user", "content": "And now?"},
        ]
    )
    assert PLUGIN.build_messages("Hi", "S", []) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Hi"},
    ]


def test_a_result_is_its_content():
    assert PLUGIN.format_result(ToolResult("a", "t", '{"x": 1}')) == '{"x": 1}'


def test_replies():
    reply = PLUGIN.parse_response(
        " Let me look. ", [WEATHER], [_call("abc", "get_weather", '{"city": "x", "days": null}')]
    )
    assert reply.text == "Let me look."
    assert reply.tool_calls == (ToolCall("abc", "get_weather", {"city": "x"}),)
    assert PLUGIN.parse_response("", [], [_call("a", "other", '{"x": null}')]).tool_calls[0].arguments == {"x": None}
    assert len(PLUGIN.parse_response("", [], [_call("a", "t", '{"x": ')]).malformed) == 1
    text = 'I would <tool_call>{"name": "get_time", "arguments": {}}</tool_call>'
    assert PLUGIN.parse_response(text, [TIME]).text == text
    bare = PLUGIN.format_calls([ToolCall("1", "get_time", {}), ToolCall("2", "get_weather", {"city": "x"})])
    assert [call.name for call in PLUGIN.parse_response(bare, [WEATHER, TIME]).tool_calls] == [
        "get_time",
        "get_weather",
    ]
    assert PLUGIN.parse_response(PLUGIN.format_calls([ToolCall("1", "get_time", {})]), [TIME]).tool_calls


@pytest.mark.parametrize("family", [CHATML_TOKENS, LLAMA_TOKENS, GEMMA_TOKENS])
def test_control_tokens_of_any_family_are_only_text(family):
    text = "".join(family)
    history = [
        Message("user", text),
        Message("assistant", text, (ToolCall("1", "t", {"x": text}),)),
        Message("tool", text, tool_call_id="1", name="t"),
    ]
    wire = json.dumps(PLUGIN.build_messages(text, text, [], history), ensure_ascii=False)
    assert not [token for token in family if token in wire]
    arguments = PLUGIN.build_messages(None, None, [], history)[1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments)["x"].replace("< ", "<") == text


def _answer(*calls, text=""):
    return Completion(text, calls, "tool_calls", Usage(10, 5), "m")


def _kernel(script, **options):
    backend = ScriptedBackend(script)
    config = KernelConfig(options=ConstraintOptions(**options), on_no_call="finish")
    return Kernel(config, PLUGIN, [tool(), tool("submit")], None, backend), backend


async def test_the_api_s_ids_stay_from_reply_to_history_to_the_next_request():
    kernel, backend = _kernel(
        [
            _answer(_call("call_Q7", "echo", '{"text": "a"}'), _call("call_Z1", "echo", '{"text": "b"}'), text="Now."),
            _answer(_call("call_Q8", "submit", '{"text": "done"}')),
        ]
    )
    result = await kernel.run(PROMPT, termination="submit")
    assert (result.termination_reason, result.turn_count) == ("termination_tool", 2)
    assert [one.call_id for one in result.tool_results] == ["call_Q7", "call_Z1", "call_Q8"]
    assert [call.id for call in result.history[2].tool_calls] == ["call_Q7", "call_Z1"]
    first, second = backend.requests
    assert (first.constraint.kind, first.tool_choice) == ("strict_tools", "required")
    assert [schema.name for schema in first.tools] == ["echo", "submit"]
    assert "echo" not in json.dumps(first.messages)
    assert second.messages[2:] == snapshot(
        [
            {
                "role": "assistant",
                "content": "Now.",
                "tool_calls": [
                    {"id": "call_Q7", "type": "function", "function": {"name": "echo", "arguments": '{"text": "a"}'}},
                    {"id": "call_Z1", "type": "function", "function": {"name": "echo", "arguments": '{"text": "b"}'}},
                ],
            },
            {"role": "tool", "content": "a", "tool_call_id": "call_Q7", "name": "echo"},
            {"role": "tool", "content": "b", "tool_call_id": "call_Z1", "name": "echo"},
        ]
    )


async def test_without_a_constraint_the_tools_are_declared_and_no_call_is_required():
    kernel, backend = _kernel(["Done."], strategy="none")
    result = await kernel.run(PROMPT)
    assert (result.text, result.termination_reason) == ("Done.", "no_call")
    request = backend.requests[0]
    assert (request.constraint.kind, request.tool_choice) == ("none", "auto")
    assert [schema.name for schema in request.tools] == ["echo", "submit"]


async def test_the_arguments_of_earlier_calls_count_against_the_token_limit():
    backend = ScriptedBackend([_answer(_call("1", "echo", json.dumps({"text": "x" * 1400})))], counted=700)
    config = KernelConfig(limits=TaskLimits(tokens=1700), sampling=Sampling(max_tokens=300))
    await Kernel(config, PLUGIN, [PlainTool("echo", _short)], None, backend).run(PROMPT, max_turns=2)
    first, second = backend.requests
    bare = replace(first, tools=(), constraint=Constraint("none"))
    declared = PromptBound().of(first) - PromptBound().of(bare)
    left = 1700 - 15 - 700 - declared
    assert [first.sampling.max_tokens, second.sampling.max_tokens] == [300, left]
    assert 0 < left < 300


async def _short(text):
    return "ok"


def test_strict_tools_reach_the_request_s_body():
    constraint = PLUGIN.constraint([WEATHER], TYPED)
    for dialect in (DIALECTS["vllm"], DIALECTS["openai"]):
        assert dialect.constrain(constraint) == constraint.value

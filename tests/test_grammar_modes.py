"""Every strategy in every mode of every family, on the real engines: what is accepted, what is rejected."""

import json

import pytest
from grammar_cases import CASES
from grammar_engines import both_accept, xgrammar_accepts
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from json_engines import SCHEMA_ENGINES, llguidance_accepts, xgrammar_tag_accepts
from jsonschema import Draft202012Validator
from schema_strategies import TOOL_SCHEMAS, mutated
from test_grammar_properties import KEYWORDS, SCRAPS

from engine.errors import ConfigError
from engine.grammar import ConstraintOptions, ToolGrammarError, inexpressible, order_arguments
from engine.grammar.compiled import compile_constraint
from engine.grammar.frame import MAX_CALLS
from engine.grammar.json_mode import json_inexpressible
from engine.messages import ToolCall, ToolSchema
from engine.models import PLUGINS, constraint_for, get_plugin, parse_reply
from engine.models.hermes import HERMES_FRAME

pytestmark = pytest.mark.xgrammar
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
STRATEGIES = ("permissive", "strict_json", "typed", "typed@1")
SAVE = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 20},
        "stars": {"type": "integer"},
        "draft": {"type": "boolean"},
    },
    "required": ["title", "stars"],
    "additionalProperties": False,
}
GOOD = {"title": "Ünï q", "stars": 3}
TOOLS = [ToolSchema("save", "", SAVE), ToolSchema("keep", "", SAVE)]
MODES = [(name, mode) for name in sorted(PLUGINS) for mode in get_plugin(name).modes()]


def frame_of(name):
    """Return the frame of a family that calls in text."""
    return get_plugin(name).call_frame


def one_schema(schema, text):
    """Whether all engines accept; they must agree."""
    answers = {name: accepts(schema, text) for name, accepts in SCHEMA_ENGINES.items()}
    assert len(set(answers.values())) == 1, f"the engines differ: {answers} on {text}\n{json.dumps(schema)}"
    return answers["xgrammar"]


def bare(constraint, calls, plugin="qwen", parallel=False):
    """Write calls as mode json_schema wants them."""
    name_key, arguments_key = frame_of(plugin).json_keys
    written = [{name_key: call.name, arguments_key: call.arguments} for call in calls]
    value = written if parallel else written[0]
    return json.dumps(order_arguments(constraint.value, value), ensure_ascii=False)


def accepts(constraint, plugin, calls, parallel=False, around=("", "")):
    """Whether every engine that takes such a constraint accepts a reply of these calls."""
    if constraint.kind == "json_schema":
        return one_schema(constraint.value, around[0] + bare(constraint, calls, plugin, parallel) + around[1])
    if constraint.kind == "strict_tools":
        schemas = {tool["function"]["name"]: tool["function"] for tool in constraint.value["tools"]}
        return (
            not any(around)
            and (parallel or len(calls) == 1)
            and all(
                call.name in schemas
                and schemas[call.name]["strict"]
                and Draft202012Validator(schemas[call.name]["parameters"]).is_valid(call.arguments)
                for call in calls
            )
        )
    text = around[0] + get_plugin(plugin).format_calls(calls) + around[1]
    return (
        both_accept(constraint.value, text)
        if constraint.kind == "ebnf"
        else xgrammar_tag_accepts(constraint.value, text)
    )


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("plugin", "mode"), MODES)
def test_each_strategy_plugin_and_mode(plugin, mode, strategy, parallel):
    if plugin == "openai" and not strategy.startswith("typed"):
        with pytest.raises(ConfigError, match="no grammar strategy"):
            constraint_for(TOOLS, plugin, strategy, mode)
        return
    constraint = constraint_for(TOOLS, plugin, strategy, mode, parallel_calls=parallel)

    def takes(arguments, name="save", **more):
        return accepts(constraint, plugin, [ToolCall("1", name, arguments)], parallel, **more)

    loose = not strategy.startswith("typed") and constraint.kind != "strict_tools"
    assert constraint.strategy.startswith(strategy)
    assert takes(GOOD) or constraint.kind == "strict_tools"
    assert takes({**GOOD, "draft": True}, "keep")
    assert not takes(GOOD, "other")
    assert not takes(GOOD, "sav")
    assert not takes(GOOD, around=("", "\nDone."))
    assert not takes(GOOD, around=("Sure. ", ""))
    assert takes({"title": "x"}) is loose
    assert takes({**GOOD, "stars": "three"}) is loose
    assert takes({**GOOD, "other": 1}) is loose
    full = {**GOOD, "draft": False}
    calls = [ToolCall(str(index), ("save", "keep")[index % 2], full) for index in range(MAX_CALLS + 1)]
    if constraint.kind != "strict_tools":
        assert accepts(constraint, plugin, calls[:2], True) is parallel
        assert accepts(constraint, plugin, calls[:MAX_CALLS], True) is parallel
        assert not accepts(constraint, plugin, calls, True)


@pytest.mark.parametrize("plugin", [name for name, mode in MODES if mode == "structural_tag"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_text_before_calls_in_a_structural_tag(plugin, strategy):
    options = {"plugin": plugin, "strategy": strategy, "parallel_calls": True, "text": "allowed"}
    tag, ebnf = (
        constraint_for(TOOLS, mode="structural_tag", **options),
        constraint_for(TOOLS, mode="ebnf", matcher="xgrammar", **options),
    )
    frame, call = frame_of(plugin), get_plugin(plugin).format_calls([ToolCall("1", "save", GOOD)])
    for text in (call, "Hello.", f"Hello.\n{call}", f"a{call}{frame.separator}{call}"):
        assert xgrammar_tag_accepts(tag.value, text), text
        assert xgrammar_accepts(ebnf.value, text), text
    for text in ("", f"a{frame.tag}", f"{call} and more", f"a{frame.open}other{frame.between}", f"a{frame.tag}b{call}"):
        assert not xgrammar_tag_accepts(tag.value, text), text
        assert not xgrammar_accepts(ebnf.value, text), text


@SLOW
@given(
    st.data(),
    st.sampled_from([name for name, mode in MODES if mode == "structural_tag"]),
    st.sampled_from(STRATEGIES),
    st.booleans(),
    st.sampled_from(("allowed", "forbidden")),
)
def test_a_structural_tag_accepts_exactly_what_ebnf_accepts(data, plugin, strategy, parallel, text):
    schema, values = data.draw(TOOL_SCHEMAS)
    tools = [ToolSchema("save_it", "", schema), ToolSchema("other", "", SAVE)]
    options = {"plugin": plugin, "strategy": strategy, "parallel_calls": parallel, "text": text}
    try:
        ebnf = constraint_for(tools, mode="ebnf", matcher="xgrammar", **options).value
    except ToolGrammarError:
        with pytest.raises(ToolGrammarError):
            constraint_for(tools, mode="structural_tag", **options)
        return
    tag = constraint_for(tools, mode="structural_tag", **options).value
    value = data.draw(values)
    value = data.draw(st.sampled_from((value, data.draw(mutated(value)))))
    assume(isinstance(value, dict))
    calls = [ToolCall("1", "save_it", order_arguments(schema, value))] * data.draw(st.integers(1, 3))
    reply = get_plugin(plugin).format_calls(calls)
    cut = data.draw(st.integers(0, len(reply)))
    scrap = data.draw(st.text(max_size=4) | st.sampled_from((frame_of(plugin).tag, '"', "}")))
    for written in (
        reply,
        f"So: {reply}",
        reply[:cut] + scrap + reply[cut:],
        reply[:cut],
        reply[:cut] + reply[cut + 1 :],
    ):
        assert xgrammar_tag_accepts(tag, written) == xgrammar_accepts(ebnf, written), written


def _written_alike(schema, value):
    """Whether every server can write the value: escapes as `json_pattern.py` says, and plain numbers."""
    text = json.dumps(value, ensure_ascii=False)
    floats = [leaf for leaf in _leaves(value) if isinstance(leaf, float)]
    escapes = "\x7f" in text or ("\\" in text and '"pattern"' in json.dumps(schema))
    return not escapes and not any("e" in repr(leaf) or leaf == int(leaf) for leaf in floats)


def _leaves(value):
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if parts is None else [leaf for part in parts for leaf in _leaves(part)]


@SLOW
@given(st.data(), st.sampled_from([name for name, mode in MODES if mode == "json_schema" and name != "openai"]))
def test_a_json_schema_accepts_every_allowed_value_as_bare_json(data, plugin):
    schema, values = data.draw(TOOL_SCHEMAS)
    value = data.draw(values)
    assume(_written_alike(schema, value) and HERMES_FRAME.tag not in json.dumps(value))
    tools = [ToolSchema("save_it", "", schema)]
    constraint = constraint_for(tools, plugin, mode="json_schema")
    call = ToolCall("call_1", "save_it", value)
    text = bare(constraint, [call], plugin)
    assert one_schema(constraint.value, text), text
    assert Draft202012Validator(constraint.value).is_valid(json.loads(text))
    assert parse_reply(text, plugin, tools).tool_calls == (call,)


@SLOW
@given(st.data())
def test_a_json_schema_accepts_only_what_the_schema_allows_or_the_report_names(data):
    schema, values = data.draw(TOOL_SCHEMAS)
    value = data.draw(mutated(data.draw(values)))
    assume(isinstance(value, dict) and _written_alike(schema, value) and "\\\\" not in json.dumps(value))
    constraint = constraint_for([ToolSchema("save_it", "", schema)], mode="json_schema")
    text = bare(constraint, [ToolCall("1", "save_it", value)])
    allowed = Draft202012Validator(schema).is_valid(value)
    for name, accepted in SCHEMA_ENGINES.items():
        reported = name == "converter" and json_inexpressible(schema)
        if not (reported and not allowed):
            assert accepted(constraint.value, text) == allowed, (name, text, constraint.value)


@pytest.mark.parametrize(("schema", "good", "bad"), CASES)
def test_each_keyword_in_a_json_schema(schema, good, bad):
    defs = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    parameters = {"type": "object", "properties": {"v": schema}, "required": ["v"], "$defs": defs}
    checker, reported = Draft202012Validator(parameters), json_inexpressible(parameters)
    if any(problem.refused for problem in reported):
        with pytest.raises(ToolGrammarError, match=r"characters that JSON escapes|more than 16 items"):
            constraint_for([ToolSchema("save", "", parameters)], mode="json_schema")
        return
    constraint = constraint_for([ToolSchema("save", "", parameters)], mode="json_schema")
    # These are counted and compared by the other two.
    converter_only = {problem.keyword for problem in reported} <= {
        *("minimum", "maximum", "minProperties", "maxProperties"),
    }
    for value, fits in [(value, True) for value in good] + [(value, False) for value in bad]:
        raw = isinstance(value, str) and value.startswith("raw:")
        if raw:
            text = f'{{"name": "save", "arguments": {{"v": {value[4:]}}}}}'
        else:
            text = bare(constraint, [ToolCall("1", "save", {"v": value})])
        allowed = not raw and checker.is_valid({"v": value})
        within = len(text) < 1000 and not any(isinstance(leaf, int) and abs(leaf) >= 10**15 for leaf in _leaves(value))
        for name, accepted in SCHEMA_ENGINES.items():
            if fits and within and _written_alike(schema, value):
                assert accepted(constraint.value, text), (name, text, constraint.value)
            if not allowed and not raw and (not reported or (converter_only and name != "converter")):
                assert not accepted(constraint.value, text), (name, text, constraint.value)


@pytest.mark.parametrize(("plugin", "mode"), MODES)
def test_equal_tools_give_equal_constraints_that_nobody_else_changes(plugin, mode):
    first = constraint_for(TOOLS, plugin, mode=mode)
    kept = json.dumps(first.value)
    if isinstance(first.value, dict):
        first.value.clear()
    as_mappings = [
        {"type": "function", "function": {"name": tool.name, "parameters": tool.parameters}} for tool in TOOLS
    ]
    assert json.dumps(constraint_for(as_mappings, plugin, mode=mode).value) == kept
    assert constraint_for(TOOLS, plugin, "typed@1", mode) == constraint_for(TOOLS, plugin, "typed", mode)


def test_what_does_not_exist_is_an_error_that_lists_the_names():
    with pytest.raises(
        ConfigError, match=r"unknown grammar strategy 'typd'; did you mean 'typed'.* known: custom, none"
    ):
        constraint_for(TOOLS, "qwen", "typd")
    with pytest.raises(ConfigError, match=r"no version '9'; this engine has typed@1"):
        constraint_for(TOOLS, "qwen", "typed@9")
    with pytest.raises(ConfigError, match=r"no grammar mode 'json_schema'; it has auto, ebnf, structural_tag"):
        constraint_for(TOOLS, "qwen_coder", mode="json_schema")
    with pytest.raises(ConfigError, match=r"for text: allowed, use ebnf or structural_tag"):
        constraint_for(TOOLS, "qwen", mode="json_schema", text="allowed")


def test_a_token_limit_shrinks_every_mode_alike():
    tool = [ToolSchema("say", "", {"type": "object", "properties": {"v": {"type": "string"}}, "required": ["v"]})]
    for mode in ("ebnf", "structural_tag", "json_schema"):
        options = ConstraintOptions(mode=mode, max_tokens=200)
        constraint = get_plugin("qwen").constraint(tool, options)
        assert accepts(constraint, "qwen", [ToolCall("1", "say", {"v": "x" * 90})])
        assert not accepts(constraint, "qwen", [ToolCall("1", "say", {"v": "x" * 200})])


@SLOW
@given(
    st.dictionaries(st.sampled_from(KEYWORDS), SCRAPS, max_size=5), st.sampled_from(("json_schema", "structural_tag"))
)
def test_any_schema_is_written_or_refused(schema, mode):
    """Whatever stands in a schema, there is a constraint that the engines take, or a refusal that names the tool."""
    tools = [ToolSchema("odd", "", schema)]
    found = json_inexpressible(schema) if mode == "json_schema" else inexpressible(schema)
    if any(problem.refused for problem in found):
        with pytest.raises(ToolGrammarError, match="odd"):
            constraint_for(tools, mode=mode)
        return
    constraint = constraint_for(tools, mode=mode)
    assert compile_constraint(constraint) is None
    if mode == "json_schema":
        Draft202012Validator.check_schema(constraint.value)
        assert not llguidance_accepts(constraint.value, "no")


@pytest.mark.parametrize(("max_tokens", "most"), [(None, MAX_CALLS), (4000, MAX_CALLS), (256, 5), (20, 2)])
@pytest.mark.parametrize("mode", ["ebnf", "structural_tag", "json_schema"])
def test_as_many_calls_as_the_token_limit_has_room_for(mode, max_tokens, most):
    tools = [ToolSchema("go", "", {"type": "object", "properties": {}, "additionalProperties": False})]
    options = ConstraintOptions(mode=mode, parallel_calls=True, max_tokens=max_tokens)
    constraint = get_plugin("qwen").constraint(tools, options)
    for number, fits in ((1, True), (most, True), (most + 1, False)):
        assert accepts(constraint, "qwen", [ToolCall(str(n), "go", {}) for n in range(number)], True) is fits

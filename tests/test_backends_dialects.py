"""How each server software is asked: constraints, sampling, adapters; and who is recognised as which."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.dialects import DIALECTS, recognise
from engine.backends.dialects.strict_subset import why_not_strict
from engine.backends.server_info import ServedModel, ServerInfo
from engine.errors import BackendRejected
from engine.grammar.constraint import NO_CONSTRAINT, Constraint
from engine.manifest.bundle_model import Sampling
from engine.manifest.engine_model import BackendSpec
from engine.models.base import Adapter

EBNF = Constraint("ebnf", 'root ::= "x"')
TAG = {"type": "structural_tag", "format": {"type": "const_string", "value": "x"}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOLS = {
    "tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": SCHEMA}}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}


@pytest.mark.parametrize(
    ("dialect", "constraint", "fields"),
    [
        ("vllm", EBNF, {"structured_outputs": {"grammar": 'root ::= "x"'}}),
        ("vllm", Constraint("json_schema", SCHEMA), {"structured_outputs": {"json": SCHEMA}}),
        ("vllm", Constraint("structural_tag", TAG), {"structured_outputs": {"structural_tag": json.dumps(TAG)}}),
        ("vllm", Constraint("structural_tag", "{}"), {"structured_outputs": {"structural_tag": "{}"}}),
        ("vllm", Constraint("strict_tools", TOOLS), TOOLS),
        ("llama_cpp", EBNF, {"grammar": 'root ::= "x"'}),
        ("llama_cpp", Constraint("json_schema", SCHEMA), {"json_schema": SCHEMA}),
        ("sglang", EBNF, {"ebnf": 'root ::= "x"'}),
        ("sglang", Constraint("json_schema", SCHEMA), {"response_format": FORMAT}),
        ("sglang", Constraint("structural_tag", TAG), {"response_format": TAG}),
        ("sglang", Constraint("structural_tag", json.dumps(TAG)), {"response_format": TAG}),
        ("sglang", Constraint("strict_tools", TOOLS), TOOLS),
        ("openai", Constraint("json_schema", SCHEMA), {"response_format": FORMAT}),
        ("openai", Constraint("json_schema", json.dumps(SCHEMA)), {"response_format": FORMAT}),
        ("openai", Constraint("strict_tools", TOOLS), TOOLS),
        *((name, NO_CONSTRAINT, {}) for name in DIALECTS),
    ],
)
def test_how_a_constraint_is_spelt(dialect, constraint, fields) -> None:
    assert DIALECTS[dialect].constrain(constraint) == fields


VALUES = {"ebnf": 'root ::= "x"', "structural_tag": TAG, "json_schema": SCHEMA, "strict_tools": TOOLS}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("kind", VALUES)
def test_a_kind_is_taken_or_refused_as_the_dialect_says(name, kind) -> None:
    dialect, constraint = DIALECTS[name], Constraint(kind, VALUES[kind])
    if kind in dialect.kinds:
        assert dialect.constrain(constraint)
    else:
        with pytest.raises(BackendRejected, match=r"grammar\.(mode|strategy)"):
            dialect.constrain(constraint)


def test_every_dialect_can_be_named_in_engine_yaml() -> None:
    for name in ("auto", *DIALECTS):
        assert BackendSpec(dialect=name).dialect == name


@pytest.mark.parametrize(
    ("url", "owner", "dialect"),
    [
        ("http://localhost:8000/v1", "vllm", "vllm"),
        ("http://localhost:8000/v1", "llamacpp", "llama_cpp"),
        ("http://localhost:30000/v1", "sglang", "sglang"),
        ("http://localhost:4000/v1", "openai", "plain"),  # what LiteLLM and others say of any model
        ("https://api.openai.com/v1", "system", "openai"),
        ("https://eu.api.openai.com/v1", "system", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure", "openai"),
        ("https://api.openai.com.evil.example/v1", "x", "plain"),
        ("https://notapi.openai.com/v1", "x", "plain"),
    ],
)
def test_who_is_recognised(url, owner, dialect) -> None:
    assert recognise(url, (ServedModel("m", "somebody"), ServedModel("n", owner))).name == dialect


def test_openai_is_not_told_what_is_its_default() -> None:
    openai = DIALECTS["openai"]
    assert openai.sampling(Sampling(temperature=1, top_p=1, max_tokens=9)) == {"max_completion_tokens": 9}
    assert openai.sampling(Sampling(temperature=0, top_p=0.5, max_tokens=9, seed=3, stop=("a",))) == {
        "temperature": 0,
        "top_p": 0.5,
        "max_completion_tokens": 9,
        "seed": 3,
        "stop": ["a"],
    }


def test_sglang_takes_an_adapter_as_lora_path() -> None:
    server = ServerInfo((ServedModel("base", "sglang"), ServedModel("fix", "sglang", parent="base")))
    chosen = DIALECTS["sglang"].select(server, Adapter("fixer", served_name="fix"))
    assert (chosen.found, chosen.model, chosen.fields) == (True, None, {"lora_path": "fix"})
    assert not DIALECTS["sglang"].select(server, Adapter("other")).found
    assert DIALECTS["sglang"].select(server, None).fields == {}


def nested(levels: int, keyword: str = "properties"):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"anyOf": [schema]} if keyword == "anyOf" else {**SCHEMA, "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (SCHEMA, None),
        (nested(9), None),
        ({**SCHEMA, "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, None),
        ({**SCHEMA, "properties": {"a": {"$ref": "#/$defs/d"}}, "$defs": {"d": {"type": "integer"}}}, None),
        ({"type": "array", "items": SCHEMA}, "its root has to be an object"),
        ({"anyOf": [SCHEMA]}, "its root has to be an object"),
        ({**SCHEMA, "required": []}, "# does not require a"),
        ({"type": "object", "properties": {}, "required": []}, "# does not say additionalProperties: false"),
        ({**SCHEMA, "properties": {"a": {"type": "string", "maxLength": 3}}}, "#/properties/a has maxLength"),
        ({**SCHEMA, "allOf": []}, "# has allOf"),
        ({**SCHEMA, "properties": {"a": {"type": ["object", "null"]}}}, "#/properties/a does not say"),
        ({**SCHEMA, "properties": {"a": {"type": "array", "items": {"not": {}}}}}, "#/properties/a/items has not"),
        (nested(12), "is deeper than 10 levels"),
        ({**SCHEMA, "properties": {"a": nested(5000, "anyOf")}}, "is deeper than 10 levels"),
        ({**SCHEMA, "properties": {"a": {"enum": list(range(1001))}}}, "it has 1,001 enum values"),
        ({**SCHEMA, "properties": {"a": {"const": "x" * 120_001}}}, "it has 120,002 characters"),
        ({**SCHEMA, "properties": ["a"]}, "something else than a schema"),
        ({**SCHEMA, "properties": {"a": True}}, "something else than a schema"),
    ],
)
def test_the_strict_subset(schema, problem) -> None:
    found = why_not_strict(schema)
    assert found is None if problem is None else problem in found


@pytest.mark.parametrize("kind", ["json_schema", "strict_tools"])
def test_openai_is_not_sent_what_it_would_refuse(kind) -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]}
    value = loose if kind == "json_schema" else {"tools": [{"function": {"name": "f", "strict": True}}]}
    if kind == "strict_tools":
        value["tools"][0]["function"]["parameters"] = loose
    with pytest.raises(BackendRejected, match=r"subset that the OpenAI API enforces: # does not|has maxLength"):
        DIALECTS["openai"].constrain(Constraint(kind, value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "items", "anyOf", "required", "enum", "$defs", "a"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "items", "anyOf", "required", "enum", "$defs"]), JSON))
def test_no_schema_breaks_the_check(schema) -> None:
    found = why_not_strict({"type": "object", **schema})
    assert found is None or isinstance(found, str)

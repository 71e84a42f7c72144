"""Arguments after parsing: what the schema says holds, whatever the grammar could express."""

import pytest

from engine.errors import ConfigError
from engine.grammar.argument_check import check_arguments

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "multipleOf": 3}, "s": {"type": "string", "pattern": "^a+$"}},
    "required": ["n"],
    "additionalProperties": False,
}


def test_arguments_that_fit_have_no_problem():
    assert check_arguments(SCHEMA, {"n": 6, "s": "aaa"}) is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"n": 7}, "n: 7 is not a multiple of 3"),
        ({}, "'n' is a required property"),
        ({"n": 3, "s": "b"}, "s: 'b' does not match '^a+$'"),
        ({"n": 3, "x": 1}, "'x' was unexpected"),
    ],
)
def test_a_problem_names_the_place(arguments, problem):
    assert problem in str(check_arguments(SCHEMA, arguments))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/none"},
        {"$ref": "#"},
        {"properties": {"a": {"pattern": "(?=x)"}}},
        {"properties": {"a": {"type": "strng"}}},
        {"properties": {"a": {"minLength": "x"}}},
        {"properties": 3},
    ],
)
def test_an_unusable_schema_is_an_error_and_fetches_nothing(schema):
    with pytest.raises(ConfigError, match="their schema is not usable"):
        check_arguments(schema, {"a": "text"})


def test_many_problems_are_cut():
    schema = {"properties": {f"k{n}": {"type": "string"} for n in range(9)}}
    assert "and 4 more" in str(check_arguments(schema, {f"k{n}": n for n in range(9)}))

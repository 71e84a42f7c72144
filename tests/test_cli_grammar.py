"""`engine grammar`: what is sent, and whether a reply is what it allows."""

import json

import pytest
from click.testing import CliRunner
from projects import call, make_bundle

from engine.cli import cli
from engine.cli.grammar_check import check_reply
from engine.errors import ConfigError
from engine.grammar import Constraint
from engine.messages import ToolSchema
from engine.models import get_plugin

GOOD = call("does it")


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "note")


def engine(*args, text=""):
    return CliRunner().invoke(cli, ["grammar", *map(str, args)], standalone_mode=False, input=text)


def shown(*args, text=""):
    result = engine(*args, "--output-format", "json", text=text)
    assert result.exception is None, result.exception
    return result.return_value, json.loads(result.stdout)


def test_the_grammar_as_it_is_sent(bundle):
    plain = engine(bundle)
    _, told = shown(bundle)
    assert plain.return_value == 0
    assert plain.stdout.startswith("root ::= ")
    assert told == {"kind": "ebnf", "strategy": "typed@1", "value": plain.stdout}
    assert shown(bundle, "--mode", "structural_tag")[1]["value"]["type"] == "structural_tag"
    assert (
        json.loads(engine(bundle, "--mode", "json_schema").stdout) == shown(bundle, "--mode", "json_schema")[1]["value"]
    )


@pytest.mark.parametrize(
    ("dialect", "plugin", "keys"),
    [
        ("vllm", "qwen", ["structured_outputs"]),
        ("llama_cpp", "qwen", ["grammar"]),
        ("sglang", "qwen", ["ebnf"]),
        ("vllm", "openai", ["parallel_tool_calls", "tool_choice", "tools"]),
        ("openai", "openai", ["parallel_tool_calls", "tool_choice", "tools"]),
    ],
)
def test_the_fields_of_a_request(bundle, dialect, plugin, keys):
    result = engine(bundle, "--dialect", dialect, "--plugin", plugin)
    assert result.exception is None
    assert sorted(json.loads(result.stdout)) == keys


def test_what_does_not_exist_is_named(bundle):
    assert "there is no dialect 'vlm'; known: " in str(engine(bundle, "--dialect", "vlm").exception)
    assert "unknown model plugin 'qwn'" in str(engine(bundle, "--plugin", "qwn").exception)
    assert "has no grammar mode 'ebnf'" in str(engine(bundle, "--plugin", "openai", "--mode", "ebnf").exception)
    assert "takes no constraint" in str(engine(bundle, "--dialect", "plain").exception)
    assert "cannot be read" in str(engine(bundle, "--check", bundle / "none.txt").exception)
    (bundle / "latin.txt").write_bytes(b"\xe9")
    assert "is not UTF-8 at byte 0" in str(engine(bundle, "--check", bundle / "latin.txt").exception)


@pytest.mark.xgrammar
@pytest.mark.parametrize("mode", ["ebnf", "structural_tag"])
def test_a_good_reply(bundle, mode):
    code, found = shown(bundle, "--mode", mode, "--check", "-", text=GOOD + "\n")
    assert code == 0
    assert (found["accepted"], found["at"], found["malformed"]) == (True, None, [])
    assert [(one["name"], one["problem"]) for one in found["calls"]] == [("add_comment", "")]
    assert "accepted: " in engine(bundle, "--mode", mode, "--check", "-", text=GOOD).stdout


@pytest.mark.xgrammar
@pytest.mark.parametrize(
    ("text", "where"),
    [
        (GOOD.replace("add_c", "add_x"), 'stops at line 2, column 15: <tool_call>\\n{\\"name\\": \\"add_ ▸ xomment'),
        (GOOD[:20], "ends too early, at line 2, column 9"),
        (GOOD + "\nDone.", f"stops at line {GOOD.count(chr(10)) + 1}, column 13"),
        ("", "ends too early, at line 1, column 1"),
    ],
)
def test_where_a_reply_stops_being_acceptable(bundle, text, where):
    result = engine(bundle, "--check", "-", text=text)
    assert result.return_value == 1
    assert "not accepted: " in result.stdout
    assert where in result.stdout, result.stdout


@pytest.mark.xgrammar
def test_what_is_wrong_with_calls(bundle):
    code, found = shown(bundle, "--check", "-", text=GOOD.replace('"comment"', '"coment"'))
    assert (code, found["accepted"]) == (1, False)
    assert "'coment' was unexpected" in found["calls"][0]["problem"]
    code, found = shown(bundle, "--check", "-", text=GOOD.replace("add_comment", "add_coment"))
    assert "did you mean 'add_comment'" in json.dumps(found)
    code, found = shown(bundle, "--check", "-", text=GOOD[:-15])
    assert (code, len(found["malformed"])) == (1, 1)


@pytest.mark.xgrammar
def test_a_reply_as_json(bundle):
    bare = json.dumps({"name": "add_comment", "arguments": {"comment": "it works"}})
    code, found = shown(bundle, "--mode", "json_schema", "--check", "-", text=bare)
    assert (code, found["accepted"], found["calls"][0]["arguments"]) == (0, True, {"comment": "it works"})


def test_without_a_grammar_only_the_calls_are_checked(capsys):
    tools = [ToolSchema("note", "", {"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 2}}})]
    plugin, none = get_plugin("qwen"), Constraint("none")
    good, bad = (f'<tool_call>\n{{"name": "note", "arguments": {{"n": {n}}}}}\n</tool_call>' for n in (2, 3))
    assert check_reply(good, plugin, tools, none, as_json=False) == 0
    assert "not checked: no grammar was asked" in capsys.readouterr().out
    assert check_reply(bad, plugin, tools, none, as_json=False) == 1
    assert "does not fit: n: 3 is not a multiple of 2" in capsys.readouterr().out


@pytest.mark.xgrammar
def test_a_constraint_that_does_not_compile_is_an_error():
    with pytest.raises(ConfigError, match="does not compile"):
        check_reply("x", get_plugin("qwen"), [], Constraint("ebnf", "root ::= ("), as_json=True)

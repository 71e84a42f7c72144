"""The plugins: declarations, calls and results byte for byte, and what a name resolves to."""

from pathlib import Path

import pytest
from inline_snapshot import snapshot

from engine.errors import ConfigError
from engine.grammar import ConstraintOptions
from engine.messages import Message, ToolCall, ToolResult, ToolSchema
from engine.models import PLUGINS, QwenPlugin, SmolLMPlugin, constraint_for, format_calls, get_plugin

WEATHER = ToolSchema(
    "get_weather",
    "Look up «now».",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
)
TIME = ToolSchema("get_time", "", {"type": "object", "properties": {}})
TURNS = [
    Message("user", "What is it like in Łódź and Rome?"),
    Message(
        "assistant",
        "Let me look.",
        tool_calls=(
            ToolCall("call_1", "get_weather", {"city": "Łódź", "days": 2}),
            ToolCall("call_2", "get_weather", {"city": "Rome"}),
        ),
    ),
    Message("tool", '{"sky": "grey"}', tool_call_id="call_1", name="get_weather"),
    Message("tool", "sunny\nand warm", tool_call_id="call_2", name="get_weather"),
    Message("assistant", "", tool_calls=(ToolCall("call_1", "get_time", {}),)),
    Message("tool", "noon", tool_call_id="call_1", name="get_time"),
    Message("assistant", "Grey there, sunny here."),
]


def _data(name):
    return (Path(__file__).parent / "data" / name).read_text(encoding="utf-8")


def _chatml(messages):
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return turns + "<|im_start|>assistant\n"


def test_qwen_renders_what_its_own_template_renders():
    """The file holds what the chat template of Qwen2.5 renders for these turns and tools."""
    messages = QwenPlugin().build_messages("And now?", "You answer briefly.", [WEATHER, TIME], TURNS)
    assert _chatml(messages) == _data("qwen_turns.txt")


def test_a_system_message_in_the_history_carries_the_tools():
    given = QwenPlugin().build_messages(None, "Be kind.", [TIME], TURNS[:1])
    found = QwenPlugin().build_messages(None, None, [TIME], [Message("system", "Be kind."), *TURNS[:1]])
    assert found == given
    assert [message["role"] for message in found] == ["system", "user"]


def test_without_tools_and_system_there_is_only_the_prompt():
    assert SmolLMPlugin().build_messages("Hi", None, []) == [{"role": "user", "content": "Hi"}]
    assert QwenPlugin().build_messages("Hi", None, [TIME])[0]["content"].startswith("# Tools\n\nYou may call")


def test_smollm_declares_tools_as_the_docstring_adapter_was_trained():
    tool = ToolSchema(
        "write_docstring",
        "Write the docstring of the function.",
        {
            "type": "object",
            "properties": {
                "summary": {"type": "string", "description": "One sentence that says what the function does."}
            },
            "required": ["summary"],
        },
    )
    system = "Write a one-sentence docstring for the given Python function."
    messages = SmolLMPlugin().build_messages("def f(): ...", system, [tool])
    assert messages[0]["content"] == _data("smollm_system.txt")


def test_calls():
    calls = [
        ToolCall("a", "get_weather", {"city": 'Łódź "x"\n</tool_call>', "days": 2}),
        ToolCall("b", "get_time", {}),
    ]
    assert QwenPlugin().format_calls(calls) == snapshot("""\
<tool_call>
{"name": "get_weather", "arguments": {"city": "Łódź \\"x\\"\\n</tool_call>", "days": 2}}
</tool_call>
<tool_call>
{"name": "get_time", "arguments": {}}
</tool_call>\
""")
    assert SmolLMPlugin().format_calls(calls[:1]) == snapshot("""\
<tool_call>
{"name": "get_weather", "arguments": {"city": "\\u0141\\u00f3d\\u017a \\"x\\"\\n</tool_call>", "days": 2}}
</tool_call>\
""")
    assert format_calls([ToolCall("a", "get_weather", {"days": 1, "city": "x"})], tools=[WEATHER]) == snapshot("""\
<tool_call>
{"name": "get_weather", "arguments": {"city": "x", "days": 1}}
</tool_call>\
""")


def test_results():
    result = ToolResult("call_1", "get_time", '{"time": "noon"}')
    assert (
        QwenPlugin().format_result(result)
        == SmolLMPlugin().format_result(result)
        == snapshot("""\
<tool_response>
{"time": "noon"}
</tool_response>\
""")
    )


def test_every_plugin_keeps_the_contract():
    for name, make in PLUGINS.items():
        plugin = get_plugin(name)
        assert plugin.name == name
        assert plugin.tool_choice([TIME]) == ("required" if name == "openai" else None)
        assert plugin.tool_choice([]) is None
        assert plugin.grammar_strategy() == "typed"
        assert "auto" in plugin.modes()
        assert make(grammar_strategy="permissive").grammar_strategy() == "permissive"
        assert plugin.constraint([], ConstraintOptions()).kind == "none"


def test_an_unknown_plugin_lists_the_names():
    hint = r"unknown model plugin 'qwne'; did you mean 'qwen'\? known: function_gemma, .*qwen, qwen_coder, smollm"
    with pytest.raises(ConfigError, match=hint):
        get_plugin("qwne")


def test_a_mode_that_the_family_lacks_is_refused():
    with pytest.raises(ConfigError, match="'qwen_coder' has no grammar mode 'json_schema'; it has auto, ebnf"):
        constraint_for([TIME], "qwen_coder", mode="json_schema")


def test_both_forms_of_a_tool_schema_are_taken():
    plain = {"name": TIME.name, "description": "", "parameters": dict(TIME.parameters)}
    wrapped = {"type": "function", "function": plain}
    assert constraint_for([plain]) == constraint_for([wrapped]) == constraint_for([TIME])

"""The documentation of the Python API, run as it stands."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from scripted_server import scripted_server

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text("utf-8"), re.DOTALL)

REPLIES = {
    "write_docstring": {"summary": "Does what its name says."},
    "get_weather": {"city": "Oslo"},
    "add": {"a": 1, "b": 2},
}


def answer(body) -> str:
    """Call the first tool that the prompt declares, else say hello."""
    from engine import ToolCall, format_calls

    text = str(body["messages"])
    name = next((name for name in REPLIES if f'"{name}"' in text), None)
    if name is None:
        return "hello"
    return format_calls([ToolCall("1", name, REPLIES[name])], plugin="qwen")


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
async def test_documented_code_runs(block: str, monkeypatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    with scripted_server() as server:
        server.text = answer
        names = {"url": server.api, "__name__": "documented"}
        result = eval(compile(block, "docs/api.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.isawaitable(result):
            await result
    if "result" in names:
        assert {task.outcome for task in names["result"].tasks} == {"finished"}
    if "out" in names:
        assert names["out"].final_tool_result.value == 3

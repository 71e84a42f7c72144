"""The host functions that scripts may declare, for one task: all inside its workspace and permissions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.discovery import CodeNode
from engine.errors import ToolScriptError
from engine.prompts import NODE_FIELDS
from engine.run.editor import NodeEditor
from engine.workspace import CommandRunner, Workspace


@dataclass
class Submission:
    """What a task said about itself through `submit_result`."""

    summary: str = ""
    changed_files: list[str] = field(default_factory=list)


def node_metadata(node: CodeNode) -> dict[str, Any]:
    """Return the public facts about a node, without its text."""
    return {name: getattr(node, name) for name in NODE_FIELDS if name != "text"}


def make_externals(
    workspace: Workspace, editor: NodeEditor, commands: CommandRunner, submission: Submission
) -> Mapping[str, Callable[..., Any]]:
    """Return the externals by name; permissions are the workspace's and the command runner's business.

    Those that wait for nothing, or at most for the task's own file, are async: a plain function gets a thread.
    """

    async def run_json_command(cmd: str, args: list[str]) -> Any:
        result = await commands.run(cmd, args)
        try:
            return json.loads(result["stdout"]) if result["stdout"].strip() else []
        except ValueError:
            return {"error": "the output is not JSON", **result}

    def write_file(path: str, content: str) -> bool:
        workspace.write_text(path, content)
        return True

    def delete_file(path: str) -> bool:
        workspace.delete(path)
        return True

    async def submit_result(summary: str, changed_files: list[str]) -> bool:
        if submission.summary:
            raise ToolScriptError("the result was already submitted")
        submission.summary, submission.changed_files = summary, list(changed_files)
        return True

    return {
        "read_file": workspace.read_text,
        "write_file": write_file,
        "delete_file": delete_file,
        "file_exists": workspace.exists,
        "list_dir": workspace.list_dir,
        "search": workspace.search,
        **_node_externals(editor),
        "run_command": commands.run,
        "run_json_command": run_json_command,
        "submit_result": submit_result,
    }


def _node_externals(editor: NodeEditor) -> Mapping[str, Callable[..., Any]]:
    """Return the externals that are about the task's node."""

    async def get_node_source() -> str:
        return editor.source()

    async def get_node_metadata() -> dict[str, Any]:
        return node_metadata(editor.node)

    async def replace_node(text: str) -> bool:
        return editor.replace(text)

    return {"get_node_source": get_node_source, "get_node_metadata": get_node_metadata, "replace_node": replace_node}

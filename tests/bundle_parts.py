"""Calls the tools of a shipped bundle on a node of a real project, with the real sandbox, workspace and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import discover
from engine.bundle import load_bundle
from engine.messages import ToolCall, ToolResult
from engine.run.editor import NodeEditor
from engine.run.externals import Submission, make_externals
from engine.tools import ScriptRunner, ToolEnvironment
from engine.workspace import Change, CommandRunner, Workspace

BUNDLES = Path(__file__).parent.parent / "bundles"
SHOP = Path(__file__).parent / "samples" / "shop"


@dataclass(frozen=True)
class Called:
    """What a call gave: the tool's result, the context of its prompt and the changes."""

    result: ToolResult
    context: Mapping[str, Any]
    changes: tuple[Change, ...]

    @property
    def text(self) -> str:
        """The only changed file's new text."""
        (change,) = self.changes
        assert change.after is not None
        return change.after.decode()


async def call_tool(
    bundle_name: str, root: Path, node_name: str, arguments: Mapping[str, Any], **params: Any
) -> Called:
    """Call a bundle's only tool for a node, as a task would."""
    bundle = load_bundle(BUNDLES / bundle_name)
    nodes = [node for node in discover([root]) if node_name in (node.qualified_name, node.name)]
    node = nodes[0]
    assert bundle.takes(node, bundle.resolve_params(params)), f"{bundle_name} does not take {node_name}"
    workspace = Workspace(root, bundle.manifest.permissions)
    async with ScriptRunner() as runner, CommandRunner(workspace, bundle.manifest.permissions.run) as commands:
        externals = make_externals(workspace, NodeEditor(workspace, node), commands, Submission())
        context = await bundle.run_context(runner, externals, each="run")
        variables = {
            "node": node,
            "params": bundle.resolve_params(params),
            "context": context,
            "model": {"plugin": "smollm", "id": None, "adapter": None},
            "tools": [],
            "turn": 1,
            "node_name": node.name,
            "file_path": node.file_path,
            "start_line": node.start_line,
        }
        (tool,) = bundle.make_tools(runner)
        environment = ToolEnvironment(bundle.bound_inputs(variables), externals)
        result = await tool.call(ToolCall("call_1", tool.schema.name, dict(arguments)), environment)
        return Called(result, context, tuple(workspace.changes()))

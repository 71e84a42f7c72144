"""What the tools of a manifest are called."""

from __future__ import annotations

from pathlib import PurePosixPath

from engine.manifest.bundle_model import McpTool, PythonTool, ScriptTool

ToolEntry = str | ScriptTool | PythonTool | McpTool


def as_script(entry: ToolEntry) -> ScriptTool | None:
    """Return the entry as a script tool, its shorthand spelled out; None for other kinds."""
    if isinstance(entry, str):
        return ScriptTool(path=entry)
    return entry if isinstance(entry, ScriptTool) else None


def tool_names(entry: ToolEntry) -> tuple[str, ...]:
    """Return the names that the model calls the entry's tools by."""
    script = as_script(entry)
    if script is not None:
        return (script.name or PurePosixPath(script.path).stem,)
    if isinstance(entry, PythonTool):
        return (entry.name or entry.python.partition(":")[2].rpartition(".")[2],)
    assert isinstance(entry, McpTool)  # noqa: S101 - the kinds are these four
    return entry.mcp.tools

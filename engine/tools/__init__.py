"""Tools: `.pym` scripts (parsed, checked, run in a sandbox), trusted Python callables, and the dispatcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.tools.base import Tool, ToolEnvironment
    from engine.tools.checker import ScriptChecker
    from engine.tools.dispatcher import ToolDispatcher
    from engine.tools.externals import EXTERNALS, External, check_externals
    from engine.tools.merge import SYSTEM_INPUTS, hidden_inputs, merge_inputs
    from engine.tools.parse import parse_script
    from engine.tools.pymtool import PymTool
    from engine.tools.pythontool import PythonTool
    from engine.tools.runner import ScriptRunner
    from engine.tools.script import ParsedScript, Script, ScriptExternal, ScriptInput
    from engine.tools.warm import WarmChecker

__all__ = [
    "EXTERNALS",
    "SYSTEM_INPUTS",
    "External",
    "ParsedScript",
    "PymTool",
    "PythonTool",
    "Script",
    "ScriptChecker",
    "ScriptExternal",
    "ScriptInput",
    "ScriptRunner",
    "Tool",
    "ToolDispatcher",
    "ToolEnvironment",
    "WarmChecker",
    "check_externals",
    "hidden_inputs",
    "merge_inputs",
    "parse_script",
]

__getattr__ = lazy(
    __name__,
    {
        "base": ("Tool", "ToolEnvironment"),
        "checker": ("ScriptChecker",),
        "dispatcher": ("ToolDispatcher",),
        "externals": ("EXTERNALS", "External", "check_externals"),
        "merge": ("SYSTEM_INPUTS", "hidden_inputs", "merge_inputs"),
        "parse": ("parse_script",),
        "pymtool": ("PymTool",),
        "pythontool": ("PythonTool",),
        "runner": ("ScriptRunner",),
        "script": ("ParsedScript", "Script", "ScriptExternal", "ScriptInput"),
        "warm": ("WarmChecker",),
    },
)

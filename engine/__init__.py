"""Agents as data: load folders ("bundles") and run each as an agent over code.

The names below are imported when they are first used, so `import engine` is cheap.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine import backends, models
    from engine.app import discover, run
    from engine.bundle import Bundle, Catalog, load_bundle, validate
    from engine.diagnostics import Diagnostic, Span
    from engine.discovery import CodeNode
    from engine.errors import (
        BackendError,
        BundleError,
        CallerError,
        ConfigError,
        EngineError,
        ToolError,
        WorkspaceError,
    )
    from engine.events import Event, Observer
    from engine.grammar import Constraint
    from engine.kernel import Kernel, KernelConfig, KernelResult, RuntimeClient, RuntimeConfig
    from engine.messages import Message, Reply, ToolCall, ToolResult, ToolSchema, Usage
    from engine.models import ModelPlugin, constraint_for, format_calls, parse_reply
    from engine.reload import Reload, Watcher
    from engine.run import RunResult, TaskResult

_HOME = {
    "app": ("discover", "run"),
    "bundle": ("Bundle", "Catalog", "load_bundle", "validate"),
    "diagnostics": ("Diagnostic", "Span"),
    "discovery": ("CodeNode",),
    "errors": (
        "BackendError",
        "BundleError",
        "CallerError",
        "ConfigError",
        "EngineError",
        "ToolError",
        "WorkspaceError",
    ),
    "events": ("Event", "Observer"),
    "grammar": ("Constraint",),
    "kernel": ("Kernel", "KernelConfig", "KernelResult", "RuntimeClient", "RuntimeConfig"),
    "messages": ("Message", "Reply", "ToolCall", "ToolResult", "ToolSchema", "Usage"),
    "models": ("ModelPlugin", "constraint_for", "format_calls", "parse_reply"),
    "reload": ("Reload", "Watcher"),
    "run": ("RunResult", "TaskResult"),
}
_find = lazy("engine", _HOME)
_ROOMS = ("backends", "models")

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "CallerError",
    "Catalog",
    "CodeNode",
    "ConfigError",
    "Constraint",
    "Diagnostic",
    "EngineError",
    "Event",
    "Kernel",
    "KernelConfig",
    "KernelResult",
    "Message",
    "ModelPlugin",
    "Observer",
    "Reload",
    "Reply",
    "RunResult",
    "RuntimeClient",
    "RuntimeConfig",
    "Span",
    "TaskResult",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "ToolSchema",
    "Usage",
    "Watcher",
    "WorkspaceError",
    "backends",
    "constraint_for",
    "discover",
    "format_calls",
    "load_bundle",
    "models",
    "parse_reply",
    "run",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Import a public name where it lives."""
    return importlib.import_module(f"engine.{name}") if name in _ROOMS else _find(name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__


class _Package(ModuleType):
    """Keeps `engine.run` the function: importing the room `engine.run` would put the module in its place."""

    @property
    def run(self) -> Any:
        """Return the function `run`."""
        return __getattr__("run")

    @run.setter
    def run(self, value: object) -> None:
        """Ignore what the import system sets."""


sys.modules[__name__].__class__ = _Package

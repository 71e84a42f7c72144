"""Every exception that the engine raises on purpose, sorted by who must act.

```
EngineError
├── ConfigError            the person who deploys: engine.yaml, flags, environment
│   ├── LogError           … has an event log that cannot be read or written
│   ├── MissingExtraError  … has to install an extra
│   └── UnenforcedError    … has a server that does not hold replies to the declared constraint
├── BundleError            the bundle's author; carries every diagnostic
│   └── PromptError        … a template failed while rendering
├── ToolError              a tool call failed; becomes a ToolResult, never ends a run
│   ├── ToolInputError     … its arguments do not fit its schema
│   ├── ToolLimitError     … it hit a time, memory, recursion, suspension or wall limit
│   └── ToolScriptError    … the script or one of its externals raised
├── BackendError           whoever runs the model server
│   ├── BackendUnavailable … unreachable, overloaded or broken after all retries
│   ├── BackendRejected    … it refused the request (bad grammar, unknown model)
│   │   └── KeyRefused     … or the key
│   ├── ContextLengthError … the prompt is longer than the model's context
│   └── ReplayError        … a recording has no reply to this request
├── CallerError            the program that calls the engine: an argument makes no sense
│   └── ToolSchemaError    … a tool schema has another form than it must
├── LimitError             a task used up its tokens, tool calls or seconds
└── WorkspaceError         a path or an edit that is not allowed
    ├── PermissionDenied   … the bundle's permissions do not allow it
    └── ConflictError      … the file changed since the task read it
```

What a model does wrong is no exception but data: `Reply.malformed` holds the calls that cannot be used, and the turn
loop ends with a reason. Each message stands alone and says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.diagnostics import Diagnostic


class EngineError(Exception):
    """Base of all errors; the command line prints its message and exits with 2."""


class ConfigError(EngineError):
    """A setting of the deployment is wrong."""


class LogError(ConfigError):
    """The event log cannot be read or written: it is locked, damaged or read-only, or the disk is full."""


class MissingExtraError(ConfigError):
    """A feature needs a package of an extra that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}': pip install 'bundle-engine[{extra}]'")
        self.extra = extra


class UnenforcedError(ConfigError):
    """A declared constraint is not in force; the message names the server, the kind and the ways out."""


class BundleError(EngineError):
    """A bundle cannot be used; `diagnostics` holds every finding, sorted."""

    def __init__(self, message: str, diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)


class PromptError(BundleError):
    """A template failed while rendering; the diagnostics hold its file and line."""


class ToolError(EngineError):
    """A tool call failed."""


class ToolInputError(ToolError):
    """The arguments of a call do not fit the tool's schema."""


class ToolLimitError(ToolError):
    """A script hit a limit; `kind` is time, memory, recursion, suspension, sleep or wall."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class ToolScriptError(ToolError):
    """A script or one of its externals raised; `line` is the author's own line, 1-based."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class BackendError(EngineError):
    """A completion failed; the message names the URL and the way out.

    `charged` says whether the server may have charged for the request, so that a budget counts it.
    """

    charged = False


class BackendUnavailable(BackendError):  # noqa: N818 - a state, not an "Error"
    """The server is unreachable, overloaded or broken after all retries.

    Args:
        message: What happened, with all attempts.
        words: The same without them; by default the message.
        kind: How: unreachable, timeout, overloaded (it asks for fewer requests) or broken.
        retry_after: How many seconds the server asks to wait.
    """

    def __init__(self, message: str, words: str = "", kind: str = "broken", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.words, self.kind, self.retry_after = words or message, kind, retry_after

    charged = True


class BackendRejected(BackendError):  # noqa: N818 - a state, not an "Error"
    """The server refused the request; sending it again would not help."""


class KeyRefused(BackendRejected):
    """The server does not take the key, or not for this (401, 403)."""


class ContextLengthError(BackendError):
    """The prompt does not fit into the model's context."""


class ReplayError(BackendError):
    """A recording does not hold the reply to this request; the message says what differs, in one line."""


class CallerError(EngineError):
    """A program called the engine with an argument that makes no sense."""


class ToolSchemaError(CallerError):
    """A tool schema is none; the message says which part of it is wrong."""


class LimitError(EngineError):
    """A task or a run used up one of its limits.

    `kind` is tokens, cost, tool_calls or seconds; where it is the run's, `budget_` stands before it.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[LimitError], tuple[str, str]]:
        return type(self), (str(self), self.kind)


class WorkspaceError(EngineError):
    """A path or an edit is not allowed in the workspace."""


class PermissionDenied(WorkspaceError):  # noqa: N818 - a state, not an "Error"
    """The bundle's permissions do not allow it; the message names the permission."""


class ConflictError(WorkspaceError):
    """The file is no longer what the task read."""

"""`--where`: which changes are meant, as an expression over what is known of each."""

from __future__ import annotations

from typing import Any

from engine.diagnostics import Span
from engine.errors import ConfigError, PromptError
from engine.prompts.expression import Expression, check_expression
from engine.prompts.scope import Scope
from engine.workspace import ChangeHead

_CHECKS = frozenset({"passed", "failed", "names"})
_NODE = frozenset({"id", "name", "qualified_name", "type", "line"})
_PLAIN: dict[str, Any] = {
    "bundle": "",
    "operation": "",
    "outcome": "finished",
    "reason": "",
    "turns": 0,
    "cached": False,
    "attempts": 1,
    "seconds": 0.0,
}
"""What the store says of a task, with the values of changes that an older engine offered."""

NAMES = ("checks", "node", *_PLAIN, "task", "file", "kind", "added", "removed", "state", "edited")
SCOPE = Scope({name: {"checks": _CHECKS, "node": _NODE}.get(name) for name in NAMES})


class Where:
    """A condition on changes: a Jinja expression, evaluated in the sandbox of the prompts.

    Args:
        source: The expression, such as `checks.passed and added < 20`.

    Raises:
        ConfigError: It has a syntax error, or names what does not exist.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        for finding in check_expression(source, SCOPE, Span("--where"))[:1]:
            help_ = finding.help or f"the names are {', '.join(NAMES)}"
            raise ConfigError(f"--where: {finding.message}; {help_}")
        self._expression = Expression(source)

    def __call__(self, head: ChangeHead) -> bool:
        """Whether a change is meant.

        Raises:
            ConfigError: The expression cannot be evaluated.
        """
        try:
            return bool(self._expression.evaluate(variables(head)))
        except PromptError as exc:
            raise ConfigError(f"--where, on {head.task_id}: {exc}") from exc


def variables(head: ChangeHead) -> dict[str, Any]:
    """Return what an expression can read about a change."""
    facts = head.facts
    name = head.node.partition("::")[2]
    old = {"id": "", "name": name.rpartition(".")[2], "qualified_name": name, "type": "", "line": 0}
    known = {key: facts.get(key, value) for key, value in _PLAIN.items()}
    known["bundle"] = known["bundle"] or head.task_id.rpartition("-")[0]
    return known | {
        "checks": {
            "passed": head.passed,
            "failed": head.failed_checks,
            "names": list(dict.fromkeys(str(check["check"]) for check in head.checks)),
        },
        "node": {**old, **facts.get("node", {})},
        "task": head.task_id,
        "file": head.path,
        "kind": head.kind,
        "added": head.added,
        "removed": head.removed,
        "state": head.state,
        "edited": head.edited,
    }

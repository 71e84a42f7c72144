"""Permissions: patterns that stay in the project, commands that are commands, externals that are allowed."""

from __future__ import annotations

from pathlib import PurePosixPath

from engine.bundle.draft import Draft
from engine.bundle.passes.layout import escapes
from engine.diagnostics import Diagnostic
from engine.manifest import JsonPath

_SHELLS = frozenset(
    {"sh", "bash", "dash", "zsh", "fish", "ksh", "csh", "tcsh", "ash", "busybox", "cmd", "cmd.exe", "powershell"}
    | {"powershell.exe", "pwsh", "env", "sudo", "doas", "xargs"}
)
_GRANTS = {
    "read": 'permissions: {read: ["**/*"]}',
    "write": 'permissions: {write: ["**/*.py"]}',
    "run": "permissions: {run: [[ruff, check]]}",
    "ask": "permissions: {ask: true}",
}


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings."""
    if not draft.sound("permissions"):
        return []
    return [*_patterns(draft), *_commands(draft), *_externals(draft)]


def _patterns(draft: Draft) -> list[Diagnostic]:
    findings = []
    for key in ("read", "write"):
        for index, pattern in enumerate(getattr(draft.manifest.permissions, key)):
            problem = "is empty" if not pattern.strip() else escapes(pattern).replace("the bundle", "the project")
            if problem:
                message = f"permissions.{key}: the pattern '{pattern}' {problem}"
                span = draft.value("permissions", key, index)
                findings.append(
                    Diagnostic("A002", message, span, 'write it relative to the project, such as "**/*.py"')
                )
    return findings


def _commands(draft: Draft) -> list[Diagnostic]:
    commands: list[tuple[JsonPath, tuple[str, ...]]] = [
        (("permissions", "run", index), argv) for index, argv in enumerate(draft.manifest.permissions.run)
    ]
    for index, check in draft.each("checks"):
        if not isinstance(check, str):
            commands.append((("checks", index, "run"), check.run))
    findings = []
    for path, argv in commands:
        program = PurePosixPath(argv[0]).name if argv else ""
        if not program.strip():
            message = "the command is empty, which would allow every command"
            findings.append(Diagnostic("A003", message, draft.value(*path), "name a program"))
        elif program in _SHELLS:
            message = f"'{program}' runs any command, so nothing would be left of the permission"
            findings.append(
                Diagnostic("A003", message, draft.value(*path), "name the program itself, such as [ruff, check]")
            )
    return findings


def _externals(draft: Draft) -> list[Diagnostic]:
    from engine.tools import EXTERNALS

    allowed = draft.manifest.permissions
    granted = {"read": bool(allowed.read), "write": bool(allowed.write), "run": bool(allowed.run), "ask": allowed.ask}
    findings = []
    for use in draft.uses:
        for external in use.script.externals if use.script else ():
            known = EXTERNALS.get(external.name)
            if known is not None and known.permission is not None and not granted.get(known.permission, True):
                message = f"the external '{external.name}' needs the permission '{known.permission}'"
                help_text = f"the bundle does not ask for it: {_GRANTS[known.permission]}"
                findings.append(Diagnostic("A001", message, external.span, help_text))
    return findings

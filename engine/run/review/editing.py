"""A change that a person edited: what the bundle's checks say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.bundle import Bundle
from engine.run.checks import CheckResult, run_checks
from engine.workspace import Change, CommandRunner, Workspace


async def recheck(root: Path, bundle: Bundle, changes: Sequence[Change]) -> tuple[CheckResult, ...]:
    """Run a bundle's checks on changes, in a view of the project that has them.

    Args:
        root: The project's root.
        bundle: The bundle; its permissions hold for its checks.
        changes: All changes of a task.
    """
    permissions = bundle.manifest.permissions
    workspace = Workspace(root, permissions)
    for change in changes:
        if change.after is not None:
            workspace.write_bytes(change.path, change.after)
        elif workspace.exists(change.path):
            workspace.delete(change.path)
    commands = CommandRunner(workspace, permissions.run)
    try:
        return await run_checks(bundle.manifest.checks, changes, commands)
    finally:
        await commands.aclose()

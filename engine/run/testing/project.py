"""A case's project folder, and the one task in it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.bundle.cases import BundleCase
from engine.discovery.languages import extension_of
from engine.errors import ConfigError
from engine.run.plan import Task
from engine.run.run_plan import Plan


@dataclass(frozen=True, slots=True)
class CaseProject:
    """The files of a case; trials only read them, so all of a case share them.

    Attributes:
        root: The folder.
        target: The target's path in it.
        files: All contents by path.
    """

    root: Path
    target: str
    files: Mapping[str, bytes]


def lay_out(case: BundleCase, root: Path) -> CaseProject:
    """Write a case's project.

    Args:
        case: The case; its paths were checked.
        root: An empty folder.

    Raises:
        ConfigError: Two of its files have one place.
    """
    target = posixpath.normpath(case.case.path or _name(case))
    files = {target: case.target}
    for name, text in case.case.files.items():
        place = posixpath.normpath(name)
        if place in files:
            raise ConfigError(f"two of its files are called {place}: give the target another 'path'")
        files[place] = text.encode("utf-8", "replace")
    for name, content in files.items():
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise ConfigError(f"{name} is a file and a folder at once: give one of the two another path") from error
    return CaseProject(root, target, files)


def _name(case: BundleCase) -> str:
    if case.case.file is not None:
        return posixpath.basename(posixpath.normpath(case.case.file))
    return f"snippet{extension_of(case.case.language)}"


def choose_task(plan: Plan, node: str | None) -> Task:
    """Return the one task of a case.

    Args:
        plan: What the bundle takes of the target.
        node: The node's name or qualified name; None for the only one.

    Raises:
        ConfigError: There is no such task, or more than one.
    """
    tasks = list(plan.tasks)
    if node is not None:
        exact = [task for task in tasks if task.node.qualified_name == node]
        tasks = exact or [task for task in tasks if task.node.name == node]
    if len(tasks) == 1:
        return tasks[0]
    if not tasks:
        raise ConfigError(_nothing(plan, node))
    names = ", ".join(dict.fromkeys(f"{task.node.type} {task.node.qualified_name}" for task in tasks))
    if node is None:
        raise ConfigError(f"the bundle takes {len(tasks)} nodes of it ({names}): name one with 'node'")
    raise ConfigError(f"{len(tasks)} nodes are called '{node}' ({names}): give a name that only one has")


def _nothing(plan: Plan, node: str | None) -> str:
    if node is not None:
        return f"the node '{node}' cannot be run: {plan.why_no_task([node])}"
    notes = f" ({'; '.join(plan.notes)})" if plan.notes else ""
    return f"the bundle takes no node of it: {plan.why_no_task(['*'])}{notes}"

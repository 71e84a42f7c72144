"""The workspace: a task's copy-on-write view of the project, its changes, and how they get into the project's files."""

from engine.workspace.apply import Decision, accept, reject
from engine.workspace.change import Change
from engine.workspace.commands import CommandLimits, CommandRunner
from engine.workspace.overlay import Workspace
from engine.workspace.store import ChangeStore, OfferedChange
from engine.workspace.view import ViewLimits

__all__ = [
    "Change",
    "ChangeStore",
    "CommandLimits",
    "CommandRunner",
    "Decision",
    "OfferedChange",
    "ViewLimits",
    "Workspace",
    "accept",
    "reject",
]

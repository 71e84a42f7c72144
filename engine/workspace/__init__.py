"""The workspace: a task's copy-on-write view of the project, its changes, and how they get into the project's files."""

from engine.workspace.apply import Decision, Outlook, Selection, accept, outlook, reject, undo
from engine.workspace.change import Change
from engine.workspace.commands import CommandLimits, CommandRunner
from engine.workspace.offered import WAITING, ChangeHead, Offer, OfferedChange
from engine.workspace.overlay import Workspace
from engine.workspace.project import Project, Snapshot
from engine.workspace.reads import Reads
from engine.workspace.store import ChangeStore
from engine.workspace.threeway import Merged, merge
from engine.workspace.threeway_view import three_way_diff
from engine.workspace.view import ViewLimits

__all__ = [
    "WAITING",
    "Change",
    "ChangeHead",
    "ChangeStore",
    "CommandLimits",
    "CommandRunner",
    "Decision",
    "Merged",
    "Offer",
    "OfferedChange",
    "Outlook",
    "Project",
    "Reads",
    "Selection",
    "Snapshot",
    "ViewLimits",
    "Workspace",
    "accept",
    "merge",
    "outlook",
    "reject",
    "three_way_diff",
    "undo",
]

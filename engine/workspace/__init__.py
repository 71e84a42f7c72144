"""The workspace: a task's copy-on-write view of the project, its changes, and how they get into the project's files."""

from engine.workspace.apply import Decision, Selection, accept, reject, undo
from engine.workspace.change import Change
from engine.workspace.commands import CommandLimits, CommandRunner
from engine.workspace.live import LiveFile
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
    "LiveFile",
    "Merged",
    "Offer",
    "OfferedChange",
    "Project",
    "Reads",
    "Snapshot",
    "Selection",
    "ViewLimits",
    "Workspace",
    "accept",
    "merge",
    "reject",
    "three_way_diff",
    "undo",
]

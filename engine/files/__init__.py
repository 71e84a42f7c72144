"""Files of a project: confined paths, globs, ignore rules, the walk and the atomic write.

Discovery and the workspace share these rules, so that both see the same project.
"""

from engine.files.atomic import atomic_write
from engine.files.cache import cache_folder
from engine.files.globs import glob_match, matches_any
from engine.files.ignore import IgnoreRules, is_private, is_skipped
from engine.files.paths import find_project_root, is_utf8, join_inside, normalise
from engine.files.walk import Entry, walk

__all__ = [
    "Entry",
    "IgnoreRules",
    "atomic_write",
    "cache_folder",
    "find_project_root",
    "glob_match",
    "is_private",
    "is_skipped",
    "is_utf8",
    "join_inside",
    "matches_any",
    "normalise",
    "walk",
]

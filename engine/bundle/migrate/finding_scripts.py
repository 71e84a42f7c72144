"""Where the scripts of an old manifest lie, and how they get into the bundle."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from engine.bundle.migrate.conversion import Conversion, ToolScript
from engine.bundle.source import MAX_TEXT
from engine.manifest import JsonPath

SUFFIX = ".pym"


def by_path(c: Conversion, name: str, path: JsonPath, folder: str) -> ToolScript:
    """Return the script that a path of the old manifest means.

    Subagent files name scripts relative to the folder of all agents, the others relative to the bundle. What lies
    beside the bundle is copied into it; what lies further out is not read.

    Args:
        c: The conversion.
        name: The path.
        path: Its place in the old manifest.
        folder: Where in the bundle a script from beside it goes.
    """
    inside = posixpath.normpath(name)
    for prefix in dict.fromkeys((f"{c.folder.name}/", "")):
        inner = inside.removeprefix(prefix)
        if (prefix == "" or inside.startswith(prefix)) and inner in c.source.files:
            return ToolScript(inner, c.text_of(inner) or "")
    stem = posixpath.basename(inside)
    home = inside if not inside.startswith(("/", "..", "~")) and "\\" not in inside else posixpath.join(folder, stem)
    text = _beside(c, name)
    if text is None:
        c.old.note("assumed", path, f"the script {name} is not there: {home} is named")
        return ToolScript(home, "")
    added = c.add_file(posixpath.join(folder, stem), text)
    c.old.note("assumed", path, f"the script lies outside of the bundle: it is copied to {added}")
    return ToolScript(added, text.decode("utf-8", "replace"))


def by_name(c: Conversion, name: str, folders: list[str], path: JsonPath) -> ToolScript:
    """Return the script with a tool's name below the first of some folders, else anywhere in the bundle."""
    wanted = f"{name}{SUFFIX}"
    inside = [file for file in c.source.files if posixpath.basename(file) == wanted]
    for folder in folders:
        below = [file for file in inside if posixpath.dirname(file) == folder or file.startswith(f"{folder}/")]
        if below:
            nearest = min(below, key=lambda file: (file.count("/"), file))
            return ToolScript(nearest, c.text_of(nearest) or "")
    for folder in folders:
        text = _beside(c, posixpath.join(folder, wanted)) if folder.startswith("..") else None
        if text is not None:
            added = c.add_file(posixpath.join("tools", wanted), text)
            c.old.note("assumed", path, f"the script lies outside of the bundle: it is copied to {added}")
            return ToolScript(added, text.decode("utf-8", "replace"))
    if len(inside) == 1:
        return ToolScript(inside[0], c.text_of(inside[0]) or "")
    home = next((folder for folder in folders if not folder.startswith((".", "/"))), "tools")
    c.old.note("assumed", path, f"there is no script of the tool {name}: {posixpath.join(home, wanted)} is named")
    return ToolScript(posixpath.join(home, wanted), "")


def all_below(c: Conversion, folders: list[str]) -> list[ToolScript]:
    """Return the scripts in the first of some folders that has any, sorted by path."""
    for folder in folders:
        prefix = "" if folder == "." else f"{folder}/"
        files = [
            file
            for file in c.source.files
            if file.endswith(SUFFIX) and file.startswith(prefix) and "/" not in file[len(prefix) :]
        ]
        if files:
            return [ToolScript(file, c.text_of(file) or "") for file in sorted(files)]
    return []


def _beside(c: Conversion, name: str) -> bytes | None:
    """Return a script below the folder around the bundle; None for anything further out, and for what is no script."""
    around = os.path.realpath(c.folder.parent)
    if c.source.zipped or not name.endswith(SUFFIX) or "\0" in name:
        return None
    for base in (around, os.path.realpath(c.folder)):
        real = Path(os.path.realpath(os.path.join(base, name)))  # noqa: PTH118 - joined as text, then resolved
        try:
            if real.is_relative_to(around) and real.is_file() and real.stat().st_size <= MAX_TEXT:
                return real.read_bytes()
        except OSError:
            continue
    return None

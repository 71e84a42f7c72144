"""Which project a command is about."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ConfigError
from engine.files import find_project_root


def find_root(project: Path | None = None, targets: Sequence[str | Path] = ()) -> Path:
    """Return the root of the project that a command is about.

    It is `project`, if given; else the project around the working directory, if the targets lie in it; else the one
    around the targets.

    Raises:
        ConfigError: A target is outside the given project.
    """
    places = [Path(target).resolve() for target in targets]
    if project is not None:
        root = project.resolve()
        for place in places:
            if not place.is_relative_to(root):
                raise ConfigError(f"{place} is outside the project {root}: choose another --project")
        return root
    here = find_project_root(Path.cwd().resolve())
    if all(place.is_relative_to(here) for place in places):
        return here
    common = Path(os.path.commonpath(places))
    return find_project_root(common if common.is_dir() else common.parent)

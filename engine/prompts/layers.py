"""Templates of the bundles that a bundle builds on: under the bundle's own, and by name where these hide them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PARENT = "@parent/"
"""`@parent/PATH` in a template is PATH as the parent of the bundle has it that the template lies in."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Where templates lie that are not the bundle's own.

    The templates of the nth parent are named with n times `@parent/`; one that is inherited also has its plain name.

    Attributes:
        levels: For each template of a parent how many bundles up it lies.
        files: Its path as the user would type it.
        depth: Number of parents.
    """

    levels: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    depth: int = 0

    def resolve(self, name: str, inside: str) -> str:
        """Return the template that a name means.

        Args:
            name: As written.
            inside: The template that it is written in.
        """
        if not name.startswith(PARENT):
            return name  # as the bundle itself has it: what is replaced is replaced for the parents' templates too
        return PARENT * self.levels.get(inside, 0) + name

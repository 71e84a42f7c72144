"""Where the parts of a merged document were written: each in one of several documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.diagnostics import Span
from engine.manifest.document import JsonPath, Position, Positions


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one part was written.

    Attributes:
        positions: Of the document that has it.
        path: Its place there.
        below: The origins of its own parts, where these are not all as that document has them.
    """

    positions: Positions
    path: JsonPath = ()
    below: Mapping[str | int, Origin] | None = None

    def at(self, step: str | int) -> Origin:
        """Return the origin of a part; `step` must be one of the data."""
        if self.below is None:
            return Origin(self.positions, (*self.path, step))
        return self.below[step]


def origin_of(positions: Positions) -> Origin:
    """Return the origin of a whole document."""
    return positions.origin if isinstance(positions, MergedPositions) else Origin(positions)


class MergedPositions(Positions):
    """The positions of a merged document: each path leads into the document that has it.

    Args:
        file: The nearest document, for what none of them has.
        origin: Where the document's parts were written.
    """

    def __init__(self, file: str, origin: Origin) -> None:
        super().__init__(file)
        self.origin = origin

    @property
    def known(self) -> bool:
        """Whether the document could be read: only such documents are merged."""
        return True

    def __getitem__(self, path: JsonPath) -> Position:
        """Return the position of the path.

        Raises:
            KeyError: The path does not exist in the merged document.
        """
        found, exact = self._find(path)
        if not exact:
            raise KeyError(path)
        return found.positions[found.path]

    def __contains__(self, path: JsonPath) -> bool:
        found, exact = self._find(path)
        return exact and found.path in found.positions

    def key(self, path: JsonPath) -> Span:
        """Return the span of the path's key, in the document that has it."""
        found, _ = self._find(path)
        return found.positions.key(found.path)

    def value(self, path: JsonPath) -> Span:
        """Return the span of the path's value, in the document that has it."""
        found, exact = self._find(path)
        return found.positions.value(found.path) if exact else found.positions.key(found.path)

    def written(self, path: JsonPath) -> JsonPath:
        """Return the path as it is in the document that has it."""
        found, exact = self._find(path)
        return found.path if exact else path

    def _find(self, path: JsonPath) -> tuple[Origin, bool]:
        """Return the origin of the path, or of its nearest parent."""
        here = self.origin
        for depth, step in enumerate(path):
            if here.below is None:
                return Origin(here.positions, (*here.path, *path[depth:])), True
            if step not in here.below:
                return here, False
            here = here.below[step]
        return here, True

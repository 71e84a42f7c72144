"""What a migration says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["lost", "assumed"]


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """One thing that a person should know about a migration.

    Attributes:
        file: The old manifest, as the user would type it.
        line: Its line, 1-based.
        column: Its column, 1-based.
        kind: `lost`: this format has no place for it. `assumed`: a value that the old manifest does not give, or gives
            in another sense.
        key: The old key, dotted.
        message: What and why, one line.
    """

    file: str
    line: int
    column: int
    kind: Kind
    key: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """Return the note as the object that `--json` prints."""
        return {
            "file": self.file,
            "location": {"line": self.line, "column": self.column},
            "kind": self.kind,
            "key": self.key,
            "message": self.message,
        }

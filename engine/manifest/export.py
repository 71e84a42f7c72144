"""Writes `schemas/*.schema.json`: `python -m engine.manifest.export [FOLDER]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engine.manifest.schema import MODELS, Kind, exported_schema


def schema_text(kind: Kind) -> str:
    """Return the exported text of a schema: sorted keys, two spaces, a final newline."""
    return json.dumps(exported_schema(kind), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def export(folder: Path) -> list[Path]:
    """Write every schema into the folder and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in MODELS:
        path = folder / f"{kind}.schema.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(schema_text(kind), encoding="utf-8", newline="\n")
        temporary.replace(path)
        written.append(path)
    return written


if __name__ == "__main__":
    for file in export(Path(sys.argv[1] if len(sys.argv) > 1 else "schemas")):
        sys.stdout.write(f"{file}\n")

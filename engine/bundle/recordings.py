"""Where the recordings of a bundle's cases lie."""

from __future__ import annotations

import posixpath
import re

_GLOB = re.compile(r"[*?\[{]")


def recordings_folder(tests: str) -> str:
    """Return the folder of the recordings, beside the files with cases: `tests/recordings` for `tests/*.yaml`.

    Args:
        tests: The manifest's `tests`.
    """
    parts = posixpath.normpath(tests).split("/")[:-1]
    above = next((index for index, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    return "/".join([*parts[:above], "recordings"])


def is_recording(name: str, tests: str | None) -> bool:
    """Whether a file of a bundle is a recording.

    Args:
        name: Its posix path in the bundle.
        tests: The manifest's `tests`.
    """
    return tests is not None and name.endswith(".json") and posixpath.dirname(name) == recordings_folder(tests)

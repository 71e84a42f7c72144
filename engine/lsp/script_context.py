"""What the cursor of a `.pym` script is in, and the declarations that a script has, complete or not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_EXTERNAL = re.compile(r"^(?P<async>async\s+)?def\s+(?P<name>\w+)\s*\(", re.MULTILINE)
_INPUT = re.compile(r"^(?P<name>[A-Za-z_]\w*)\s*(?::\s*(?P<type>[^=\n]+?))?\s*=\s*Input\(", re.MULTILINE)
_IMPORT = re.compile(r"^from\s+(?:grail|engine\.pym)\s+import\s+(?P<names>[^\n#]*)", re.MULTILINE)
_WORD_BEFORE = re.compile(r"\w*\Z")
_WORD_AFTER = re.compile(r"\w*")

Want = Literal["statement", "external", "input", "import", "code", "nothing"]


@dataclass(frozen=True, slots=True)
class ScriptCursor:
    """Where the cursor is.

    Attributes:
        want: What belongs here: a statement at the left margin, the function of an `@external`, an argument of `Input`,
            a name to import, an expression, or nothing that the engine knows of.
        word: The whole word that the cursor touches.
        first: Where the word begins.
        last: Where it ends.
        called: Whether a bracket follows the word.
    """

    want: Want
    word: str
    first: int
    last: int
    called: bool = False


def script_cursor(text: str, offset: int) -> ScriptCursor:
    """Return what the cursor of a script is in."""
    before = _WORD_BEFORE.search(text[max(offset - 200, 0) : offset])
    after = _WORD_AFTER.match(text, offset)
    first, last = offset - len(before.group() if before else ""), after.end() if after else offset
    start = text.rfind("\n", 0, first) + 1
    line = text[start:first]
    return ScriptCursor(
        _want(text, start, line), text[first:last], first, last, text[last : last + 1].lstrip()[:1] == "("
    )


def _want(text: str, start: int, line: str) -> Want:
    if "#" in line or line.count('"') % 2 or line.count("'") % 2:
        return "nothing"
    above = text[:start].rstrip().rpartition("\n")[2].strip()
    if above == "@external" and re.fullmatch(r"\s*(async\s+)?(def\s+)?", line):
        return "external"
    if re.match(r"from\s+(grail|engine\.pym)\s+import\s", line):
        return "import"
    if re.search(r"\bInput\([^()]*$", line):
        return "input"
    if not line or line == "@":
        return "statement"
    return "nothing" if re.search(r"(?:\bdef|\bclass|\bimport|\.)\s*$", line) else "code"


def declared_externals(text: str) -> dict[str, int]:
    """Return the functions at the left margin that are marked as externals, and where their names stand."""
    found = {}
    for match in _EXTERNAL.finditer(text):
        above = text[: match.start()].rstrip().rpartition("\n")[2].strip()
        if above.startswith("@"):
            found[match["name"]] = match.start("name")
    return found


def declared_inputs(text: str) -> dict[str, int]:
    """Return the inputs that a script declares, and where their names stand."""
    return {match["name"]: match.start("name") for match in _INPUT.finditer(text)}


def import_end(text: str) -> int | None:
    """Return where another name may be added to what a script imports, None where it imports nothing in one line."""
    found = next((match for match in _IMPORT.finditer(text) if re.fullmatch(r"[\w\s,]+", match["names"])), None)
    return found.start("names") + len(found["names"].rstrip()) if found is not None else None


def missing_import(text: str, name: str) -> bool:
    """Whether a script does not import `Input` or `external` yet."""
    return not any(name in re.findall(r"\w+", match["names"]) for match in _IMPORT.finditer(text))

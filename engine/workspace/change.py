"""A change: one file's edit, as a value, and how a person reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from engine.workspace.lines import Edit, line_edits, split_lines

T = TypeVar("T")
Kind = Literal["create", "edit", "delete"]
_CONTEXT = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One file's edit, waiting for review.

    Attributes:
        path: Posix path relative to the project's root.
        before: The file's bytes when the task first saw it; None when it did not exist.
        after: Its bytes after the task; None when the task deleted it.
        mode: Its permission bits; None leaves them to the umask.
        span: Where the task's node stands in `before`: its first byte and the one behind its last; None when the file
            does not hold it.
    """

    path: str
    before: bytes | None
    after: bytes | None
    mode: int | None = None
    span: tuple[int, int] | None = field(default=None, compare=False)
    _memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def kind(self) -> Kind:
        """What happens to the file."""
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "edit"

    @property
    def edits(self) -> list[Edit]:
        """The change as edits of lines; found once."""
        return self.once("edits", lambda: line_edits(split_lines(self.before or b""), split_lines(self.after or b"")))

    def once(self, name: str, find: Callable[[], T]) -> T:
        """Return what is found out about the change, and find it only the first time.

        Args:
            name: What it is.
            find: Finds it.
        """
        if name not in self._memo:
            self._memo[name] = find()
        found: T = self._memo[name]
        return found

    @property
    def added(self) -> int:
        """Number of lines that are new; 0 for a binary file."""
        return 0 if self.binary else sum(len(edit.lines) for edit in self.edits)

    @property
    def removed(self) -> int:
        """Number of lines that go; 0 for a binary file."""
        return 0 if self.binary else sum(edit.end - edit.start for edit in self.edits)

    @property
    def binary(self) -> bool:
        """Whether one side is not UTF-8 text."""
        return not (_is_text(self.before or b"") and _is_text(self.after or b""))

    def diff(self) -> str:
        """Return the change as a unified diff with git's headers, which `git apply` understands (text files)."""
        old, new = _quoted("a/" + self.path), _quoted("b/" + self.path)
        head = [f"diff --git {old} {new}\n"]
        mode = "100755" if (self.mode or 0) & 0o100 else "100644"
        if self.kind != "edit":
            head.append(f"{'new' if self.before is None else 'deleted'} file mode {mode}\n")
        if self.binary:
            return "".join([*head, f"Binary files {old} and {new} differ\n"])
        edits = self.edits
        if edits:
            head.append(f"--- {'/dev/null' if self.before is None else _tabbed(old)}\n")
            head.append(f"+++ {'/dev/null' if self.after is None else _tabbed(new)}\n")
        lines = split_lines(self.before or b"")
        return "".join([*head, *(part for hunk in _hunks(edits) for part in _render(hunk, lines, edits))])


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in raw


def _hunks(edits: list[Edit]) -> list[list[Edit]]:
    """Group edits whose context touches."""
    hunks: list[list[Edit]] = []
    for edit in edits:
        if hunks and edit.start - hunks[-1][-1].end <= 2 * _CONTEXT:
            hunks[-1].append(edit)
        else:
            hunks.append([edit])
    return hunks


def _render(hunk: list[Edit], lines: list[bytes], edits: list[Edit]) -> Iterator[str]:
    start = max(0, hunk[0].start - _CONTEXT)
    end = min(len(lines), hunk[-1].end + _CONTEXT)
    shift = sum(len(edit.lines) - (edit.end - edit.start) for edit in edits if edit < hunk[0])
    growth = sum(len(edit.lines) - (edit.end - edit.start) for edit in hunk)
    yield f"@@ -{_range(start, end - start)} +{_range(start + shift, end - start + growth)} @@\n"
    position = start
    for edit in hunk:
        yield from _marked(" ", lines[position : edit.start])
        yield from _marked("-", lines[edit.start : edit.end])
        yield from _marked("+", edit.lines)
        position = edit.end
    yield from _marked(" ", lines[position:end])


def _range(start: int, count: int) -> str:
    first = start + 1 if count else start
    return f"{first}" if count == 1 else f"{first},{count}"


def _marked(sign: str, lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        text = line.decode("utf-8")
        yield sign + text if line.endswith(b"\n") else f"{sign}{text}\n\\ No newline at end of file\n"


def _tabbed(name: str) -> str:
    """End a name that holds a space with a tab, so that tools find its end."""
    return name + "\t" if " " in name else name


def _quoted(name: str) -> str:
    """Quote a name with control characters, quotes, backslashes or bytes above 127 the way git does."""
    raw = name.encode("utf-8", "surrogateescape")
    if all(32 <= byte < 127 and byte not in b'"\\' for byte in raw):
        return name
    escapes = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    return '"' + "".join(escapes.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in raw) + '"'

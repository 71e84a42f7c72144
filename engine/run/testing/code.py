"""Is the code that of before, but for comments, docstrings or one node? Compares syntax trees, not texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from engine.discovery.languages import new_parser

if TYPE_CHECKING:
    from tree_sitter import Node

But = Literal["docstrings", "comments", "node"]
_DOC_COMMENTS = {
    "java": (b"/**",),
    "javascript": (b"/**",),
    "rust": (b"///", b"//!", b"/**", b"/*!"),
    "tsx": (b"/**",),
    "typescript": (b"/**",),
}
_TEXTS = ("string", "template", "text", "char", "regex", "scalar", "content")
_NODE, _COMMENT, _END = "the node", "a comment", "the end"


@dataclass(frozen=True, slots=True)
class Part:
    """One step through a syntax tree.

    Attributes:
        kind: The node's type, or what stands in a node's place.
        text: The text of a leaf, of a comment, or that no child covers; empty for an inner node.
        row: Where it stands, 0-based.
        start: Its first byte.
    """

    kind: str
    text: bytes
    row: int
    start: int

    def same(self, other: Part) -> bool:
        """Whether it is the same step, wherever it stands."""
        return self.kind == other.kind and self.text == other.text


def code_difference(
    before: bytes, after: bytes, language: str, but: Collection[But] = (), span: tuple[int, int] | None = None
) -> str | None:
    """Return where the code differs, in one line; None when it is the same.

    White space and how lines are broken don't count, what a text or a string holds does.

    Args:
        before: The file before.
        after: The file now.
        language: A name of the language table.
        but: What may differ: `docstrings` (of Python; elsewhere documentation comments), `comments`, and `node`, which
            may become anything, also nothing.
        span: First byte of the node in `before`, and the byte behind its last; needed for `node`.
    """
    skip = frozenset(but)
    old = list(_parts(before, language, skip, span if "node" in skip else None))
    new = list(_parts(after, language, skip, None))
    marks = [index for index, part in enumerate(old) if part.kind == _NODE]
    head, tail = (old[: marks[0]], old[marks[-1] + 1 :]) if marks else (old, [])
    at = _first_difference(head, new)
    if at is None and not marks and len(new) > len(head):
        at = len(head)
    if at is not None:
        return _line(head, new, at, before, after)
    from_end = _first_difference(tail[::-1], new[len(head) :][::-1])
    if from_end is None:
        return None
    return _line(tail, new[len(head) :], -1 - from_end, before, after)


def _first_difference(old: Sequence[Part], new: Sequence[Part]) -> int | None:
    """Return the first index at which `new` does not go on like `old`."""
    for index, part in enumerate(old):
        if index >= len(new) or not part.same(new[index]):
            return index
    return None


def _line(old: Sequence[Part], new: Sequence[Part], at: int, before: bytes, after: bytes) -> str:
    here, there = _at(old, at), _at(new, at)
    was = _source_line(before, here)
    now = _source_line(after, there)
    return f"expected {was}, got {now}"


def _at(parts: Sequence[Part], at: int) -> Part | None:
    return parts[at] if -len(parts) <= at < len(parts) else None


def _source_line(source: bytes, part: Part | None) -> str:
    if part is None:
        return "nothing more"
    if part.kind == _END:
        return f"nothing more behind line {part.row + 1}"
    lines = source.split(b"\n")
    text = lines[part.row].decode("utf-8", "replace").strip() if part.row < len(lines) else ""
    return f"'{text[:100]}' (line {part.row + 1})" if text else f"an empty line (line {part.row + 1})"


def _parts(source: bytes, language: str, skip: frozenset[But], span: tuple[int, int] | None) -> Iterator[Part]:
    """Return a file as a sequence: its syntax tree without comments, and each comment behind the leaf before it.

    Comments are taken out before the tree is read: which node holds one depends on what stands beside it, and some
    grammars stumble over one in an odd column.
    """
    parser = new_parser(language)
    comments = list(_comments(parser.parse(source).root_node))
    kept = [node for node in comments if not ("comments" in skip or _documents(node, source, language, skip))]
    queue = [Part(_COMMENT, (node.text or b"").strip(), node.start_point.row, node.start_byte) for node in kept]
    if span is not None:
        queue = [part for part in queue if not span[0] <= part.start < span[1]]
    waiting: list[Part] = []
    for part in _walk(parser.parse(_blanked(source, comments)).root_node, language, skip, span):
        if not part.text and part.kind != _NODE:
            waiting.append(part)
            continue
        while queue and queue[0].start < part.start:
            yield queue.pop(0)
        yield from waiting
        waiting.clear()
        yield part
    yield from queue
    yield from waiting


def _comments(root: Node) -> Iterator[Node]:
    """Yield the comments in the order of the file."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.type.endswith("comment"):
            yield node
        else:
            stack += reversed(node.children)


def _blanked(source: bytes, comments: Iterable[Node]) -> bytes:
    """Return a file with spaces in place of its comments; their line ends stay."""
    text = bytearray(source)
    for node in comments:
        for at in range(node.start_byte, node.end_byte):
            if text[at] not in b"\r\n":
                text[at] = 0x20
    return bytes(text)


def _walk(root: Node, language: str, skip: frozenset[But], span: tuple[int, int] | None) -> Iterator[Part]:
    """Yield a part for each node that counts, and one behind each inner node's last child."""
    stack: list[Node | Part] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, Part):
            yield item
            continue
        place = (item.start_point.row, item.start_byte)
        if span is not None and span[0] <= item.start_byte and item.end_byte <= span[1]:
            yield Part(_NODE, b"", *place)
        elif item.child_count == 0:
            yield Part(item.type, item.text or b"", *place)
        else:
            yield Part(item.type, b"", *place)
            stack += reversed(list(_inside(item, language, skip)))


def _inside(node: Node, language: str, skip: frozenset[But]) -> Iterator[Node | Part]:
    """Yield the children that count, the text between them that no child covers, and the end of the node."""
    is_text = any(word in node.type for word in _TEXTS)
    source, start = node.text or b"", node.start_byte
    end = start
    for child in node.children:
        gap = source[end - start : child.start_byte - start]
        if gap if is_text else gap.strip():
            yield Part("gap", gap if is_text else gap.strip(), child.start_point.row, end)
        end = max(end, child.end_byte)
        counts = is_text or child.is_missing or (child.text or b"").strip()
        if counts and not ("docstrings" in skip and language == "python" and _is_docstring(child, node)):
            yield child
    yield Part(_END, b"", node.end_point.row, node.end_byte)


def _is_docstring(statement: Node, parent: Node) -> bool:
    """Whether a Python statement is the string that a module, a class or a function begins with."""
    if statement.type != "expression_statement" or statement.named_child_count != 1:
        return False
    holder = parent.parent if parent.type == "block" else parent
    if holder is None or holder.type not in ("module", "class_definition", "function_definition"):
        return False
    first = next((child for child in parent.named_children if child.type != "comment"), None)
    if first is None or first.id != statement.id:
        return False
    strings = statement.named_children[0]
    parts = strings.named_children if strings.type == "concatenated_string" else [strings]
    return all(part.type == "string" and _is_plain(part) for part in parts)


def _is_plain(string: Node) -> bool:
    """Whether a string is neither of bytes nor formatted."""
    start = string.children[0].text or b"" if string.children else b""
    return not set(start.lower()) & set(b"bf")


def _documents(comment: Node, source: bytes, language: str, skip: frozenset[But]) -> bool:
    """Whether a comment is documentation that may differ: by how it begins, in Go by standing above something."""
    if "docstrings" not in skip:
        return False
    if language != "go":
        return source[comment.start_byte : comment.end_byte].startswith(_DOC_COMMENTS.get(language, ()))
    row, following = comment.end_point.row, comment.next_sibling
    while following is not None and following.type == "comment" and following.start_point.row == row + 1:
        row, following = following.end_point.row, following.next_sibling
    while following is not None and following.type == "\n":
        following = following.next_sibling
    return following is not None and following.type != "comment" and following.start_point.row == row + 1

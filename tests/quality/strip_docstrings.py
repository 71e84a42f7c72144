"""Copies a Python source tree with the docstrings of its functions taken out, and says what they said.

Usage: strip_docstrings.py SOURCE TARGET [--report FILE.json]

Only functions and methods whose body has more than the docstring are stripped; everything else keeps its bytes, so
the copy is what an author without docstrings would have written. The report lists each stripped function with its
former first sentence, to judge new sentences beside it.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Stripped:
    """A function that lost its docstring: where it is and the first sentence that it had."""

    path: str
    qualified_name: str
    sentence: str


def first_sentence(docstring: str) -> str:
    """Return the first sentence of a docstring's first paragraph, on one line."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    match = re.match(r"(.+?[.!?])(?=\s+[A-Z`'\"(]|\s*$)", paragraph)
    return match.group(1) if match else paragraph


def documented(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield the functions with a docstring and more, with their qualified names."""
    for node in ast.iter_child_nodes(tree):
        name = prefix
        if isinstance(node, Function | ast.ClassDef):
            name = f"{prefix}{node.name}."
        if isinstance(node, Function) and len(node.body) > 1 and ast.get_docstring(node) is not None:
            yield name[:-1], node
        yield from documented(node, name)


def strip(source: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the source without docstrings of functions, and what was taken out.

    Args:
        source: Python source with plain newlines.

    Returns:
        The text, and per function its qualified name and first sentence. A docstring that shares a line with
        anything else is left where it is.
    """
    tree = ast.parse(source)
    lines = source.split("\n")
    gone: set[int] = set()
    taken = []
    for name, node in documented(tree):
        statement, following = node.body[0], node.body[1]
        end = statement.end_lineno or statement.lineno
        before = lines[statement.lineno - 1].encode()[: statement.col_offset]
        behind = lines[end - 1].encode()[statement.end_col_offset :]
        if before.strip() or behind.strip() or following.lineno <= end:
            continue
        if end < len(lines) and not lines[end].strip():
            end += 1
        gone.update(range(statement.lineno, end + 1))
        taken.append((name, first_sentence(ast.get_docstring(node) or "")))
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in gone), taken


def strip_tree(source: Path, target: Path) -> list[Stripped]:
    """Copy the `.py` files below `source` to `target`, stripped; other files are left out."""
    found = []
    for path in sorted(source.rglob("*.py")):
        relative = path.relative_to(source)
        text, taken = strip(path.read_text(encoding="utf-8"))
        destination = target / relative
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(text, encoding="utf-8")
        found += [Stripped(relative.as_posix(), name, sentence) for name, sentence in taken]
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Copy a Python source tree without the docstrings of its functions.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--report", type=Path, help="write the stripped functions and their sentences as JSON")
    options = parser.parse_args()
    found = strip_tree(options.source, options.target)
    if options.report:
        options.report.write_text(json.dumps([asdict(one) for one in found], indent=1), encoding="utf-8")
    print(f"{len(found)} docstrings taken out")


if __name__ == "__main__":
    main()

"""Merging: of three sides as `git merge-file` does it, of parallel changes by the nodes that they belong to."""

from __future__ import annotations

import subprocess
import tempfile
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.discovery import error_count, parse_file
from engine.run.checks import parse_problem
from engine.workspace import Change, ChangeStore, Selection, accept, merge, three_way_diff, undo
from engine.workspace.merge import composed, resolve
from engine.workspace.pieces import compatible, own_span

BASE = [f"line {number}\n" for number in range(9)]
FRESH = st.sampled_from(["new 1\n", "new 2\n", "new 3\n", "other\n"])
EDITS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.lists(FRESH, max_size=2, unique=True)), max_size=3)


def edited(edits: list[tuple[int, int, list[str]]], end: str = "") -> bytes:
    """Return BASE with disjoint stretches of it replaced."""
    lines, position = list[str](), 0
    for start, count, new in sorted(edits, key=lambda edit: edit[:2]):
        if start < position:
            continue
        lines += BASE[position:start] + [line for line in new if line not in lines]
        position = max(position, min(start + count, len(BASE)))
    return ("".join(lines + BASE[position:]) + end).encode()


def git_merge(base: bytes, live: bytes, task: bytes) -> tuple[bool, bytes]:
    """Return whether git merges cleanly, and the result."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("live", live), ("base", base), ("task", task)):
            (Path(folder) / name).write_bytes(content)
        ran = subprocess.run(
            ["git", "merge-file", "-p", "live", "base", "task"], cwd=folder, capture_output=True, check=False
        )
    return ran.returncode == 0, ran.stdout


@settings(max_examples=150, deadline=None)
@given(EDITS, EDITS, st.sampled_from(["", "tail"]), st.sampled_from(["", "tail"]))
def test_where_git_merges_cleanly_so_do_we_and_to_the_same(mine, theirs, my_end, their_end) -> None:
    base, live, task = "".join(BASE).encode(), edited(mine, my_end), edited(theirs, their_end)
    clean, result = git_merge(base, live, task)
    merged = merge(base, live, task)
    assert (merged.content is not None) == clean
    if clean:
        assert merged.content == result
    else:
        assert merged.conflicts
        assert "changed on both sides" in merged.why


TEXT = st.lists(st.sampled_from(["a\n", "b\n", "\n", "é\r\n"]), max_size=8).map(lambda lines: "".join(lines).encode())


@settings(deadline=None)
@given(TEXT, TEXT, TEXT)
def test_a_merge_is_fair_to_both_sides(base, live, task) -> None:
    merged, swapped = merge(base, live, task), merge(base, task, live)
    assert merged.content == swapped.content
    assert merge(base, live, base).content == live
    assert merge(base, base, task).content == task
    assert merge(base, task, task).content == task
    assert b"".join(line for one in merged.stretches for line in one.base) == base
    assert b"".join(line for one in merged.stretches for line in one.live) == live
    assert b"".join(line for one in merged.stretches for line in one.task) == task


@pytest.mark.parametrize("side", [None, b"a\0b"])
def test_what_cannot_be_merged_says_why(side) -> None:
    merged = merge(b"1\n", side, b"2\n")
    assert (merged.content, merged.stretches) == (None, ())
    assert merged.why


def test_a_conflict_is_shown_from_three_sides() -> None:
    base = "".join(f"{number}\n" for number in range(1, 21)).encode()
    live, task = base.replace(b"\n9\n", b"\nlive\n"), base.replace(b"\n9\n", b"\ntask\n").replace(b"\n2\n", b"\ntwo\n")
    assert three_way_diff(Change("f", base, task), live, "t-1") == (
        "# f: line 9 changed on both sides\n"
        " 1\n-2\n+two\n 3\n 4\n 5\n 6\n 7\n 8\n"
        "<<<<<<< the file now\n live\n||||||| what the task read, from line 9\n 9\n=======\n task\n>>>>>>> task t-1\n"
        " 10\n 11\n 12\n@@ 5 lines that nobody changed @@\n 18\n 19\n 20\n"
    ).replace("@@ 5 lines that nobody changed @@\n 18\n 19\n 20\n", "@@ 8 lines that nobody changed @@\n")
    assert three_way_diff(Change("f", base, task), base, "t-1") == Change("f", base, task).diff()
    beside = base.replace(b"\n15\n", b"\nlive\n")
    assert "-2\n+two\n" in three_way_diff(Change("f", base, task), beside, "t-1")
    assert "live" not in three_way_diff(Change("f", base, task), beside, "t-1")
    assert "made or deleted" in three_way_diff(Change("f", None, b"x\n"), b"y\n", "t-1")


MODULE = b"""\
import os
def one(a): return a
def two(b): return b
@cache
@other
def three(c):
    return c
class Thing(Base):
    size = 1
    @property
    def four(self):
        return 4
    def five(self): return 5
    after = 2
async def six(): pass
seven = lambda: 7
"""


def spans(source: bytes = MODULE, path: str = "m.py", language: str = "python") -> dict[str, tuple[int, int]]:
    return {node.qualified_name: (node.start_byte, node.end_byte) for node in parse_file(source, path, language)}


def of_node(name: str, text: str, source: bytes = MODULE) -> Change:
    """Return the change that puts other text in place of a node."""
    start, end = spans(source)[name]
    return Change("m.py", source, source[:start] + text.encode() + source[end:], span=(start, end))


def text_of(name: str, source: bytes = MODULE) -> str:
    start, end = spans(source)[name]
    return source[start:end].decode()


def rewritten(name: str, how: str) -> Change:
    """Return one of the changes that bundles make to a node."""
    text = text_of(name)
    indent = " " * 4 if name.startswith("Thing.") else ""
    if how == "decorate":
        text = f"@added_{name.rpartition('.')[2]}\n{indent}{text}"
    elif how == "append":
        text += f"\n{indent}# after {name}"
    elif how == "docstring":
        head, _, body = text.partition(":\n") if ":\n" in text else text.partition(": ")
        body = body.lstrip("\n ")
        text = f'{head}:\n{indent}    """{name}"""\n{indent}    {body}'
    else:
        text = text.replace("return ", "return 1 + ").replace("pass", "return 6")
    return of_node(name, text)


FUNCTIONS = ("one", "two", "three", "Thing.four", "Thing.five", "six")
HOWS = ("decorate", "append", "docstring", "rewrite")


def bring_in(changes: list[Change]) -> bytes | None:
    """Accept changes one after the other; None when one is not taken."""
    live, taken = changes[0].before, list[Change]()
    for change in changes:
        resolution = resolve(change, live, taken)
        if resolution.action != "write":
            return None
        live, taken = resolution.content, [*([] if resolution.alone else taken), change]
    return live


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_changes_of_different_nodes_merge_in_any_order(data) -> None:
    names = data.draw(st.lists(st.sampled_from(FUNCTIONS), min_size=2, max_size=5, unique=True))
    changes = [rewritten(name, data.draw(st.sampled_from(HOWS))) for name in names]
    results = {bring_in(data.draw(st.permutations(changes))) for _ in range(3)}
    assert len(results) == 1
    (merged,) = results
    assert merged is not None
    assert error_count(merged, "python") == 0
    now = spans(merged)
    for change, name in zip(changes, names, strict=True):
        assert change.after is not None
        start, end = change.span
        new = change.after[start : len(change.after) - (len(MODULE) - end)]
        assert new in merged
        assert name in now
    for name in set(FUNCTIONS) - set(names):
        assert text_of(name).encode() in merged


@pytest.mark.parametrize("order", [0, 1])
def test_two_insertions_at_one_boundary(order) -> None:
    pair = [rewritten("one", "append"), rewritten("two", "decorate")][:: -1 if order else 1]
    merged = bring_in(pair)
    assert merged is not None
    assert b"def one(a): return a\n# after one\n@added_two\ndef two(b): return b\n" in merged


def test_a_class_and_its_methods() -> None:
    text = text_of("Thing")
    whole = of_node("Thing", text.replace("    size = 1\n", '    """Doc."""\n    size = 1\n').replace("= 2", "= 3"))
    method = rewritten("Thing.four", "docstring")
    for pair in ([whole, method], [method, whole]):
        merged = bring_in(pair)
        assert merged is not None
        assert b'"""Doc."""\n    size = 1\n    @property\n    def four(self):\n        """Thing.four"""\n' in merged
        assert b"after = 3" in merged
    rival = of_node("Thing", text.replace("return 4", "return 44"))
    assert bring_in([rival, rewritten("Thing.four", "rewrite")]) is None
    assert bring_in([rewritten("Thing.four", "rewrite"), rival]) is None


def test_the_same_node_and_what_is_outside_of_it_go_by_lines() -> None:
    same = [rewritten("three", "docstring"), rewritten("three", "decorate")]
    assert bring_in(same) == bring_in(same[::-1]) is not None
    assert bring_in([rewritten("one", "docstring"), rewritten("one", "rewrite")]) is None
    importing = Change(
        "m.py", MODULE, b"import re\n" + MODULE.replace(b"return c", b"return re"), span=spans()["three"]
    )
    assert own_span(importing) is None
    assert bring_in([importing, rewritten("one", "docstring")]) is not None
    assert bring_in([importing, rewritten("three", "rewrite")]) is None
    assert not compatible(importing, rewritten("three", "rewrite"))


def test_a_span_that_does_not_fit_the_file_is_no_help() -> None:
    for span in [(5, 3), (-1, 4), (0, 10_000), (len(MODULE), len(MODULE) + 1)]:
        assert own_span(Change("m.py", MODULE, MODULE + b"x", span=span)) is None


PIECE = st.lists(st.sampled_from([b"x", b"\n", b" y\n"]), max_size=3).map(b"".join)


@settings(deadline=None)
@given(st.lists(st.tuples(PIECE, PIECE, st.one_of(st.none(), PIECE)), min_size=2, max_size=4))
def test_splices_of_disjoint_spans_never_collide(parts) -> None:
    """Whatever bytes: gaps and nodes after each other, each node replaced or not."""
    parts = [(gap, node or b"n", new) for gap, node, new in parts]
    before = b"".join(gap + node for gap, node, _ in parts)
    after = b"".join(gap + (node if new is None else new) for gap, node, new in parts)
    changes, place = list[Change](), 0
    for gap, node, new in parts:
        start = place + len(gap)
        place = start + len(node)
        if new is not None and new != node:
            changes.append(Change("f", before, before[:start] + new + before[place:], span=(start, place)))
    assume(len({change.after for change in changes}) == len(changes))  # the same file twice is the same change
    for order in list(permutations(changes))[:6]:
        if order:
            assert composed(list(order)) == (after,)
            assert all(compatible(one, other) for one in order for other in order if one is not other)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_all_at_once_comes_to_the_same_as_one_by_one(data) -> None:
    """Accept changes, rivals among them, and take some back: in one go, or each on its own."""
    names = data.draw(st.lists(st.sampled_from(FUNCTIONS), min_size=2, max_size=6))
    changes = [rewritten(name, data.draw(st.sampled_from(HOWS))) for name in names]
    out = data.draw(st.lists(st.integers(0, len(changes) - 1), unique=True))
    ends = []
    for at_once in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            store = ChangeStore(root)
            (root / "m.py").write_bytes(MODULE)
            for number, change in enumerate(changes):
                store.offer("r", f"t{number}", f"m.py::{names[number]}", [change])
            every = [head.id for head in store.heads("r")]
            for numbers in [every] if at_once else [[number] for number in every]:
                accept(store, root, "r", selection=Selection(numbers=numbers), verify=parse_problem)
            accepted, middle = {head.id for head in store.heads("r", ["accepted"])}, (root / "m.py").read_bytes()
            back = [every[number] for number in out]
            for numbers in [back] if at_once else [[number] for number in back]:
                undo(store, root, "r", Selection(numbers=numbers), verify=parse_problem)
            left = {head.id for head in store.heads("r", ["accepted"])}
            assert left == accepted - set(back)
            if not left:
                assert (root / "m.py").read_bytes() == MODULE
            ends.append((accepted, middle, left, (root / "m.py").read_bytes()))
            store.close()
    assert ends[0] == ends[1]

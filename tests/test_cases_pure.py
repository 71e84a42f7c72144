"""Statistics, matching and the comparison of code: pure functions that judge cases."""

from __future__ import annotations

import ast
import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.manifest.case_model import ExpectedCall, ExpectedText
from engine.manifest.patterns import as_pattern, compile_pattern
from engine.run.testing.code import code_difference
from engine.run.testing.matching import Call, call_mismatches, mismatches, missing_calls, short_diff, text_mismatches
from engine.run.testing.statistics import Interval, enough, needed, newcombe, rate, wilson

COUNTS = st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner),
    max_leaves=8,
).filter(lambda value: "/" not in json.dumps(value))


# -- statistics


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    # The figures of table 1 in R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_published_figures(passed: int, total: int, low: float, high: float) -> None:
    found = wilson(passed, total)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    # The figures of table II in R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_gives_published_figures(first, second, low: float, high: float) -> None:
    found = newcombe(first, second)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@given(COUNTS)
def test_wilson_holds_the_share_and_stays_in_bounds(counts: tuple[int, int]) -> None:
    found = wilson(*counts)
    assert 0 <= found.low <= rate(*counts) <= found.high <= 1


@given(COUNTS)
def test_wilson_rises_with_what_passed_and_narrows_with_repeats(counts: tuple[int, int]) -> None:
    passed, total = counts
    found, many = wilson(passed, total), wilson(passed * 4, total * 4)
    assert many.high - many.low < found.high - found.low
    if passed < total:
        more = wilson(passed + 1, total)
        assert more.low > found.low
        assert more.high >= found.high


@given(COUNTS, COUNTS)
def test_newcombe_holds_the_difference_and_turns_with_it(first: tuple[int, int], second: tuple[int, int]) -> None:
    found, turned = newcombe(first, second), newcombe(second, first)
    assert -1 <= found.low <= rate(*first) - rate(*second) <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((-turned.high, -turned.low))


@given(COUNTS)
def test_a_share_does_not_differ_from_itself(counts: tuple[int, int]) -> None:
    assert not newcombe(counts, counts).excludes_zero


@given(st.integers(1, 1000), st.floats(0.001, 1))
def test_what_is_needed_is_just_enough(total: int, wanted: float) -> None:
    count = needed(total, wanted)
    assert 0 < count <= total
    assert enough(count, total, wanted)
    assert not enough(count - 1, total, wanted)
    assert count / total >= wanted - 1e-9


def test_nothing_is_known_of_nothing() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0)
    assert rate(0, 0) == 0
    assert not enough(0, 0, 0.5)
    assert needed(10, 0.7) == 7
    assert not math.isnan(newcombe((0, 0), (0, 0)).low)


# -- values and calls


@given(VALUES)
def test_a_value_matches_itself(value) -> None:
    assert mismatches(value, value) == []
    assert mismatches(value, value, exact=True) == []


@given(st.dictionaries(st.sampled_from("abcd"), VALUES), st.dictionaries(st.sampled_from("wxyz"), VALUES))
def test_more_keys_are_a_match_unless_it_is_exact(expected, more) -> None:
    actual = {**expected, **more}
    assert mismatches(expected, actual) == []
    assert bool(mismatches(expected, actual, exact=True)) == bool(more)


@given(VALUES, VALUES)
def test_an_exact_match_is_equality(expected, actual) -> None:
    same = json.dumps(expected, sort_keys=True) == json.dumps(actual, sort_keys=True)
    assert (mismatches(expected, actual, exact=True) == []) == same


@given(VALUES, VALUES)
def test_an_exact_match_is_a_match_too(expected, actual) -> None:
    if not mismatches(expected, actual, exact=True):
        assert not mismatches(expected, actual)


@given(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1), st.data())
def test_a_key_that_was_left_out_is_named(expected, data) -> None:
    key = data.draw(st.sampled_from(sorted(expected)))
    actual = {name: value for name, value in expected.items() if name != key}
    assert [line for line in mismatches(expected, actual) if line.startswith(f"{key}: ") and "left out" in line]


@pytest.mark.parametrize(
    ("expected", "actual", "line"),
    [
        ("a", "b", 'expected "a", got "b"'),
        (1, True, "expected 1, got true"),
        (True, 1, "expected true, got 1"),
        ("/^a+$/", "b", 'expected a match of /^a+$/, got "b"'),
        ({"x": [1, {"y": 2}]}, {"x": [1, {"y": 3}]}, "x[1].y: expected 2, got 3"),
        ([1], [1, 2], "expected 1 items, got 2: [1, 2]"),
        ({"x": 1}, "x", 'expected {"x": 1}, got "x"'),
    ],
)
def test_a_mismatch_says_what_was_expected(expected, actual, line: str) -> None:
    assert mismatches(expected, actual) == [line]


@pytest.mark.parametrize(
    ("expected", "actual"), [(1, 1.0), ("/^7$/", 7), ("/b/", ["a", "b"]), ("/x", "/x"), ("//", "//")]
)
def test_what_is_a_match(expected, actual) -> None:
    assert mismatches(expected, actual) == []


def call(tool: str, **arguments) -> ExpectedCall:
    return ExpectedCall(tool=tool, arguments=arguments)


def test_calls_must_come_in_order_and_others_may_stand_between() -> None:
    made = [Call("a", {"n": 1}), Call("b", {}), Call("a", {"n": 2})]
    assert missing_calls([call("a", n=1), call("a", n=2)], made) == []
    assert missing_calls([call("a", n=2), call("b")], made) == [
        (1, "expected the call b here, but it was made earlier")
    ]
    assert missing_calls([call("b"), call("b")], made)[0][0] == 1
    assert missing_calls([call("a", n=3)], made) == [(0, "expected the call a(n=3): n: expected 3, got 1")]
    assert missing_calls([call("c")], made) == [(0, "expected the call c; calls that were made: a, b, a")]
    assert missing_calls([call("c")], []) == [(0, "expected the call c; calls that were made: none")]


@given(st.lists(st.sampled_from("abc")), st.data())
def test_any_part_of_the_calls_in_their_order_is_found(names: list[str], data) -> None:
    made = [Call(name, {}) for name in names]
    kept = [name for name in names if data.draw(st.booleans())]
    assert missing_calls([call(name) for name in kept], made) == []


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_calls_are_found_just_where_they_are_a_subsequence(wanted: list[str], names: list[str]) -> None:
    rest = iter(names)
    missing = missing_calls([call(name) for name in wanted], [Call(name, {}) for name in names])
    assert (not missing) == all(name in rest for name in wanted)


def test_a_tools_answer_is_part_of_its_call() -> None:
    expected = ExpectedCall(tool="a", result=ExpectedText(contains=("done",)))
    assert call_mismatches(expected, Call("a", {}, "all done")) == []
    assert call_mismatches(expected, Call("a", {}, "no")) == ['the answer: expected "done" in "no"']
    assert call_mismatches(expected, Call("a", {})) == ['the answer: expected "done" in ""']


def test_texts() -> None:
    rules = ExpectedText(contains=("a", "é"), excludes=("z",), matches=r"^\w+$")
    assert text_mismatches(rules, "aé") != []  # RE2's \w is ASCII
    assert text_mismatches(ExpectedText(contains=("a",), matches="(?m)^b$"), "a\nb") == []
    assert text_mismatches(ExpectedText(excludes=("z",)), "xyz") == ['did not expect "z" in "xyz"']
    assert text_mismatches(ExpectedText(matches="a"), "\ud800") == ['expected a match of /a/ in "\ud800"']


@given(st.text())
def test_no_text_breaks_a_pattern(text: str) -> None:
    assert text_mismatches(ExpectedText(matches=".*"), text) == []
    as_pattern(text)


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "[z-a]", "\ud800"])
def test_what_does_not_compile_says_why(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compile_pattern(pattern)


@given(st.text(), st.text())
def test_a_short_diff_is_short(expected: str, actual: str) -> None:
    assume(expected != actual)
    text = short_diff(expected, actual)
    assert text
    assert len(text.split("\n")) <= 13 or "\r" in expected + actual


# -- code

CODE = '''\
import os  # the system


class Shop:
    """A shop."""

    # opening hours
    hours = "9  to 5"

    @property
    def open(self):
        # always
        return True


def total(items: list[int]) -> int:
    result = 0
    for item in items:
        result += item
    return result


def twice(n): return n * 2
'''
SPAN = (CODE.index("def total"), CODE.index("\n\n\ndef twice"))


def differs(after: str, *but: str, before: str = CODE, language: str = "python") -> bool:
    span = SPAN if before is CODE else None
    return code_difference(before.encode(), after.encode(), language, but, span) is not None


def without_docstrings(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


LINES = CODE.splitlines(keepends=True)
EDITS = st.tuples(
    st.integers(0, len(LINES) - 1),
    st.sampled_from(
        [
            "",
            "\n",
            "# note\n",
            '    """Doc."""\n',
            "x = 1\n",
            "    pass\n",
            "    # in\n",
            '"""Top."""\n',
            "        y = 2\n",
        ]
    ),
    st.booleans(),
)


@given(st.lists(EDITS, max_size=3))
def test_docstrings_and_comments_aside_the_code_is_what_pythons_own_parser_says(edits) -> None:
    lines = list(LINES)
    for place, text, replaces in edits:
        lines[place] = text if replaces else text + lines[place]
    after = "".join(lines)
    try:
        same = without_docstrings(after) == without_docstrings(CODE)
    except SyntaxError:
        return
    assert differs(after, "docstrings", "comments") != same
    if not differs(after):
        assert ast.dump(ast.parse(after)) == ast.dump(ast.parse(CODE))


@given(st.lists(st.tuples(st.integers(0, len(LINES)), st.integers(1, 3)), max_size=5))
def test_empty_lines_do_not_count(places) -> None:
    lines = list(LINES)
    for place, count in places:
        lines.insert(place, "\n" * count)
    assert not differs("".join(lines))


@given(st.text("ab =()\n#\"'", max_size=40))
def test_the_node_may_become_anything_and_all_around_it_nothing(text: str) -> None:
    new = f"def total():\n    return {text!r}"
    assert not differs(CODE[: SPAN[0]] + new + CODE[SPAN[1] :], "node")
    assert differs("y = 1\n" + CODE[: SPAN[0]] + new + CODE[SPAN[1] :], "node")
    assert differs(CODE[: SPAN[0]] + new + CODE[SPAN[1] :] + "z = 1\n", "node")


@pytest.mark.parametrize(
    ("old", "new", "but", "same"),
    [
        ("# always", "# sometimes", (), False),
        ("# always", "# sometimes", ("comments",), True),
        ("# always", "# sometimes", ("docstrings",), False),
        ("# always\n", "", ("comments",), True),
        ('"""A shop."""', '"""The shop."""', ("docstrings",), True),
        ('"""A shop."""', '"""The shop."""', ("comments",), False),
        ('"""A shop."""', "", ("docstrings",), True),
        ("    result = 0", '    """Sum."""\n    result = 0', ("docstrings",), True),
        ("    result = 0", '    """Sum."""\n    # from\n    result = 0', ("docstrings",), False),
        ("        # always", '        """Doc."""\n        # always', ("docstrings",), True),
        ("    result = 0", "    result = 0\n    'no doc'", ("docstrings",), False),
        ("    result = 0", '    f"""Sum."""\n    result = 0', ("docstrings",), False),
        ("9  to 5", "9 to 5", ("docstrings", "comments"), False),
        ("def twice(n): return n * 2", "def twice(n):\n    return n * 2", (), True),
        ("def twice(n)", "def twice(  n )", (), True),
        ("n * 2", "n * 3", (), False),
        ("    return result", "        return result", (), False),
        ("def total", "@cached\ndef total", ("node",), True),
        ("    return result", "    return -result", ("node",), True),
        ("def twice(n)", "def twice(m)", ("node",), False),
        (CODE[slice(*SPAN)], "", ("node",), True),
        ("import os", "import os, sys", ("node", "docstrings", "comments"), False),
    ],
)
def test_what_counts_as_the_same_code(old: str, new: str, but: tuple[str, ...], same: bool) -> None:
    assert CODE.count(old) == 1
    assert differs(CODE.replace(old, new), *but) != same


@pytest.mark.parametrize(
    ("language", "before", "after", "but", "same"),
    [
        ("javascript", "function f() {}", "/** Does. */\nfunction f() {\n}", ("docstrings",), True),
        ("javascript", "function f() {}", "// Does.\nfunction f() {}", ("docstrings",), False),
        ("javascript", "x = `a  b`", "x = `a b`", ("comments",), False),
        ("rust", "fn f() {}", "/// Does.\nfn f() {}", ("docstrings",), True),
        ("rust", "fn f() {}", "// Does.\nfn f() {}", ("docstrings",), False),
        (
            "go",
            "package m\n\nfunc F() {}\n",
            "package m\n\n// F does.\n// It does.\nfunc F() {}\n",
            ("docstrings",),
            True,
        ),
        ("go", "package m\n\nfunc F() {}\n", "package m\n\n// F does.\n\nfunc F() {}\n", ("docstrings",), False),
        ("go", "package m\n\nfunc F() {}\n", "package m\n\n\n\nfunc F() {}\n", (), True),
        ("java", "class A {}", "/** An A. */ class A { }", ("docstrings",), True),
        ("yaml", "a: 1\n", "a: 1  # one\n", ("comments",), True),
        ("yaml", "a: 1\n", "a: 2\n", ("comments",), False),
        ("toml", 'a = "x"\n', 'a = "y"\n', (), False),
    ],
)
def test_other_languages(language: str, before: str, after: str, but: tuple[str, ...], same: bool) -> None:
    assert differs(after, *but, before=before, language=language) != same


def test_a_difference_names_both_places() -> None:
    found = code_difference(CODE.encode(), CODE.replace("n * 2", "n * 3").encode(), "python")
    assert found == "expected 'def twice(n): return n * 2' (line 23), got 'def twice(n): return n * 3' (line 23)"


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_bytes_break_it(before: bytes, after: bytes) -> None:
    assert code_difference(before, before, "python", ["docstrings"]) is None
    code_difference(before, after, "python", ["node"], (0, len(before)))

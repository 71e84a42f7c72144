"""What holds for every repair: it restores what a slip broke, brings up nothing new, and is made once."""

import re
from pathlib import Path

import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from mutations import mutate

from engine.bundle.fixing import _plan, apply_edits
from engine.bundle.source import BundleSource, Entry
from engine.diagnostics import Diagnostic, Edit, Span
from engine.manifest import read_manifest, read_yaml, with_repairs
from engine.manifest.near import slips

WHOLE = (Path(__file__).parent / "data" / "full_bundle.yaml").read_text(encoding="utf-8")
LINES = WHOLE.split("\n")
SOLID = [index for index, line in enumerate(LINES) if line.strip() and not line.startswith("#")]
DATA = read_yaml(WHOLE, "f").data
quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def findings(text: str) -> tuple[Diagnostic, ...]:
    return read_manifest(with_repairs(read_yaml(text, "bundle.yaml"), "bundle")).diagnostics


def repaired(text: str) -> str:
    """The text with all its repairs, as `--fix` makes them."""
    entries = {"bundle.yaml": text, "user.md.j2": "x\n", "t.pym": "1\n"}
    files = {name: Entry(body.encode(), len(body.encode())) for name, body in entries.items()}
    planned = _plan(BundleSource("b", Path("b"), files, frozenset()))
    return planned[0].after.decode() if planned else text


def marks(text: str) -> set[tuple[str, str]]:
    """What is wrong, without line numbers; a surprising value stays what it is under its key's right name."""
    return {
        (item.code, re.sub(r"\d+", "#", item.message.partition(": ")[2] if item.code == "Y004" else item.message))
        for item in findings(text)
    }


@quick
@given(st.sampled_from(SOLID), st.integers(-4, 4), st.integers(0, 2))
def test_a_line_that_slipped_goes_back_or_stays(index: int, shift: int, tabs: int) -> None:
    line = LINES[index]
    body = line.lstrip()
    start = "\t" * tabs if tabs else " " * max(0, len(line) - len(body) + shift)
    assume(start + body != line)
    text = "\n".join([*LINES[:index], start + body, *LINES[index + 1 :]])
    fixed, _ = apply_edits(text, [item.fix for item in findings(text) if item.fix])
    assert fixed == text or read_yaml(fixed, "f").data == DATA


@quick
@given(st.sampled_from(SOLID), st.data())
def test_a_slip_in_a_key_is_undone_or_left(index: int, data) -> None:
    line = LINES[index]
    keys = list(re.finditer(r"([a-z_]{3,}): ?", line))
    assume(keys)
    key = data.draw(st.sampled_from(keys))
    at = data.draw(st.integers(0, len(key[1]) - 1))
    letter = data.draw(st.sampled_from("abcdefgmrstxyz_"))
    word = data.draw(
        st.sampled_from(
            [
                key[1][:at] + key[1][at + 1 :],
                key[1][:at] + letter + key[1][at:],
                key[1][:at] + letter + key[1][at + 1 :],
            ]
        )
    )
    assume(word != key[1])
    text = "\n".join([*LINES[:index], line[: key.start()] + word + line[key.end(1) :], *LINES[index + 1 :]])
    assert repaired(text) in (text, WHOLE)


@quick
@given(
    st.lists(
        st.tuples(st.sampled_from(SOLID), st.sampled_from(["dup", "drop", "quote", "tab", "s", "_", "yes", "1"])),
        max_size=4,
    )
)
@example([(1, "s"), (1, "yes")])
def test_repairs_bring_up_nothing_new_and_are_made_once(changes: list[tuple[int, str]]) -> None:
    lines = list(LINES)
    for index, kind in changes:
        line = lines[index]
        key, colon, value = line.partition(": ")
        lines[index] = {
            "dup": f"{line}\n{line}",
            "drop": "",
            "quote": f"{key}{colon}'{value}'",
            "tab": "\t" + line.lstrip(),
            "s": f"{key}s{colon}{value}",
            "_": f"{key}_{colon}{value}",
            "yes": f"{key}{colon}yes",
            "1": f"{key}{colon}1",
        }[kind]
    text = "\n".join(lines)
    fixed = repaired(text)
    if not any(code == "Y001" for code, _ in marks(text)):
        assert marks(fixed) <= marks(text)
    assert repaired(fixed) == fixed


@quick
@given(st.data())
def test_no_manifest_makes_a_repair_fail(data) -> None:
    text = yaml.safe_dump(mutate(data, DATA), allow_unicode=True, sort_keys=False)
    fixed = repaired(text)
    assert marks(fixed) <= marks(text)
    assert repaired(fixed) == fixed


LETTERS = " \t\r\n:-#'\"[]{}&*!|>ax\u0085"


@quick
@given(st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 4), st.text(LETTERS, max_size=3)), max_size=4))
def test_no_text_makes_a_repair_fail(splices: list[tuple[int, int, str]]) -> None:
    text = WHOLE
    for at, size, new in splices:
        text = text[:at] + new + text[at + size :]
    fixed = repaired(text)
    assert repaired(fixed) == fixed


@quick
@given(
    st.text("ab\r\n\u00e9", max_size=30),
    st.lists(st.tuples(*[st.integers(1, 6)] * 4, st.text("xy\n", max_size=3)), max_size=5),
)
def test_edits_are_made_apart_and_in_order(text: str, edits: list[tuple[int, int, int, int, str]]) -> None:
    asked = [Edit(Span("f", *place), new) for *place, new in edits]
    fresh, made = apply_edits(text, asked)
    assert set(made) <= set(asked)
    assert len(fresh) <= len(text) + sum(len(item.text) for item in made)
    assert apply_edits(text, made) == (fresh, made)
    assert apply_edits(text, reversed(asked)) == (fresh, made)


@given(st.text("abc_", max_size=8), st.text("abc_", max_size=8), st.text("abc_", max_size=8))
def test_slips_are_a_distance(one: str, two: str, three: str) -> None:
    assert slips(one, two) == slips(two, one)
    assert (slips(one, two) == 0) == (one == two)
    if len(one) == len(two) == len(three):
        # Swapping may not be used inside of another slip, so the triangle holds up to one swap a letter.
        assert slips(one, three) <= 2 * (slips(one, two) + slips(two, three))

"""The full screen of `engine review`, on a scripted backend: every key, and text that means harm."""

import contextlib
import re
from pathlib import Path

import pytest
from kernel_parts import ScriptedBackend
from projects import MANIFEST, SOURCE, TOOL, call, make_bundle, make_project
from screens import see, text_of

import engine
from engine.app import App
from engine.run.review import Review
from engine.tui.review.desk import Desk
from engine.tui.review.dialogs import HELP
from engine.tui.review.listing import ChangeList
from engine.tui.review.screen import ReviewScreen
from engine.workspace import Change, ChangeStore, Offer, Selection, accept

ROOT = Path(__file__).parent.parent
HOSTILE = "[bold red]x[/] \x1b[31m\x1b]0;t\x07 \x9b2J \u202e [link=file:///]y[/link]"


class Desked(Desk):
    """A desk whose tasks run again on a scripted backend."""

    def __init__(self, app, run_id, backend):
        super().__init__(app, app.review(run_id))
        self.backend = backend

    async def again(self, head, note, observer):
        return await self._app.rerun(self.run_id, head.task_id, note, backend=self.backend, observers=[observer])


async def a_run(bundle, project, script):
    return await engine.run(bundle, [project / "src"], project=project, backend=ScriptedBackend(script))


@contextlib.asynccontextmanager
async def screen(bundle, project, script=(), *, again=(), size=(150, 40)):
    result = await a_run(bundle, project, list(script) or [call("does it")])
    async with screen_of(project, result.run_id, again=again, size=size) as shown:
        yield shown


@contextlib.asynccontextmanager
async def screen_of(project, run_id, *, again=(), size=(150, 40)):
    shown = ReviewScreen(Desked(App(project), run_id, ScriptedBackend(list(again))))
    async with shown.run_test(size=size, notifications=True) as pilot:
        yield shown, pilot
    shown.settle()


async def test_the_changes_and_the_diff_of_the_first_are_on_the_screen(bundle, project) -> None:
    async with screen(bundle, project) as (shown, _):
        text = await see(shown, r"Diff: src/a\.py::first  pending.*# does it")
        assert re.search(r"engine review \d{8}-\d{6}-\w+   3 of 3 changes wait\n", text)
        assert re.search(r"src/a\.py\s.*· ✓ first  \+1 -0  note.*· ✓ second .*· ✓ Thing\.third ", text, re.DOTALL)
        assert re.search(r"1 +1 +def first\(a\):", text)
        assert re.search(r" 2 \+     # does it", text)
        assert "⋯" in text


async def test_accept_reject_undo_and_the_next(bundle, project) -> None:
    async with screen(bundle, project) as (shown, pilot):
        await see(shown, "Diff: .*first")
        await pilot.press("a")
        await see(shown, r"2 of 3 changes wait.*Diff: src/a\.py::second.*\+ ✓ first.*accepted: src/a\.py")
        assert (project / "src/a.py").read_text().count("# does it") == 1
        await pilot.press("r")
        await see(shown, r"1 of 3 changes wait.*- ✓ second.*rejected: src/a\.py")
        await pilot.press("p")
        await see(shown, "no other change waits in that direction")
        await pilot.press("up", "r")
        await see(shown, "the change is rejected already")
        await pilot.press("k", "u")
        await see(shown, r"2 of 3 changes wait.*· ✓ first.*undone: src/a\.py")
        assert (project / "src/a.py").read_text() == SOURCE
        await pilot.press("u")
        await see(shown, "there is nothing to undo: the change is pending")
        await pilot.press("A")
        await see(shown, "0 of 3 changes wait.*2 changes accepted")
        await pilot.press("l")
        await see(shown, "no change waits")
        await pilot.press("a")
        await see(shown, "there is no change to decide on")
    with App(project).reader() as log:
        run = log.newest_run()
        decided = [event["decision"] for event in log.events(run.run_id) if event["type"] == "change:decided"]
    assert decided == ["accepted", "rejected", "undone", "accepted", "accepted"]


async def test_why_and_checks(bundle, project) -> None:
    async with screen(bundle, project, [f"I will.\n{call('does it')}"]) as (shown, pilot):
        await see(shown, "Diff: ")
        await pilot.press("w")
        text = await see(shown, r"Why: src/a\.py::first.*→ add_comment \{\"comment\": \"does it\"\}.*finished")
        assert "I will." in text
        assert "← " in text
        await pilot.press("c")
        await see(shown, r"Checks: .*✓ parses  src/a\.py")
        await pilot.press("n")
        await see(shown, r"Checks: src/a\.py::second")
        await pilot.press("d")
        await see(shown, r"Diff: src/a\.py::second")


async def test_what_does_not_pass_takes_another_key(tmp_path, project) -> None:
    bundle = make_bundle(tmp_path / "b", tool=TOOL.replace('"    # " + comment', 'comment + "((("'))
    async with screen(bundle, project) as (shown, pilot):
        await see(shown, "3 of 3 changes wait, 3 not passing.*· ✗ first")
        await pilot.press("c")
        await see(shown, r"✗ parses.*src/a\.py does not parse after the change")
        await pilot.press("a")
        await see(shown, "not accepted: parses did not pass; F accepts it all the same")
        await pilot.press("A")
        await see(shown, "no change that is listed waits and passes")
        assert (project / "src/a.py").read_text() == SOURCE
        await pilot.press("F")
        await see(shown, r"refused: src/a\.py does not parse after the change|accepted")


async def test_the_filter(bundle, project) -> None:
    async with screen(bundle, project) as (shown, pilot):
        await see(shown, "Diff: ")
        await pilot.press("slash", *"third", "enter")
        await see(shown, r"filter: third \(1\).*Diff: src/a\.py::Thing\.third")
        assert "✓ second" not in text_of(shown)
        await pilot.press("slash", "ctrl+u", *"=node.name == 'second' and checks.passed", "enter")
        await see(shown, r"\(1\).*Diff: src/a\.py::second")
        await pilot.press("slash", "ctrl+u", *"=chekcs.passed", "enter")
        await see(shown, "--where: .*did you mean 'checks'")
        await pilot.press("slash", "ctrl+u", *"nothing at all", "enter")
        await see(shown, "no change matches the filter")
        await pilot.press("slash", "escape")
        await see(shown, "Show what", gone=True)
        await pilot.press("slash", "ctrl+u", "enter")
        await see(shown, "✓ first.*✓ second.*✓ Thing.third")


async def test_try_again_with_a_note(bundle, project) -> None:
    async with screen(bundle, project, again=[call("better")]) as (shown, pilot):
        await see(shown, "Diff: ")
        await pilot.press("t")
        await see(shown, r"What should be done better\? \(src/a\.py::first runs again\)")
        await pilot.press(*"be better", "enter")
        await see(shown, r"src/a\.py::first finished: better; a new change waits")
        await see(shown, r"Diff: src/a\.py::first.*# better")
        asked = shown.desk.backend.requests[0].messages
        assert asked[-1]["content"].endswith("The reviewer says: be better")
        await pilot.press("w")
        await see(shown, r"→ add_comment.*does it.*try 2.*→ add_comment.*better")
        await pilot.press("t", "enter")
        await see(shown, "What should be done", gone=True)


async def test_a_try_that_cannot_be_says_why(bundle, project) -> None:
    async with screen(bundle, project) as (shown, pilot):
        await see(shown, "Diff: ")
        (project / "src/a.py").write_text(SOURCE.replace("def first", "def other"))
        await pilot.press("t", *"more", "enter")
        await see(shown, "did not run again: .*there is no such node")


async def test_a_file_that_was_edited_is_merged_or_shown_from_three_sides(bundle, project) -> None:
    async with screen(bundle, project) as (shown, pilot):
        await see(shown, "Diff: ")
        (project / "src/a.py").write_text(SOURCE + "\nx = 1\n")
        await pilot.press("a")
        await see(shown, r"refused: src/a\.py changed since the task read it \(line 12\)")
        await pilot.press("n", "p")
        await see(shown, r"The file was edited since the task read it; m merges.*\+    # does it")
        await pilot.press("m")
        await see(shown, r"Diff: src/a\.py::second.*accepted: src/a\.py")
        assert (project / "src/a.py").read_text() == SOURCE.replace("(a):\n", "(a):\n    # does it\n") + "\nx = 1\n"
        (project / "src/a.py").write_text(SOURCE.replace("def second(b):", "def second(c):"))
        await pilot.press("n", "p")
        text = await see(shown, "<<<<<<< the file now.*def second.c.:.*||||||| what the task read, from line 5")
        assert re.search(r"=======.*# does it.*>>>>>>> task note-", text, re.DOTALL), text
        await pilot.press("m")
        await see(shown, r"refused: .*cannot be merged: line 5 changed on both sides")


async def test_what_others_decide_is_seen(bundle, project) -> None:
    async with screen(bundle, project) as (shown, pilot):
        await see(shown, "3 of 3 changes wait")
        store = ChangeStore(project)
        heads = store.heads(shown.desk.run_id)
        accept(store, project, shown.desk.run_id, selection=Selection(numbers=[heads[1].id]))
        await see(shown, "2 of 3 changes wait.*\\+ ✓ second")
        shown.desk._version = store.version()
        store.settle(heads[0], "rejected")
        await pilot.press("a")
        await see(shown, "somebody else decided on it meanwhile|the change is rejected already")


async def test_panes_beside_below_and_in_a_narrow_terminal(bundle, project) -> None:
    async with screen(bundle, project, size=(220, 40)) as (shown, pilot):
        await see(shown, r"def first\(a\): .* │ +1   def first\(a\):")
        await pilot.press("s")
        await see(shown, " │ ", gone=True)
        await pilot.press("z")
        await see(shown, "Changes ─", gone=True)
        await pilot.press("escape")
        await see(shown, "Changes ─")
        await pilot.resize_terminal(80, 24)
        await see(shown, r"Changes ─.*\n.*Diff: .* def first\(a\):")
        await pilot.resize_terminal(70, 12)
        await see(shown, "Diff: ", gone=True)
        await pilot.press("enter")
        await see(shown, "Diff: ")
        assert "Changes ─" not in text_of(shown)
        await pilot.press("escape")
        await see(shown, "Changes ─")
        await pilot.press("question_mark")
        await see(shown, "F  accept although its checks did not pass")


async def test_a_terminal_of_80_by_24_shows_list_and_diff_and_the_way_out(bundle, tmp_path) -> None:
    project = make_project(tmp_path / "p", {"src/a.py": "\n".join(f"def f{n}(a):\n    return a\n" for n in range(30))})
    async with screen(bundle, project, size=(80, 24)) as (shown, _):
        text = await see(shown, r"src/a\.py\s.*· ✓ f0 .*Diff: src/a\.py::f0  pending.*# does it")
        assert re.search(r"\? help +q quit", text.splitlines()[-1]), text
        assert all(len(line) == 80 for line in text.splitlines() if line[:1] in ("╭", "╰")), text
        assert not shown.listing.show_horizontal_scrollbar


def test_the_help_names_every_key() -> None:
    keys = {binding.key.split(",")[0] for binding in ReviewScreen.BINDINGS}
    names = {"slash": "/", "question_mark": "?"}
    for key in keys - {"enter", "escape", "ctrl+q", "ctrl+c", "ctrl+z"}:
        assert re.search(rf"(^|, |; ){re.escape(names.get(key, key))}(,|  )", HELP, re.MULTILINE), key


@pytest.mark.parametrize(("keys", "code"), [("q", 0), ("ctrl+q", 0), ("ctrl+c", 130)])
async def test_leaving(keys, code, bundle, project) -> None:
    async with screen(bundle, project) as (shown, pilot):
        await pilot.press(keys)
    assert shown.return_value == code


async def test_an_editor_needs_a_terminal(bundle, project) -> None:
    async with screen(bundle, project) as (shown, pilot):
        await see(shown, "Diff: ")
        await pilot.press("e")
        await see(shown, "this terminal cannot be lent to an editor")


async def test_text_of_others_is_shown_as_it_is(tmp_path, project) -> None:
    bundle = make_bundle(
        tmp_path / "note", manifest=MANIFEST.replace("model: {", "grammar: {strategy: none}\nmodel: {")
    )
    (project / "src/a.py").write_text(f'def first(a):\n    return "[/]{HOSTILE[:14]}"\n')
    async with screen(bundle, project, [f"{HOSTILE}\n{call('[bold]x')}"]) as (shown, pilot):
        assert "# [bold]x" in await see(shown, r'Diff: .*return "\[/\]\[bold red\]x\[/\]"')
        await pilot.press("w")
        text = await see(shown, r"Why: .*→ add_comment \{\"comment\": \"\[bold\]x\"\}")
        assert r"[bold red]x[/] \x1b[31m\x1b]0;t\x07 \x9b2J \u202e [link=file:///]y[/link]" in text
        await pilot.press("d")
        store = ChangeStore(project)
        offered = Change(f"{HOSTILE}\n.py", None, f"{HOSTILE}\r\n\x0c\x85".encode())
        check = {"file": HOSTILE, "check": HOSTILE, "passed": False, "detail": HOSTILE}
        store.offer(shown.desk.run_id, "[b]t[/]", f"f::{HOSTILE}", [offered], checks=[check], facts={"bundle": HOSTILE})
        await see(shown, "2 of 2 changes wait, 1 not passing")
        await pilot.press("G")
        await pilot.press("g")
        text = await see(shown, r"Diff: f::\[bold red\]x\[/\]")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        await pilot.press("c")
        text = await see(shown, r"✗ \[bold red\]x\[/\]")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        await pilot.press("F")
        await see(shown, "refused: ")


async def test_ten_thousand_changes_are_drawn_line_by_line(project) -> None:
    store = ChangeStore(project)
    (project / "f").write_text("a\n")
    store.offer_many(
        Offer("r1", f"t{n}", f"d{n % 50}/f::node{n}", [Change(f"d{n % 50}/f", b"a\n", b"b\n")]) for n in range(10_000)
    )
    drawn: list[int] = []
    shown = ReviewScreen(Desk(App(project), Review(project, store, "r1")))

    class Counting(ChangeList):
        def render_line(self, y):
            drawn.append(y)
            return super().render_line(y)

    shown.listing = Counting()
    async with shown.run_test(size=(150, 40)) as pilot:
        await see(shown, "10000 of 10000 changes wait.*Diff: ")
        assert len(drawn) < 2000
        await pilot.press("G")
        await see(shown, r"Diff: d9/f::node9959")
        await pilot.press("slash", *"node77 d27", "enter")
        await see(shown, r"filter: node77 d27 \(\d+\)")
        assert max(drawn) < 40
    shown.settle()


async def test_an_internal_error_ends_the_screen_and_is_raised(bundle, project) -> None:
    result = await a_run(bundle, project, [call("x")])
    shown = ReviewScreen(Desk(App(project), App(project).review(result.run_id)))
    with contextlib.suppress(TypeError):  # raised here too, for tests only
        async with shown.run_test() as pilot:
            shown.desk.matching = None
            await pilot.press("l")
            await pilot.pause()
    with pytest.raises(TypeError):
        shown.settle()


def scrubbed(text: str) -> list[str]:
    """Leave out what differs from run to run."""
    plain = re.sub(r"\d{8}-\d{6}-[0-9a-f]{4}", "20260102-030405-1a2b", text.strip("\n"))
    return [line.rstrip() for line in plain.splitlines()]


async def example(folder: Path) -> list[str]:
    """The screen that docs/review.md shows."""
    pricing = (ROOT / "tests/samples/shop/shop/pricing.py").read_text()
    project = make_project(folder / "shop", {"shop/pricing.py": pricing})

    def reply(sentence):
        return f'<tool_call>\n{{"name": "write_docstring", "arguments": {{"summary": "{sentence}"}}}}\n</tool_call>'

    script = [reply("Take the discount off a price."), reply("Add the tax to a price."), reply("Round a price.")]
    bundle = ROOT / "bundles/docstring"
    settings = {"params": {"strict": "never"}, "limit": 3, "concurrency": 1}
    backend = ScriptedBackend(script)
    result = await engine.run(bundle, [project / "shop"], project=project, backend=backend, **settings)
    async with screen_of(project, result.run_id, size=(110, 24)) as (shown, pilot):
        await see(shown, "Diff: ")
        await pilot.press("a")
        await see(shown, "2 of 3 changes wait.*accepted: ")
        await pilot.pause()
        return scrubbed(text_of(shown))


async def test_the_screen_in_the_docs_is_the_screen(tmp_path) -> None:
    documented = re.search(r"```text\n( engine review .*?)```", (ROOT / "docs/review.md").read_text("utf-8"), re.DOTALL)
    assert documented is not None
    seen = await example(tmp_path)
    assert scrubbed(documented[1]) == seen, "\n".join(seen)

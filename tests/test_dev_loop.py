"""The live preview without its looks: what each save, key and accident comes to."""

import asyncio
import contextlib
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_parts import ScriptedBackend
from projects import MANIFEST, SOURCE, call, make_bundle

from engine.app import App
from engine.errors import BackendUnavailable, ConfigError
from engine.tui.dev.difference import compare
from engine.tui.dev.events import (
    Cancelled,
    Decided,
    Failed,
    Finished,
    NodeMissing,
    NotRun,
    Piece,
    Pinned,
    PromptRendered,
    Said,
    Started,
    Validated,
)
from engine.tui.dev.loop import DevLoop, DevOptions

PROMPT = "prompts/user.md.j2"


class Follower:
    """Hears the events of a loop, and waits for them."""

    def __init__(self, loop):
        self.loop, self.events, self._at = loop, [], 0
        self._news = asyncio.Event()

    def __call__(self, event):
        self.events.append(event)
        self._news.set()

    async def next(self, kind, **facts):
        """Wait for the next event of a kind, after the last that was waited for."""
        async with asyncio.timeout(30):
            while True:
                for number in range(self._at, len(self.events)):
                    event = self.events[number]
                    if isinstance(event, kind) and all(getattr(event, name) == value for name, value in facts.items()):
                        self._at = number + 1
                        return event
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def following(bundle, project, backend, node="first", **options):
    chosen = DevOptions(str(bundle), project / "src/a.py", node, **options)
    async with DevLoop(chosen, project, backend=backend) as loop:
        follower = Follower(loop)
        work = asyncio.create_task(loop.run(follower))
        try:
            yield follower
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work


def lines(difference, mark):
    return [line.text for line in difference.lines if line.mark == mark]


async def test_the_first_preview_is_told_from_validation_to_change(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("does it")])) as told:
        finished = await told.next(Finished)
        kinds = [type(event) for event in told.events if not isinstance(event, Piece)]
        assert [kind.__name__ for kind in kinds] == [
            "Validated", "Started", "Pinned", "PromptRendered", "TurnStarted", "Replied", "ToolRan", "Finished",
        ]  # fmt: skip
        pieces = [event.text for event in told.events if isinstance(event, Piece)]
        assert len(pieces) > 5
        assert "".join(pieces) == call("does it")
        (pinned,) = [event for event in told.events if isinstance(event, Pinned)]
        assert pinned.place == "src/a.py::first"
        assert [row.name for row in pinned.nodes] == ["first", "second", "Thing.third"]
        assert finished.outcome == "finished"
        assert finished.output.first
        assert finished.offered == 1
        assert "+    # does it" in lines(finished.change, " ")


async def test_a_saved_prompt_is_rendered_and_run_anew_with_what_changed(bundle, project) -> None:
    script = [call("one"), call("two")]
    async with following(bundle, project, ScriptedBackend(script)) as told:
        await told.next(Finished)
        (bundle / PROMPT).write_text("Please comment {{ node.name }}:\n\n{{ node.text }}\n")
        valid = await told.next(Validated)
        assert (valid.current, valid.generation) == (True, 2)
        assert (await told.next(Started)).cause == "bundle"
        prompt = (await told.next(PromptRendered)).prompt
        assert lines(prompt, "-") == ["Comment first:"]
        assert lines(prompt, "+") == ["Please comment first:"]
        finished = await told.next(Finished)
        assert any("one" in line for line in lines(finished.output, "-"))
        assert any("two" in line for line in lines(finished.output, "+"))
        assert lines(finished.change, "-") == ["+    # one"]
        assert lines(finished.change, "+") == ["+    # two"]


async def test_a_broken_save_shows_its_findings_and_keeps_the_last_good_bundle(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("x")])) as told:
        await told.next(Finished)
        (bundle / "bundle.yaml").write_text(MANIFEST.replace("max_turns", "max_turn"))
        broken = await told.next(Validated)
        assert (broken.in_force, broken.current, broken.generation) == (True, False, 1)
        (finding,) = [item for item in broken.diagnostics if item.code == "S001"]
        assert finding.span.file.endswith("bundle.yaml")
        assert finding.span.line > 1
        told.loop.again()
        assert (await told.next(Started)).cause == "again"
        assert (await told.next(Finished)).outcome == "finished"
        (bundle / "bundle.yaml").write_text(MANIFEST.replace("max_turns: 3", "max_turns: 2"))
        assert (await told.next(Validated, current=True)).diagnostics == ()
        await told.next(Finished)


async def test_a_bundle_that_is_broken_from_the_start_is_previewed_once_it_is_mended(bundle, project) -> None:
    (bundle / "bundle.yaml").write_text(MANIFEST.replace("max_turns", "max_turn"))
    async with following(bundle, project, ScriptedBackend([call("x")])) as told:
        first = await told.next(Validated)
        assert (first.in_force, first.current) == (False, False)
        told.loop.again()
        (bundle / "bundle.yaml").write_text(MANIFEST)
        await told.next(Validated, current=True)
        assert (await told.next(Finished)).outcome == "finished"
        assert sum(isinstance(event, Started) for event in told.events) == 1


async def test_a_save_during_a_turn_cancels_it_and_begins_anew(bundle, project) -> None:
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def forever(request):
        asked.set()
        try:
            await asyncio.sleep(600)
        finally:
            stopped.set()

    backend = ScriptedBackend([forever, call("x")])
    async with following(bundle, project, backend) as told:
        await told.next(PromptRendered)
        await asked.wait()
        (bundle / PROMPT).write_text("Again: {{ node.text }}\n")
        await told.next(Cancelled)
        assert stopped.is_set()
        started = await told.next(Started)
        assert started.number == 2
        assert (await told.next(Finished)).outcome == "finished"
        assert "Again:" in backend.requests[-1].messages[-1]["content"]


async def test_many_keys_at_once_end_in_one_result(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("x")])) as told:
        await told.next(Finished)
        for _ in range(20):
            told.loop.again()
            await asyncio.sleep(0.005)
        last = await told.next(Started, number=21)
        assert last.cause == "again"
        assert (await told.next(Finished)).offered == 1
        begun = [event for event in told.events if isinstance(event, Started)]
        ended = [event for event in told.events if isinstance(event, Cancelled | Finished)]
        assert len(begun) == len(ended)


async def test_accept_writes_the_file_and_follows_the_node(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("one"), call("two")])) as told:
        await told.next(Finished)
        assert (project / "src/a.py").read_text() == SOURCE
        await told.loop.accept()
        (decision,) = (await told.next(Decided)).decisions
        assert (decision.state, decision.path) == ("accepted", "src/a.py")
        assert "    # one\n" in (project / "src/a.py").read_text()
        assert (await told.next(Started)).cause == "target"
        assert (await told.next(Pinned)).place == "src/a.py::first"
        assert "    # one" in lines((await told.next(PromptRendered)).prompt, "+")
        await told.next(Finished)


async def test_accept_refuses_a_file_that_changed_underneath(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("one")])) as told:
        await told.next(Finished)
        changed = SOURCE.replace("return b", "return b + 1")
        (project / "src/a.py").write_text(changed)
        await told.loop.accept()
        (decision,) = (await told.next(Decided)).decisions
        assert decision.state == "refused"
        assert "changed since the task read it" in decision.reason
        assert (project / "src/a.py").read_text() == changed


async def test_accept_without_a_change_or_during_a_run_says_so(bundle, project) -> None:
    async def forever(request):
        await asyncio.sleep(600)

    async with following(bundle, project, ScriptedBackend(["no call", forever])) as told:
        finished = await told.next(Finished)
        assert (finished.outcome, finished.offered) == ("failed", 0)
        await told.loop.accept()
        assert "no change" in (await told.next(Said)).text
        told.loop.again()
        await told.loop.accept()
        assert "still runs" in (await told.next(Said)).text


async def test_a_node_that_vanishes_is_said_and_found_again(bundle, project) -> None:
    target = project / "src/a.py"
    async with following(bundle, project, ScriptedBackend([call("x")]), node="second") as told:
        await told.next(Finished)
        target.write_text(SOURCE.replace("def second", "def other"))
        missing = await told.next(NodeMissing)
        assert missing.name == "second"
        assert "there is no such node" in missing.reason
        assert [row.name for row in missing.nodes] == ["first", "other", "Thing.third"]
        target.write_text("import os\n\n" + SOURCE)
        assert (await told.next(Pinned)).node.line == SOURCE[: SOURCE.index("def second")].count("\n") + 3
        await told.next(Finished)
        target.unlink()
        assert isinstance(await told.next((NodeMissing, Failed)), Failed)
        target.write_text(SOURCE)
        await told.next(Finished)


async def test_a_syntax_error_in_the_target_is_named(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("x")])) as told:
        await told.next(Finished)
        (project / "src/a.py").write_text(SOURCE.replace("return a", "return (a"))
        missing = await told.next(NodeMissing)
        assert "syntax error" in missing.reason


async def test_another_node_is_compared_with_itself(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("x")]), node=None) as told:
        nodes = (await told.next(Pinned)).nodes
        await told.next(Finished)
        told.loop.pick(nodes[2])
        assert (await told.next(Pinned)).place == "src/a.py::Thing.third"
        assert (await told.next(PromptRendered)).prompt.first
        assert (await told.next(Finished)).change.first
        told.loop.pick(nodes[0])
        prompt = (await told.next(PromptRendered)).prompt
        assert (prompt.first, prompt.changed) == (False, False)


async def test_a_bundle_that_takes_the_node_no_more_says_why(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("x")])) as told:
        await told.next(Finished)
        when = "types: [function, method], when: \"node.name != 'first'\"}"
        (bundle / "bundle.yaml").write_text(MANIFEST.replace("types: [function, method]}", when))
        missing = await told.next(NodeMissing)
        assert missing.reason == "the bundle does not take first: its nodes.when leaves it out"


async def test_a_save_in_a_parent_begins_a_preview(bundle, project, tmp_path) -> None:
    child = tmp_path / "child"
    child.mkdir()
    (child / "bundle.yaml").write_text("format: 1\nname: child\nextends: ../note\n")
    async with following(child, project, ScriptedBackend([call("x")])) as told:
        assert (await told.next(Started)).bundle == "child"
        await told.next(Finished)
        (bundle / PROMPT).write_text("From the parent: {{ node.text }}\n")
        assert "From the parent: def first(a):" in lines((await told.next(PromptRendered)).prompt, "+")
        await told.next(Finished)


async def test_a_bundle_is_found_by_its_name_in_the_project_and_followed_through_a_new_one(project) -> None:
    folder = make_bundle(project / "bundles/note")
    async with following("note", project, ScriptedBackend([call("x")])) as told:
        await told.next(Finished)
        (folder / "bundle.yaml").write_text(MANIFEST.replace("name: note", "name: remark").replace("3", "2"))
        assert (await told.next(Started)).bundle == "remark"
        await told.next(Finished)


async def test_a_case_that_is_saved_is_no_reason_for_a_preview(bundle, project) -> None:
    (bundle / "bundle.yaml").write_text(MANIFEST + "tests: tests/*.yaml\n")
    async with following(bundle, project, ScriptedBackend([call("x")])) as told:
        await told.next(Finished)
        (bundle / "tests").mkdir()
        (bundle / "tests/a.yaml").write_text("format: 1\ncases: nonsense\n")
        assert [item.code for item in (await told.next(Validated, current=False)).diagnostics]
        (bundle / PROMPT).write_text("Next: {{ node.text }}\n")
        await told.next(Validated)
        (bundle / "tests/a.yaml").unlink()
        started = await told.next(Started)
        assert started.number == 2


async def test_a_failing_backend_leaves_the_loop_alive(bundle, project) -> None:
    script = [BackendUnavailable("the server is away"), call("x")]
    async with following(bundle, project, ScriptedBackend(script)) as told:
        failed = await told.next(Finished)
        assert (failed.outcome, failed.words) == ("failed", "the server is away")
        told.loop.again()
        assert (await told.next(Finished)).outcome == "finished"


async def test_an_unenforced_constraint_is_an_answer_not_an_end(bundle, project) -> None:
    backend = ScriptedBackend(["anything"], enforces=False)
    async with following(bundle, project, backend) as told:
        failed = await told.next(Failed)
        assert "--allow-unconstrained" in failed.message
        backend.enforces, backend.script = True, [call("x")]
        told.loop.again()
        assert (await told.next(Finished)).outcome == "finished"


async def test_without_a_run_the_preview_ends_with_the_prompt(bundle, project) -> None:
    backend = ScriptedBackend([call("x")])
    async with following(bundle, project, backend, run=False) as told:
        await told.next(NotRun)
        (bundle / PROMPT).write_text("Shorter: {{ node.name }}\n")
        assert "Shorter: first" in lines((await told.next(PromptRendered)).prompt, "+")
        await told.next(NotRun)
        assert backend.requests == []


async def test_previews_leave_no_run_and_no_waiting_change(bundle, project) -> None:
    async with following(bundle, project, ScriptedBackend([call("one"), call("two")])) as told:
        await told.next(Finished)
        told.loop.again()
        await told.next(Finished)
    with App(project).reader() as log:
        assert log.runs() == []
    from engine.workspace import ChangeStore

    store = ChangeStore(project)
    rows = store._rows("", ())
    assert [row.state for row in rows] == ["rejected", "rejected"]
    store.close()


async def test_engine_yaml_does_not_make_previews_accept_by_themselves(bundle, project) -> None:
    (project / "engine.yaml").write_text("operations:\n  note: {bundle: note, auto_accept: true}\n")
    async with following(bundle, project, ScriptedBackend([call("one")])) as told:
        assert (await told.next(Finished)).offered == 1
        assert (project / "src/a.py").read_text() == SOURCE


async def test_a_listener_that_raises_ends_the_loop(bundle, project) -> None:
    def listen(event):
        if isinstance(event, Piece):
            raise BrokenPipeError

    chosen = DevOptions(str(bundle), project / "src/a.py")
    async with DevLoop(chosen, project, backend=ScriptedBackend([call("x")])) as loop:
        with pytest.raises(BrokenPipeError):
            await loop.run(listen)


async def test_one_preview_and_no_more(bundle, project) -> None:
    chosen = DevOptions(str(bundle), project / "src/a.py")
    told = []
    async with DevLoop(chosen, project, backend=ScriptedBackend([call("x")])) as loop:
        await loop.run(told.append, once=True)
    assert isinstance(told[-1], Finished)


@pytest.mark.parametrize(
    ("bundle_name", "target", "message"),
    [
        ("nothing", "src/a.py", "nothing does not exist: name a folder with a bundle.yaml"),
        ("git+https://example.org/x", "src/a.py", "only a folder or a zip file can be watched"),
        (".", "src", "src is no file: --target takes FILE or FILE::NODE"),
        (".", "gone.py", "gone.py is no file"),
    ],
)
def test_what_cannot_be_previewed_is_refused(bundle_name, target, message, project, monkeypatch) -> None:
    from pathlib import Path

    monkeypatch.chdir(project)
    with pytest.raises(ConfigError, match=re.escape(message)):
        DevLoop(DevOptions(bundle_name, Path(target)))


async def test_a_folder_of_bundles_is_refused(bundle, project) -> None:
    chosen = DevOptions(str(bundle.parent), project / "src/a.py")
    with pytest.raises(ConfigError, match=r"is no bundle but a folder of some: name one of note$"):
        async with DevLoop(chosen, project, backend=ScriptedBackend([""])):
            pass


async def test_a_zip_is_previewed_and_watched(bundle, project, tmp_path) -> None:
    def pack():
        shutil.make_archive(str(tmp_path / "new"), "zip", bundle)
        (tmp_path / "new.zip").replace(tmp_path / "note.zip")

    pack()
    async with following(tmp_path / "note.zip", project, ScriptedBackend([call("x")])) as told:
        await told.next(Finished)
        (bundle / PROMPT).write_text("Zipped: {{ node.text }}\n")
        pack()
        assert "Zipped: def first(a):" in lines((await told.next(PromptRendered)).prompt, "+")
        await told.next(Finished)


TEXTS = st.text(st.sampled_from("ab\n\t\ud800…é"), max_size=30)


@given(TEXTS, TEXTS)
def test_a_difference_holds_both_texts(before, after) -> None:
    found = compare(before, after)
    assert "\n".join(line.text for line in found.lines if line.mark in " -") == before
    assert "\n".join(line.text for line in found.lines if line.mark in " +") == after
    assert found.changed == (before != after)
    assert compare(None, after).counts == ""
    shown = [line for line in found.folded() if line.mark in "+-"]
    assert shown == [line for line in found.lines if line.mark in "+-"]


def test_unchanged_stretches_are_folded() -> None:
    before = "\n".join(map(str, range(20)))
    found = compare(before, before.replace("10", "ten"))
    assert [str(line) for line in found.folded()] == [
        "… 8 lines as before", "  8", "  9", "- 10", "+ ten", "  11", "  12", "… 7 lines as before",
    ]  # fmt: skip
    assert found.counts == "+1 -1"

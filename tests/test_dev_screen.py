"""The full screen of `engine dev` and its lines, on a scripted backend: every key, and text that means harm."""

import contextlib
import io
import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from kernel_parts import ScriptedBackend
from projects import MANIFEST, SOURCE, call, make_project
from screens import see, text_of

from engine.tui.dev.dialogs import HELP
from engine.tui.dev.events import Said, Validated
from engine.tui.dev.loop import DevLoop, DevOptions
from engine.tui.dev.plain import PlainView
from engine.tui.dev.screen import DevScreen, Told

ROOT = Path(__file__).parent.parent
HOSTILE = "[bold red]x[/] \x1b[31m\x1b]0;t\x07 \x9b2J \u202e [link=file:///]y[/link]"


@contextlib.asynccontextmanager
async def screen(bundle, project, script, *, size=(160, 50), target="src/a.py", node=None, **settings):
    options = DevOptions(str(bundle), project / target, node, settings=settings)
    async with DevLoop(options, project, backend=ScriptedBackend(script)) as loop:
        shown = DevScreen(loop)
        async with shown.run_test(size=size, notifications=True) as pilot:
            yield shown, pilot
        await shown.settle()


async def test_prompt_output_and_change_are_on_the_screen(bundle, project) -> None:
    async with screen(bundle, project, [call("does it")]) as (shown, _):
        text = await see(shown, r"→ add_comment .*# does it.*a accepts the change")
        assert "note → src/a.py::first  preview 1, generation 1" in text
        assert "Comment first:" in text
        assert '→ add_comment {"comment": "does it"}' in text
        assert re.search(r"\+ +# does it", text)


async def test_a_save_shows_what_differs(bundle, project) -> None:
    async with screen(bundle, project, [call("one"), call("two")]) as (shown, pilot):
        await see(shown, "a accepts the change")
        (bundle / "prompts/user.md.j2").write_text("Please comment {{ node.name }}:\n\n{{ node.text }}\n")
        text = await see(shown, r"preview 2.*Prompt: \+1 -1.*Output: \+.*Change: \+1 -1.*a accepts the change")
        assert "- Comment first:" in text
        assert "+ Please comment first:" in text
        assert "- +    # one" in text
        assert "+ +    # two" in text
        assert "lines as before" in text
        await pilot.press("d")
        await see(shown, "lines as before", gone=True)


async def test_findings_come_and_go(bundle, project) -> None:
    async with screen(bundle, project, [call("x")]) as (shown, pilot):
        await see(shown, "a accepts the change")
        (bundle / "bundle.yaml").write_text(MANIFEST.replace("max_turns", "max_turn"))
        text = await see(shown, "1 error, 0 warnings; the last good bundle stays in force")
        assert re.search(r"bundle\.yaml:\d+:\d+: S001", text)
        assert "# x" in text
        await pilot.press("f")
        assert shown.focused is shown.findings
        (bundle / "bundle.yaml").write_text(MANIFEST)
        await see(shown, "1 error", gone=True)


async def test_a_file_that_accept_must_not_overwrite_is_named(bundle, project) -> None:
    async with screen(bundle, project, [call("x")]) as (shown, _):
        await see(shown, "a accepts the change")
        (project / "src/a.py").write_text(SOURCE.replace("return b", "return b + 1"))
        await shown.action_accept()  # at once: before the save begins a new preview
        await see(shown, r"refused src/a\.py: src/a\.py changed since")
        assert "# x" not in (project / "src/a.py").read_text()


async def test_a_accepts(bundle, project) -> None:
    async with screen(bundle, project, [call("one"), call("two")]) as (shown, pilot):
        await see(shown, "a accepts the change")
        await pilot.press("a")
        await see(shown, "preview 2.*a accepts the change")
        assert "    # one\n" in (project / "src/a.py").read_text()


async def test_the_list_of_nodes_narrows_and_picks(bundle, project) -> None:
    async with screen(bundle, project, [call("x")]) as (shown, pilot):
        await see(shown, "a accepts the change")
        await pilot.press("n")
        text = await see(shown, "Nodes that the bundle takes here")
        assert all(f"{name}  {kind}, line" in text for name, kind in [("first", "function"), ("Thing.third", "method")])
        await pilot.press(*"thi")
        await see(shown, "second  function", gone=True)
        await pilot.press("enter")
        await see(shown, r"src/a\.py::Thing\.third.*a accepts the change")
        await pilot.press("n", "down", "enter")
        await see(shown, r"src/a\.py::second.*a accepts the change")
        await pilot.press("n", *"nothing", "enter")
        await pilot.press("escape")
        await see(shown, r"src/a\.py::second")
        assert len(shown.screen_stack) == 1


async def test_a_node_that_vanished_brings_the_list_and_its_return_closes_it(bundle, project) -> None:
    async with screen(bundle, project, [call("x")]) as (shown, _):
        await see(shown, "a accepts the change")
        (project / "src/a.py").write_text(SOURCE.replace("def first", "def other"))
        await see(shown, "there is no such node; the file has: other, second.*The bundle takes these:.*other  function")
        (project / "src/a.py").write_text(SOURCE)
        await see(shown, "The bundle takes these:", gone=True)
        await see(shown, "a accepts the change")


async def test_the_exact_request_and_the_help(bundle, project) -> None:
    async with screen(bundle, project, [call("x")]) as (shown, pilot):
        await see(shown, "a accepts the change")
        for key in ("e", "x"):
            await pilot.press(key)
            text = await see(shown, r"The exact request.*\[tools\]")
            assert "# src/a.py::first" in text
            assert '{"name": "add_comment"' in text
            await pilot.press("end")
            await see(shown, r"\[constraint: ebnf, typed@1\].*prompt tokens: ")
            await pilot.press("escape")
            await see(shown, "The exact request", gone=True)
        await pilot.press("question_mark")
        text = await see(shown, "accept the change: write it into the file")
        assert all(line in text for line in HELP.splitlines())
        await pilot.press("q")
        await see(shown, "write it into the file", gone=True)


async def test_panes_alone_and_in_a_narrow_terminal(bundle, project) -> None:
    async with screen(bundle, project, [call("x")]) as (shown, pilot):
        await see(shown, "a accepts the change")
        await pilot.press("c", "z")
        text = await see(shown, "─ Prompt", gone=True)
        assert "─ Change" in text
        assert "─ Output" not in text
        await pilot.press("o")
        await see(shown, "─ Output")
        await pilot.press("z")
        await see(shown, "─ Prompt.*─ Output.*─ Change")
        await pilot.resize_terminal(60, 20)
        await see(shown, "─ Prompt", gone=True)
        await pilot.press("p")
        await see(shown, "─ Prompt")


@pytest.mark.parametrize(("keys", "code"), [("q", 0), ("ctrl+q", 0), ("ctrl+c", 130)])
async def test_leaving(keys, code, bundle, project) -> None:
    async with screen(bundle, project, [call("x")]) as (shown, pilot):
        await pilot.press(keys)
    assert shown.return_value == code


async def test_text_of_others_is_shown_as_it_is(bundle, project) -> None:
    (bundle / "prompts/user.md.j2").write_text(HOSTILE + "\n{{ node.text }}\n")
    (project / "src/a.py").write_text(f'def first(a):\n    return "[/]{HOSTILE[:14]}"\n')
    reply = f"{HOSTILE}\n{call('[bold]x')}"
    manifest = MANIFEST.replace("model: {", "grammar: {strategy: none}\nmodel: {")
    (bundle / "bundle.yaml").write_text(manifest)
    async with screen(bundle, project, [reply]) as (shown, pilot):
        await see(shown, "preview 1")
        text = await see(shown, r"\(\d turns?, .*→ add_comment|→ add_comment.*\(\d turns?, ")
        assert text.count(r"[bold red]x[/] \x1b[31m\x1b]0;t\x07 \x9b2J \u202e [link=file:///]y[/link]") == 2
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        (bundle / "bundle.yaml").write_text(manifest + '"[bold red]q[/]\\e": 1\n')
        text = await see(shown, "1 error")
        assert "[bold red]q[/]" in text
        (bundle / "bundle.yaml").write_text(manifest)
        await see(shown, "1 error", gone=True)
        await pilot.press("e")
        assert "[bold red]x[/]" in await see(shown, "The exact request")


async def test_an_internal_error_ends_the_screen_and_is_raised(bundle, project) -> None:
    options = DevOptions(str(bundle), project / "src/a.py")
    async with DevLoop(options, project, backend=ScriptedBackend([call("x")])) as loop:
        shown = DevScreen(loop)
        with contextlib.suppress(TypeError):  # raised here too, for tests only
            async with shown.run_test() as pilot:
                shown.post_message(Told(Validated(None, in_force=True, current=True, generation=1)))
                await pilot.pause()
        with pytest.raises(TypeError):
            await shown.settle()


async def lines_of(bundle, project, script, *, color=False, encoding="utf-8", **options):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    view = PlainView(out, color, clock=lambda: datetime(2026, 1, 2, 3, 4, 5))  # noqa: DTZ001 - the wall clock of a person
    chosen = DevOptions(str(bundle), project / "src/a.py", **options)
    async with DevLoop(chosen, project, backend=ScriptedBackend(script)) as loop:
        await loop.run(view, once=True)
    out.flush()
    return view, raw.getvalue().decode(encoding)


async def test_lines_of_one_preview(bundle, project) -> None:
    view, text = await lines_of(bundle, project, [call("does it")])
    assert view.good
    lines = text.splitlines()
    assert "== 03:04:05 generation 1: 0 errors, 0 warnings" in lines
    assert "== 03:04:05 preview 1 of note: the start" in lines
    assert "-- node src/a.py::first, line 1" in lines
    assert "-- reply, turn 1" in lines
    assert call("does it") in text
    assert '→ add_comment {"comment": "does it"}' in lines
    assert "+    # does it" in lines
    assert re.search(r"^-- finished \(termination_tool\): does it; 1 turn, 15 tokens, ", lines[-1])


async def test_lines_say_what_is_wrong(bundle, project) -> None:
    view, text = await lines_of(bundle, project, [call("x")], node="nobody")
    assert not view.good
    assert "-- no node: there is no such node; the file has: first, second, Thing.third" in text
    assert "the bundle takes: first, second, Thing.third" in text
    view, text = await lines_of(bundle, project, ["no call"])
    assert not view.good
    assert "-- failed" in text
    (bundle / "bundle.yaml").write_text(MANIFEST.replace("max_turns", "max_turn"))
    view, text = await lines_of(bundle, project, [call("x")])
    assert not view.good
    assert "no bundle is in force yet" in text
    assert "error[S001]" in text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
async def test_lines_are_harmless(encoding, bundle, project) -> None:
    (bundle / "prompts/user.md.j2").write_text(HOSTILE + "\n")
    _, text = await lines_of(bundle, project, [f"{HOSTILE}\r\x1b[2J\ud800{call('x')}"], color=True, encoding=encoding)
    assert re.sub("\x1b\\[[0-9;]*m", "", text).isprintable() is False
    assert not re.search("[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e\r]", text)
    assert set(re.findall("\x1b.{4}", text)) <= {
        "\x1b[36m",
        "\x1b[0m\n",
        "\x1b[1m=",
        "\x1b[1m-",
        "\x1b[32m",
        "\x1b[31m",
    }


def test_said_during_a_streamed_reply_begins_a_line() -> None:
    from engine.tui.dev.events import Piece

    out = io.StringIO()
    view = PlainView(out)
    view(Piece("half"))
    view(Said("a word"))
    assert out.getvalue() == "half\na word\n"


def scrubbed(text: str) -> list[str]:
    """Leave out what differs from machine to machine."""
    return [re.sub(r"\d+\.\d s", "0.6 s", line).rstrip() for line in text.strip("\n").splitlines()]


async def example(folder: Path) -> list[str]:
    """The screen that docs/dev.md shows."""
    stock = (ROOT / "tests/samples/shop/shop/stock.py").read_text()
    project = make_project(folder / "shop", {"shop/stock.py": stock})
    bundle = Path(shutil.copytree(ROOT / "bundles/docstring", folder / "docstring"))

    def reply(sentence):
        return f'<tool_call>\n{{"name": "write_docstring", "arguments": {{"summary": "{sentence}"}}}}\n</tool_call>'

    script = [reply("Gets the stock."), reply("Return the names whose stock is below a minimum.")]
    options = {"target": "shop/stock.py", "node": "below", "params": {"strict": "never"}}
    async with screen(bundle, project, script, size=(110, 30), **options) as (shown, pilot):
        await see(shown, "a accepts the change")
        system = bundle / "prompts/system.md.j2"
        system.write_text(system.read_text().replace("docstring for", "docstring in the imperative mood for"))
        await see(shown, r"preview 2.*Prompt: \+1.*Output: \+.*Change: \+.*a accepts the change")
        await pilot.pause()
        return scrubbed(text_of(shown))


async def test_the_screen_in_the_docs_is_the_screen(tmp_path) -> None:
    documented = re.search(r"```text\n( engine dev .*?)```", (ROOT / "docs/dev.md").read_text("utf-8"), re.DOTALL)
    assert documented is not None
    seen = await example(tmp_path)
    assert scrubbed(documented[1]) == seen, "\n".join(seen)

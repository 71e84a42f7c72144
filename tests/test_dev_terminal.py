"""`engine dev` as a person has it: in a real terminal, with the real embedded model."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import descendants, is_stopped, wait_until_gone
from terminal import Terminal, engine

ROOT = Path(__file__).parent.parent
PROMPT, TARGET = "prompts/user.md.j2", "shop/pricing.py"
pytestmark = pytest.mark.embedded


@pytest.fixture
def shop(tmp_path: Path, weights: Path) -> Path:
    project = tmp_path / "shop"
    shutil.copytree(ROOT / "tests/samples/shop", project)
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    return project


@pytest.fixture
def docstring(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "bundles/docstring", tmp_path / "docstring"))


def dev(*options):
    return engine("dev", "../docstring", "--target", TARGET, "--param", "strict=never", *options)


def test_from_the_first_prompt_to_an_accepted_change(shop: Path, docstring: Path) -> None:
    before = (shop / TARGET).read_text()
    with Terminal(dev(), shop) as terminal:
        terminal.wait_for(r"─ Prompt ─.*─ Output")
        terminal.wait_for(r"shop/pricing\.py::net_price")
        terminal.wait_for(r"finished: .*a accepts the change")
        terminal.wait_for(r"Change.*\+ +\"\"\"")
        children = descendants(terminal.pid)
        assert children

        prompt = docstring / PROMPT
        prompt.write_text(prompt.read_text() + "\nBe brief.\n")
        terminal.wait_for(r"Prompt: \+1 -0.*\+ Be brief\.")
        terminal.wait_for(r"preview 2, generation 2.*Output: (unchanged|\+).*Change: (unchanged|\+).*a accepts")

        manifest = docstring / "bundle.yaml"
        good = manifest.read_text()
        manifest.write_text(good.replace("max_turns", "max_turn"))
        terminal.wait_for(
            r"1 error, 0 warnings; the last good bundle stays.*bundle\.yaml:\d+:3: S001 unknown key 'max_turn'"
        )
        terminal.wait_for(r"Prompt: \+1 -0")
        manifest.write_text(good)
        terminal.wait_until_gone("1 error")

        terminal.press("e")
        terminal.wait_for(r"The exact request.*model smollm2-135m-instruct, adapter docs.*\[system\]")
        terminal.press("\x1b")
        terminal.wait_until_gone("The exact request")

        assert (shop / TARGET).read_text() == before
        terminal.press("a")
        terminal.wait_for(r"does not take net_price: its nodes\.when leaves it out.*gross_price")
        assert (shop / TARGET).read_text().count('"""') == before.count('"""') + 2
        terminal.press("disc\r")
        terminal.wait_for(r"shop/pricing\.py::discount.*─ Output ─.*finished: .*─ Change ─")

        terminal.resize(24, 70)
        terminal.wait_until_gone("─ Output")
        terminal.press("o")
        terminal.wait_for("─ Output")
        terminal.resize(50, 160)
        terminal.wait_for("─ Prompt.*─ Output")

        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.is_restored
        assert terminal.is_sane
        assert b"Traceback" not in terminal.raw
        assert wait_until_gone(children) == set()


def test_the_reply_is_seen_while_it_comes(shop: Path, docstring: Path) -> None:
    with Terminal(dev(), shop) as terminal:
        terminal.wait_for(r"Output: ….*<tool_call>")
        terminal.wait_for(r"finished: ")


@pytest.mark.parametrize("end", ["q", "ctrl-c", "SIGTERM", "SIGINT", "SIGHUP", "hang up", "hang up unheard", "SIGKILL"])
def test_every_end_during_a_run_leaves_the_terminal_well_and_no_process(end: str, shop: Path, docstring: Path) -> None:
    ignoring = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh") if end == "hang up unheard" else ()
    with Terminal([*ignoring, *dev()], shop) as terminal:
        terminal.wait_for("the model answers|finished:")
        children = descendants(terminal.pid)
        match end:
            case "q":
                terminal.press("q")
            case "ctrl-c":
                terminal.press("\x03")
            case "hang up" | "hang up unheard":
                terminal.hang_up()
            case _:
                terminal.tell(getattr(signal, end))
        code = terminal.end()
        assert wait_until_gone(children) == set()
        if end == "SIGKILL":
            assert code == -signal.SIGKILL
            return
        assert code == (0 if end == "q" else 130)
        assert b"Traceback" not in terminal.raw
        if not end.startswith("hang up"):
            assert terminal.is_restored
            assert terminal.is_sane


def test_the_shell_gets_the_terminal_back_for_a_while(shop: Path, docstring: Path) -> None:
    with Terminal(dev("--no-run"), shop) as terminal:
        terminal.wait_for("rendered; no model was called")
        terminal.press("\x1a")
        # Stopped too: what is sent to it before that would be undone by the stop.
        terminal.wait(lambda: is_stopped(terminal.pid), "a suspended program", 20)
        terminal.wait(lambda: terminal.is_sane and terminal.is_restored, "the shell's screen", 20)
        terminal.tell(signal.SIGCONT)
        terminal.wait(lambda: not terminal.is_sane, "its own screen again", 20)
        terminal.press("?")
        terminal.wait_for("accept the change: write it into the file")
        terminal.press("\x03")
        assert terminal.end() == 130


def test_a_crash_of_the_model_is_told_and_the_next_preview_works(shop: Path, docstring: Path) -> None:
    import os

    with Terminal(dev(), shop) as terminal:
        terminal.wait_for("finished: ")
        for pid, _ in descendants(terminal.pid):
            os.kill(pid, signal.SIGKILL)
        terminal.press("r")
        terminal.wait_for("preview 2, .*finished: ")
        terminal.press("q")
        assert terminal.end() == 0


def test_lines_in_a_pipe(shop: Path, docstring: Path) -> None:
    process = subprocess.Popen(
        dev(), cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
    )
    read: list[str] = []

    def until(beginning: str) -> list[str]:
        first = len(read)
        for line in process.stdout:
            read.append(line.rstrip("\n"))
            if line.startswith(beginning):
                return read[first:]
        raise AssertionError("\n".join(read))

    try:
        first = until("-- finished")
        assert any(line.startswith("-- node shop/pricing.py::net_price") for line in first)
        assert "<tool_call>" in first
        assert any(line.startswith('+    """') for line in first)
        prompt = docstring / PROMPT
        prompt.write_text(prompt.read_text() + "\nBe brief.\n")
        second = until("-- finished")
        assert "+ Be brief." in second
        assert any(line.endswith("preview 2 of docstring: the bundle was saved") for line in second)
        (docstring / "bundle.yaml").write_text("format: 1\nname: docstring\n")
        broken = until("the last good bundle stays in force")
        assert any("error[S" in line for line in broken)
        children = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert wait_until_gone(children) == set()
        assert "Traceback" not in "\n".join(read)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_lines_end_with_a_signal_too(number: signal.Signals, shop: Path, docstring: Path) -> None:
    process = subprocess.Popen(dev("--plain"), cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for line in process.stdout:
            if line.startswith("-- reply"):
                break
        children = descendants(process.pid)
        process.send_signal(number)
        assert process.wait(20) == 130
        assert wait_until_gone(children) == set()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_once(shop: Path, docstring: Path) -> None:
    ran = subprocess.run(dev("--once"), cwd=shop, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "-- finished" in ran.stdout
    rendered = subprocess.run(dev("--once", "--no-run"), cwd=shop, capture_output=True, text=True, check=False)
    assert rendered.returncode == 0
    assert "Write the docstring of this function" in rendered.stdout
    assert "-- reply" not in rendered.stdout


def test_a_reader_that_goes_away_ends_it(shop: Path, docstring: Path) -> None:
    process = subprocess.Popen(dev(), cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_terminal_without_textual_is_told_what_to_install(shop: Path, docstring: Path) -> None:
    code = "import sys; sys.modules['textual'] = None; from engine.cli import main; main(sys.argv[1:])"
    argv = [sys.executable, "-c", code, *dev()[3:]]
    with Terminal(argv, shop) as terminal:
        assert terminal.end() == 2
        assert "--plain" in terminal.text
        assert "bundle-engine[frontend]" in terminal.text.replace("\n", "")
    with Terminal([*argv, "--plain", "--no-run"], shop) as terminal:
        terminal.wait_for("prompt: ")
        terminal.press("\x03")
        assert terminal.end() == 130

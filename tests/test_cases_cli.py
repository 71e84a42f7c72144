"""`engine test` as a command: what it prints, writes and exits with; on a scripted server and on the embedded model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from projects import call
from scripted_server import ScriptedServer
from test_cases_run import ADAPTERS, make, one
from test_cli import engine

ROOT = Path(__file__).parent.parent
GOOD = "calls: [{tool: add_comment, arguments: {comment: does it}}]"
BAD = "calls: [{tool: add_comment, arguments: {comment: other}}]"


@pytest.fixture
def tested(tmp_path: Path) -> Path:
    """A bundle with a case that passes and one that fails."""
    return make(tmp_path / "note", one(GOOD) + "\n" + one(BAD).replace("name: one", "name: two"))


def run(bundle: Path, server: ScriptedServer, *more: object) -> subprocess.CompletedProcess[str]:
    return engine("test", bundle.name, "--base-url", server.api, *more, cwd=bundle.parent)


def test_the_report_for_people(tested: Path, server: ScriptedServer) -> None:
    done = run(tested, server)
    message = 'expected the call add_comment(comment="other"): comment: expected "other", got "does it"'
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "case  passed    ",
        "one   passed 1/1",
        "two   failed 0/1",
        "",
        "failed note: two: 0 of 1 passed",
        f"  note/tests/cases.yaml:8: calls[0]: {message}",
        "  reply (seed 0):",
        "      <tool_call>",
        '      {"name": "add_comment", "arguments": {"comment": "does it"}}',
        "      </tool_call>",
        "  diff (seed 0):",
        "      diff --git a/snippet.py b/snippet.py",
        "      --- a/snippet.py",
        "      +++ b/snippet.py",
        "      @@ -1,2 +1,3 @@",
        "       def first(a):",
        "      +    # does it",
        "           return a",
        "",
        done.stdout.splitlines()[-1],
    ]
    assert done.stdout.splitlines()[-1].startswith("2 cases: 1 passed, 1 failed; 2 trials, 20 tokens, ")
    progress = [line.split(" (")[0].split(": expected")[0] for line in done.stderr.splitlines()]
    assert sorted(line.split(" ", 1)[1] for line in progress) == ["failed note: two", "passed note: one"]
    assert not (tested.parent / ".engine").exists()


def test_exit_codes(tested: Path, server: ScriptedServer) -> None:
    assert run(tested, server, "--case", "one").returncode == 0
    assert run(tested, server, "--case", "gone").returncode == 2
    assert run(tested, server, "--strict").returncode == 2
    (tested.parent / "engine.yaml").write_text("run: {retries: 0}\n")
    down = engine("test", tested, "--base-url", "http://127.0.0.1:9/v1", cwd=tested.parent)
    assert (down.returncode, down.stdout) == (2, "")
    assert "http://127.0.0.1:9/v1" in down.stderr
    (tested / "tests/cases.yaml").write_text("format: 1\ncases: [{name: one}]\n")
    broken = run(tested, server)
    assert (broken.returncode, "S006" in broken.stderr or "S003" in broken.stderr) == (1, True)


def test_a_server_that_breaks_down_is_an_error(tested: Path, server: ScriptedServer) -> None:
    def text(body: object) -> str:
        if len(server.bodies) == 3:
            server.chat.extend([lambda handler: handler.send_error(500)] * 50)
        return call("does it")

    server.text = text
    (tested.parent / "engine.yaml").write_text("run: {retries: 0}\n")
    done = run(tested, server, "--repeats", "2", "--concurrency", "1", "--output-format", "json")
    report = json.loads(done.stdout)
    assert done.returncode == 2
    assert [case["state"] for case in report["cases"]] == ["passed", "error"]
    assert server.url in report["cases"][1]["trials"][0]["error"]


def test_formats_for_machines(tested: Path, server: ScriptedServer, tmp_path: Path) -> None:
    done = run(tested, server, "--output-format", "json", "--repeats", "3", "--seed", "5")
    report = json.loads(done.stdout)
    assert report["summary"] == {"passed": 1, "failed": 1, "error": 0, "not_run": 0}
    assert [trial["seed"] for trial in report["cases"][0]["trials"]] == [5, 6, 7]
    done = run(tested, server, "--output-format", "junit", "--output", "report.xml")
    assert done.stdout.startswith("case  passed")
    root = ET.parse(tmp_path / "report.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    done = run(tested, server, "--output", "no/such/folder/report.xml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--output no/such/folder/report.xml: there is no such folder" in done.stderr


def test_what_a_model_says_does_not_drive_the_terminal(tested: Path, server: ScriptedServer) -> None:
    server.text = lambda body: call("\x1b]0;evil\x07 [red]x[/red]")
    done = run(tested, server)
    assert "\x1b" not in done.stdout + done.stderr
    assert "[red]x[/red]" in done.stdout


def test_the_matrix_and_the_baseline(tmp_path: Path, server: ScriptedServer) -> None:
    server.models = [{"id": name, "owned_by": "vllm"} for name in ("m", "n", "served-a")]
    server.text = lambda body: call("does it" if body["model"] in ("served-a", "n") else "other")
    bundle = make(tmp_path / "note", one(GOOD), ADAPTERS)
    done = run(bundle, server, "--model", "m", "--model", "n", "--adapter", "none")
    assert done.stdout.splitlines()[:2] == [
        "case  model m, no adapter  model n, no adapter",
        "one   failed 0/1           passed 1/1         ",
    ]
    done = run(bundle, server, "--adapter", "a", "--baseline", "none", "--strict")
    assert done.returncode == 0
    assert "adapter a against baseline no adapter: 1/1 against 0/1, +100 points (95 %: " in done.stdout
    done = run(bundle, server, "--baseline", "note", "--strict")
    assert done.returncode == 1


def test_strict_fails_on_what_got_worse(tmp_path: Path, server: ScriptedServer) -> None:
    server.text = lambda body: call("other" if "Remark" in str(body) else "does it")
    bundle = make(tmp_path / "note", one(GOOD, pass_rate=0.1, repeats=2))
    before = make(tmp_path / "before", one(GOOD))
    (before / "prompts/user.md.j2").write_text("Remark {{ node.text }}")
    better = run(bundle, server, "--baseline", "before", "--strict")
    assert better.returncode == 0
    answers = iter([call("does it"), call("other")] + [call("does it")] * 9)
    server.text = lambda body: next(answers)
    worse = run(bundle, server, "--baseline", "before", "--strict", "--concurrency", "1")
    assert "worse note: one: 1/2 against 2/2, -50 points" in worse.stdout
    assert worse.returncode == 1


def test_an_interrupt_leaves_a_partial_report(tested: Path, server: ScriptedServer) -> None:
    hold = threading.Event()

    def text(body: object) -> str:
        if len(server.bodies) > 1:
            hold.wait(60)
        return call("does it")

    server.text = text
    argv = ["test", "note", "--base-url", server.api, "--concurrency", "1", "--output-format", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", *argv],
        cwd=tested.parent,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while len(server.bodies) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        hold.set()
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    report = json.loads(out)
    assert [case["state"] for case in report["cases"]] == ["passed", "not run"]
    assert not report["complete"]
    assert "interrupted" in err
    assert "Traceback" not in err


def test_help_is_light() -> None:
    code = "import sys; from engine.cli import main\ntry: main(['test', '--help'])\nexcept SystemExit: pass\n"
    heavy = "print([name for name in ('openai', 'tree_sitter', 'rich', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.embedded
@pytest.mark.usefixtures("weights")
def test_a_shipped_bundle_on_the_embedded_model(tmp_path: Path) -> None:
    argv = ["test", ROOT / "bundles/docstring", "--case", "a function gets a sentence", "--case", "decorators*"]
    done = engine(*argv, "--baseline", "none", "--output-format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    judged = [case for case in report["cases"] if case["combination"] == "default"]
    assert [(case["state"], case["passed"]) for case in judged] == [("passed", 1)] * 2
    adapters = {case["combination"]: case["trials"][0]["evidence"]["adapter"] for case in report["cases"]}
    assert adapters == {"default": "docs", "baseline no adapter": None}
    assert report["complete"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.embedded
@pytest.mark.usefixtures("weights")
def test_the_cases_of_the_page_about_testing_pass(tmp_path: Path) -> None:
    page = (ROOT / "docs/testing.md").read_text("utf-8")
    first, second, third = re.findall(r"^```yaml\n([^`]*?^cases:\n.*?)^```", page, re.DOTALL | re.MULTILINE)
    for name, files in (("docstring", (first, third)), ("tests", (second,))):
        shutil.copytree(ROOT / "bundles" / name, tmp_path / name, ignore=shutil.ignore_patterns("recordings"))
        (tmp_path / name / "tests/cases.yaml").unlink()
        for number, text in enumerate(files):
            (tmp_path / name / f"tests/{number}.yaml").write_text(text, "utf-8")
    done = engine("test", "docstring", "tests", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 cases: 3 passed; 5 trials" in done.stdout

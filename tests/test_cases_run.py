"""Cases run: planned before any model is asked, each repeat a task of its own, judged, compared, reported."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import textwrap
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from kernel_parts import ScriptedBackend
from projects import MANIFEST, call, make_bundle

from engine.app import App, RunRequest
from engine.backends import Completion
from engine.bundle import load_bundle
from engine.errors import (
    BackendUnavailable,
    BundleError,
    ConfigError,
    ContextLengthError,
    UnenforcedError,
)
from engine.manifest import load_engine_config
from engine.run.testing import Bench, CasesRequest, Report, Trial, opened
from engine.run.testing.as_json import report_json
from engine.run.testing.compare import compare
from engine.run.testing.junit import junit_xml
from engine.run.testing.statistics import newcombe, wilson

FIRST = "def first(a):\n    return a\n"
SHOP = """\
def buy(a):
    return a


class Shop:
    def buy(self):
        return self

    def sell(self):
        return self
"""
TESTED = MANIFEST + "tests: tests/*.yaml\n"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))


def make(folder: Path, cases: str, manifest: str = TESTED) -> Path:
    """Write the bundle that comments functions, with these cases."""
    bundle = make_bundle(folder, manifest)
    write_cases(bundle, cases)
    return bundle


def write_cases(bundle: Path, cases: str, name: str = "cases.yaml") -> None:
    (bundle / "tests").mkdir(exist_ok=True)
    text = textwrap.indent(textwrap.dedent(cases).strip("\n"), "  ")
    (bundle / "tests" / name).write_text(f"format: 1\ncases:\n{text}\n")


def one(expect: str, source: str = FIRST, **more: object) -> str:
    """Return one case on a snippet."""
    fields = {"source": source, **more}
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
    return "- name: one\n" + textwrap.indent("\n".join([*lines, f"expect: {{{expect}}}"]), "  ")


async def run(bundles: Path | Sequence[Path], script: Sequence[object] | ScriptedBackend = (), **asked: Any) -> Report:
    """Run the cases of bundles on a script."""
    backend = script if isinstance(script, ScriptedBackend) else ScriptedBackend(list(script) or [call("does it")])
    sources = [bundles] if isinstance(bundles, Path) else list(bundles)
    async with App(sources[0].parent).test(CasesRequest(sources, **asked), backend=backend) as runner:
        trials = [trial async for trial in runner.run()]
        report = runner.report()
    assert len(trials) == sum(len(case.trials) for case in report.cases)
    assert not backend.closed
    return report


async def only(bundle: Path, script: Sequence[object] = (), **asked: Any) -> Trial:
    """Run a bundle's only case once."""
    (case,) = (await run(bundle, script, **asked)).cases
    (trial,) = case.trials
    return trial


# -- what is judged

MET = """\
- name: everything
  source: |
    def first(a):
        return a
  files: {src/other.py: "x = 1\\n"}
  expect:
    calls: [{tool: add_comment, arguments: {comment: /^does/}, match: exact, result: {contains: [true]}}]
    changes:
      - kind: modified
        contains: ["# does it"]
        excludes: [os.system]
        matches: (?m)^    # does
        equals: |
          def first(a):
              # does it
              return a
        parses: true
        same_code_but: [comments]
      - {file: src/other.py, kind: unchanged, equals: "x = 1\\n"}
      - {file: gone.py, kind: unchanged}
    commands: [[python, -m, py_compile, "{file}"]]
    at_most: {turns: 1, tokens: 15, diff_lines: 1}
"""


async def test_a_case_that_meets_all_passes(tmp_path: Path) -> None:
    trial = await only(make(tmp_path / "note", MET.replace("[true]", '["true"]')))
    assert (trial.state, trial.failures, trial.error) == ("passed", (), None)
    assert trial.evidence is not None
    assert [str(one) for one in trial.evidence.calls] == ['add_comment(comment="does it")']
    assert trial.evidence.diff_lines == 1
    assert "+    # does it" in trial.evidence.diff


@pytest.mark.parametrize(
    ("expect", "what", "message"),
    [
        ("outcome: failed", "outcome", "expected the task to fail, but it finished: termination_tool"),
        ("calls: [{tool: add_comment, arguments: {comment: x}}]", "calls[0]", 'comment: expected "x", got "does it"'),
        (
            "no_calls: [add_comment]",
            "no_calls[0]",
            'expected no call of add_comment, got add_comment(comment="does it")',
        ),
        ("text: {contains: [hello]}", "text", 'expected "hello" in ""'),
        ("error: {matches: x}", "error", 'expected a match of /x/ in ""'),
        ("changes: [{kind: deleted}]", "changes[0].kind", "expected snippet.py to be deleted, but it is modified"),
        (
            "changes: [{file: a.py, kind: created}]",
            "changes[0].kind",
            "expected a.py to be created, but it is unchanged; changed files: snippet.py",
        ),
        ("changes: [{file: a.py, contains: [x]}]", "changes[0]", "something of a.py, but there is no such file"),
        ("changes: [{contains: [def, x y]}]", "changes[0].contains[1]", 'snippet.py: expected "x y" in "def first'),
        ("changes: [{excludes: [does]}]", "changes[0].excludes[0]", 'did not expect "does" in "def first(a):'),
        ('changes: [{matches: "^x$"}]', "changes[0].matches", "expected a match of /^x$/ in"),
        ('changes: [{equals: "x\\n"}]', "changes[0].equals", "snippet.py is not what was expected"),
        ("changes: [{same_code_but: []}]", "changes[0].same_code_but", "got '# does it' (line 2)"),
        (
            "changes: [{same_code_but: [docstrings]}]",
            "changes[0].same_code_but",
            "the same (but for docstrings): expected",
        ),
        ("at_most: {tokens: 14}", "at_most.tokens", "expected at most 14 tokens, got 15"),
        ("at_most: {diff_lines: 0}", "at_most.diff_lines", "expected at most 0 diff lines, got 1"),
        ("commands: [[python, -m, py_compile, gone.py]]", "commands[0]", "to exit with 0, got 1"),
    ],
)
async def test_what_is_not_met_says_so_in_a_line(expect: str, what: str, message: str, tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one(expect))
    trial = await only(bundle)
    assert trial.state == "failed"
    (failure,) = trial.failures
    assert failure.what == what
    assert message in failure.message
    assert "\n" not in failure.message
    assert failure.span.file == f"{bundle.as_posix()}/tests/cases.yaml"
    assert failure.span.line == 5
    assert failure.span.column > 10


async def test_a_failure_points_to_the_line_of_the_expectation(tmp_path: Path) -> None:
    cases = MET.replace("[true]", '["true"]').replace("excludes: [os.system]", "excludes: [does]")
    (failure,) = (await only(make(tmp_path / "note", cases))).failures
    assert (failure.span.line, failure.what) == (13, "changes[0].excludes[0]")


async def test_unequal_content_comes_with_a_diff(tmp_path: Path) -> None:
    (failure,) = (await only(make(tmp_path / "note", one(f"changes: [{{equals: {json.dumps(FIRST)}}}]")))).failures
    assert failure.detail.splitlines() == ["@@ -1,2 +1,3 @@", " def first(a):", "+    # does it", "     return a"]


async def test_turns_and_a_syntax_error_count(tmp_path: Path) -> None:
    broken = [call("x", tool="gone"), call("does it")]
    (failure,) = (await only(make(tmp_path / "a", one("at_most: {turns: 1}")), broken)).failures
    assert failure.message == "expected at most 1 turns, got 2"
    manifest = TESTED.replace("checks: [parses]\n", "")
    bundle = make(tmp_path / "b", one("changes: [{parses: true}]"), manifest)
    (failure,) = (await only(bundle, [call("x\n  )(")])).failures
    assert failure.message == "expected snippet.py to parse, but it has a syntax error"


async def test_an_expected_failure_is_a_pass(tmp_path: Path) -> None:
    said = "error: {contains: [a tool call is required]}, text: {matches: ^I will not}, no_calls: [add_comment]"
    expect = f"outcome: failed, {said}"
    assert (await only(make(tmp_path / "a", one(expect)), ["I will not."])).state == "passed"
    trial = await only(make(tmp_path / "b", one("changes: [{kind: modified, contains: [x]}], calls: []")), ["No."])
    assert [failure.what for failure in trial.failures] == ["outcome"]
    assert "expected the task to finish, but it failed: the model answered with text" in trial.failures[0].message


async def test_line_ends_of_windows_are_no_difference(tmp_path: Path) -> None:
    equals = "def first(a):\n    # does it\n    return a\n"
    expect = f"changes: [{{equals: {json.dumps(equals)}, same_code_but: [comments]}}]"
    assert (await only(make(tmp_path / "note", one(expect, FIRST.replace("\n", "\r\n"))))).state == "passed"


# -- what runs


async def test_repeats_have_seeds_and_a_rate(tmp_path: Path) -> None:
    bundle = make(
        tmp_path / "note", one("calls: [{tool: add_comment, arguments: {comment: good}}]", repeats=4, pass_rate=0.5)
    )
    for asked, first in (({}, 7), ({"seed": 2**32 - 1}, 2**32 - 1)):
        manifest = bundle / "bundle.yaml"
        manifest.write_text(TESTED.replace("max_tokens: 80", "max_tokens: 80, seed: 7, temperature: 0.5"))
        backend = ScriptedBackend([call("good"), call("no"), call("no"), call("good")])
        report = await run(bundle, backend, **asked)
        (case,) = report.cases
        seeds = [(first + repeat) % 2**32 for repeat in range(4)]
        assert [request.sampling.seed for request in backend.requests] == seeds
        assert [trial.seed for trial in case.trials] == seeds
        assert (case.state, case.passed, case.rate, case.interval) == ("passed", 2, 0.5, wilson(2, 4))
        assert report.notes == ()


@pytest.mark.parametrize(("passed", "state"), [(1, "failed"), (2, "passed"), (4, "passed")])
async def test_the_pass_rate_decides(passed: int, state: str, tmp_path: Path) -> None:
    bundle = make(
        tmp_path / "note", one("calls: [{tool: add_comment, arguments: {comment: good}}]", repeats=4, pass_rate=0.5)
    )
    report = await run(bundle, [call("good")] * passed + [call("no")] * (4 - passed))
    assert report.cases[0].state == state
    assert report.notes == ("note: the temperature is 0: repeats differ only as far as the server does",)


async def test_repeats_can_be_overridden_and_cases_selected(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one("", repeats=5))
    write_cases(bundle, one("").replace("one", "two"), "more.yaml")
    report = await run(bundle, cases=["t*"], repeats=2)
    assert [(case.case, len(case.trials)) for case in report.cases] == [("two", 2)]
    with pytest.raises(ConfigError, match=r"no case matches --case x\*; there are: 'one', 'two'"):
        await run(bundle, cases=["x*"])


async def test_without_cases_it_says_how_to_have_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no cases in note: write some, and name them .* 'tests: tests/\*.yaml'"):
        await run(make_bundle(tmp_path / "note"))


async def test_a_bundle_with_a_broken_case_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="C004"):
        await run(make(tmp_path / "note", one("calls: [{tool: x}]")))


@pytest.mark.parametrize(
    ("node", "took"), [("sell", "Shop.sell"), ("Shop.sell", "Shop.sell"), ("buy", "buy"), ("Shop.buy", "Shop.buy")]
)
async def test_the_node_is_found_by_its_name(node: str, took: str, tmp_path: Path) -> None:
    backend = ScriptedBackend([call("does it")])
    report = await run(make(tmp_path / "note", one("", SHOP, node=node)), backend)
    assert report.cases[0].state == "passed"
    asked = backend.requests[0].messages[-1]["content"]
    assert asked.startswith(f"Comment {took.rpartition('.')[2]}:")
    assert ("self" in asked) == ("." in took)


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        (
            SHOP,
            {},
            "the bundle takes 3 nodes of it (function buy, method Shop.buy, method Shop.sell): name one with 'node'",
        ),
        (
            SHOP,
            {"node": "lend"},
            "the node 'lend' cannot be run: there is no such node; the file has: buy, Shop.buy, Shop.sell",
        ),
        (SHOP, {"node": "Shop"}, "the node 'Shop' cannot be run: there is no such node"),
        ("x = 1\n", {}, "the bundle takes no node of it"),
        ("class A:\n def f(self): pass\nclass B:\n def f(self): pass\n", {"node": "f"}, "2 nodes are called 'f'"),
        (FIRST, {"files": {"./snippet.py": ""}}, "two of its files are called snippet.py"),
        (FIRST, {"files": {"a": "", "a/b": ""}}, "a file and a folder at once"),
        (
            FIRST,
            {"expect": {"commands": [["rm", "-rf", "x"]]}},
            "it runs 'rm -rf x', which the bundle's permissions.run",
        ),
    ],
)
async def test_what_cannot_run_is_said_before_any_model_is_asked(
    source: str, more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    bundle = make(tmp_path / "note", one("", FIRST))
    cases = [{"name": "good", "source": FIRST}, {"name": "bad", "source": source, **more}]
    (bundle / "tests/cases.yaml").write_text(json.dumps({"format": 1, "cases": cases}, indent=1))
    backend = ScriptedBackend([call("does it")])
    with pytest.raises(ConfigError) as caught:
        await run(bundle, backend)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{bundle.as_posix()}/tests/cases.yaml:8: case 'bad': ")
    assert backend.requests == []


async def test_a_file_of_the_bundle_is_copied_into_a_project_of_its_own(tmp_path: Path) -> None:
    bundle = make(
        tmp_path / "note", "- {name: a, file: tests/data/a.py}\n- {name: b, file: tests/data/a.py, path: src/b.py}"
    )
    (bundle / "tests/data").mkdir()
    (bundle / "tests/data/a.py").write_text(FIRST)
    report = await run(bundle)
    assert [case.trials[0].evidence.changes[0].path for case in report.cases] == ["a.py", "src/b.py"]
    assert (bundle / "tests/data/a.py").read_text() == FIRST
    assert await asyncio.to_thread(lambda: sorted(path.name for path in tmp_path.iterdir())) == ["cache", "note"]


async def test_a_zip_has_its_cases_with_it(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", "- {name: a, file: tests/data/a.py, expect: {no_calls: [add_comment]}}")
    (bundle / "tests/data").mkdir()
    (bundle / "tests/data/a.py").write_text(FIRST)
    packed = tmp_path / "note.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(bundle.rglob("*")):
            archive.write(path, path.relative_to(bundle))
    (failure,) = (await only(packed)).failures
    assert failure.span.file == f"{packed.as_posix()}/tests/cases.yaml"


async def test_params_come_from_the_case_alone(tmp_path: Path) -> None:
    manifest = TESTED + "params: {tone: {type: string, default: plain}}\n"
    bundle = make(
        tmp_path / "note", one("") + "\n" + one("", params={"tone": "dry"}).replace("name: one", "name: two"), manifest
    )
    (bundle / "prompts/user.md.j2").write_text("{{ params.tone }} {{ node.text }}")
    (tmp_path / "engine.yaml").write_text(
        "backend: {kind: embedded}\noperations: {note: {bundle: note, params: {tone: loud}}}\n"
    )
    assert load_engine_config(tmp_path, None, {})[0].operations
    backend = ScriptedBackend([call("does it")])
    await run(bundle, backend)
    assert [request.messages[-1]["content"].split()[0] for request in backend.requests] == ["plain", "dry"]


async def test_two_bundles_and_two_of_one_name(tmp_path: Path) -> None:
    first = make(tmp_path / "a", one(""))
    second = make(tmp_path / "b", one(""), TESTED.replace("name: note", "name: other"))
    report = await run([first, second])
    assert [(case.bundle, case.state) for case in report.cases] == [("note", "passed"), ("other", "passed")]
    with pytest.raises(ConfigError, match="two of the bundles are called 'note'"):
        await run([first, first])


# -- commands


async def test_commands_see_the_changes_and_nothing_else_does(tmp_path: Path) -> None:
    script = "import snippet, pathlib; pathlib.Path('left').touch(); assert '# does it' in open('snippet.py').read()"
    bundle = make(tmp_path / "note", one(f"commands: [[python, -c, {json.dumps(script)}]]", repeats=2))
    with pytest.raises(ConfigError, match="--allow-commands runs it"):
        await run(bundle)
    report = await run(bundle, allow_commands=True)
    assert [trial.state for trial in report.cases[0].trials] == ["passed"] * 2


@pytest.mark.parametrize(
    "manifest",
    [
        TESTED.replace("permissions: {", "permissions: {run: [[python, -c]], "),
        TESTED.replace("checks: [parses]", 'checks: [{run: [python, -c, "1"]}]').replace('"1"', '"pass"'),
    ],
)
async def test_what_a_task_may_run_a_case_may_run(manifest: str, tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one("commands: [[python, -c, pass]]"), manifest)
    assert (await only(bundle)).state == "passed"


async def test_a_project_cannot_stand_in_for_the_compiler(tmp_path: Path) -> None:
    expect = 'commands: [[python, -m, py_compile, "{file}"]]'
    bundle = make(tmp_path / "note", one(expect, files={"py_compile.py": "raise SystemExit(3)\n"}))
    assert (await only(bundle)).state == "passed"


async def test_the_output_of_a_failed_command_is_kept(tmp_path: Path) -> None:
    expect = 'commands: [[python, -c, "print(1); raise SystemExit(3)"]]'
    (failure,) = (await only(make(tmp_path / "note", one(expect)), allow_commands=True)).failures
    assert failure.message == "expected 'python -c print(1); raise SystemExit(3)' to exit with 0, got 3"
    assert failure.detail == "1"


async def test_a_program_that_is_not_installed_is_an_error(tmp_path: Path) -> None:
    trial = await only(make(tmp_path / "note", one("commands: [[no-such-program]]")), allow_commands=True)
    assert trial.state == "error"
    assert "not installed" in str(trial.error)


# -- backends that fail


@pytest.mark.parametrize("error", [BackendUnavailable("m: gone"), RuntimeError("odd")])
async def test_a_backend_that_fails_is_an_error_and_no_failed_expectation(error: Exception, tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one("outcome: failed", repeats=2))
    (case,) = (await run(bundle, [error, "No call."])).cases
    assert [trial.state for trial in case.trials] == ["error", "passed"]
    assert case.state == "error"
    assert case.trials[0].error == (str(error) if isinstance(error, BackendUnavailable) else "RuntimeError: odd")


async def test_a_prompt_that_is_too_long_is_the_bundles_doing(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one("outcome: failed, error: {contains: [too long]}"))
    assert (await only(bundle, [ContextLengthError("the prompt is too long")])).state == "passed"


async def test_a_backend_that_ignores_the_constraint_is_refused(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one(""))
    careless = ScriptedBackend([call("does it")], enforces=False)
    with pytest.raises(UnenforcedError):
        await run(bundle, careless)
    report = await run(bundle, careless, allow_unconstrained=True)
    assert report.cases[0].state == "passed"
    assert "runs unconstrained" in report.notes[0]


async def test_fail_fast_starts_nothing_more(tmp_path: Path) -> None:
    cases = "\n".join(one("no_calls: [add_comment]").replace("name: one", f"name: {name}") for name in ("a", "b", "c"))
    report = await run(make(tmp_path / "note", cases), fail_fast=True)
    assert [case.state for case in report.cases] == ["failed", "not run", "not run"]
    assert not report.complete


async def test_fail_fast_waits_until_a_case_is_lost(tmp_path: Path) -> None:
    bundle = make(
        tmp_path / "note", one("calls: [{tool: add_comment, arguments: {comment: good}}]", repeats=4, pass_rate=0.5)
    )
    report = await run(bundle, [call("no"), call("no"), call("good"), call("good")], fail_fast=True)
    assert report.cases[0].state == "passed"
    report = await run(bundle, [call("no"), call("no"), call("no"), call("good")], fail_fast=True)
    assert (report.cases[0].state, len(report.cases[0].trials)) == ("failed", 3)


async def test_several_trials_run_at_once_and_whoever_stops_reading_stops_them(tmp_path: Path) -> None:
    waiting, go, ended = 0, asyncio.Event(), 0

    async def answer(request: object) -> Completion:
        nonlocal waiting, ended
        waiting += 1
        if waiting == 3:
            go.set()
        await go.wait()
        if waiting > 3:
            try:
                await asyncio.Event().wait()
            finally:
                ended += 1
        return Completion(call("does it"))

    bundle = make(tmp_path / "note", one("", repeats=9))
    backend = ScriptedBackend([answer])
    async with App(tmp_path).test(CasesRequest([bundle], concurrency=3), backend=backend) as runner:
        async with contextlib.aclosing(runner.run()) as trials:
            async for _ in trials:
                break
        report = runner.report()
    assert waiting >= 3
    assert ended == waiting - 3
    assert not report.complete
    assert report.cases[0].state == "not run"


# -- several settings


ADAPTERS = TESTED + "adapters: {a: {name: served-a}, b: {name: served-b}}\n"


async def test_the_matrix_has_every_combination(tmp_path: Path) -> None:
    backend = ScriptedBackend([call("does it")])
    report = await run(make(tmp_path / "note", one(""), ADAPTERS), backend, models=["m", "n"], adapters=["a", "none"])
    names = ["model m, adapter a", "model m, no adapter", "model n, adapter a", "model n, no adapter"]
    assert [case.combination.name for case in report.cases] == names
    asked = [(request.model, request.adapter.name if request.adapter else None) for request in backend.requests]
    assert asked == [("m", "a"), ("m", None), ("n", "a"), ("n", None)]
    assert compare(report) == []


async def test_each_model_is_let_go_when_its_trials_have_ended(tmp_path: Path) -> None:
    made: dict[str | None, ScriptedBackend] = {}

    def backend(bundles: object, model: str | None) -> ScriptedBackend:
        made[model] = ScriptedBackend([call("does it")])
        return made[model]

    bundle = make(tmp_path / "note", one(""))
    bench = Bench(
        load=load_bundle,
        model=lambda bundle, model: model,
        backend=backend,
        plan=lambda subject, used: App(subject.root).plan(
            RunRequest([], [subject.root / subject.target], model=subject.model), [subject.bundle], used
        ),
    )
    async with opened(bench, CasesRequest([bundle], models=["m", "n"])) as runner:
        states = [(one.combination.model, made["m"].closed, made["n"].closed) async for one in runner.run()]
    assert states == [("m", False, False), ("n", True, False)]
    assert made["n"].closed


async def test_an_unknown_adapter_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no adapter 'c'; it has: a, b"):
        await run(make(tmp_path / "note", one(""), ADAPTERS), adapters=["c"])


async def test_a_baseline_without_adapter(tmp_path: Path) -> None:
    async def answer(request: Any) -> Completion:
        return Completion(call("does it" if request.adapter else "no"))

    bundle = make(
        tmp_path / "note",
        one("calls: [{tool: add_comment, arguments: {comment: /^does/}}]", repeats=5),
        ADAPTERS.replace("plugin: qwen", "plugin: qwen, adapter: a"),
    )
    report = await run(bundle, [answer], baseline="none")
    assert [(case.combination.name, case.passed) for case in report.cases] == [
        ("default", 5),
        ("baseline no adapter", 0),
    ]
    whole, part = compare(report)
    assert (whole.case, part.case) == (None, "note: one")
    assert (part.difference, part.interval, part.regressed) == (1.0, newcombe((5, 5), (0, 5)), False)
    assert report.count("passed") == 1
    assert [case.combination.baseline for case in report.judged] == [None]
    with pytest.raises(ConfigError, match="leave one"):
        await run(bundle, adapters=["none"], baseline="none")


async def test_a_baseline_of_another_version_shows_what_got_worse(tmp_path: Path) -> None:
    async def answer(request: Any) -> Completion:
        return Completion(call("old" if "Remark" in request.messages[-1]["content"] else "new"))

    bundle = make(tmp_path / "note", one("calls: [{tool: add_comment, arguments: {comment: old}}]"))
    before = make(tmp_path / "before", one(""))
    (before / "prompts/user.md.j2").write_text("Remark {{ node.text }}")
    report = await run(bundle, [answer], baseline=str(before))
    whole, part = compare(report)
    assert whole.worse
    assert part.regressed  # at temperature 0 one repeat tells
    assert report.cases[1].combination.name == f"baseline {before}, default"
    warm = (bundle / "bundle.yaml").read_text().replace("max_tokens: 80", "max_tokens: 80, temperature: 1.0")
    (bundle / "bundle.yaml").write_text(warm)
    part = compare(await run(bundle, [answer], baseline=str(before)))[1]
    assert part.worse
    assert not part.regressed
    assert compare(await run(bundle, [answer], baseline=str(before), repeats=10))[1].regressed


async def test_a_baseline_out_of_git(tmp_path: Path) -> None:
    bundle = make(tmp_path / "repo/bundles/note", one("calls: [{tool: add_comment, arguments: {comment: new}}]"))

    def git(*args: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], cwd=tmp_path / "repo", check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    (bundle / "prompts/user.md.j2").write_text("Newer {{ node.text }}")

    async def answer(request: Any) -> Completion:
        return Completion(call("new" if "Newer" in request.messages[-1]["content"] else "old"))

    report = await run(bundle, [answer], baseline="git:HEAD")
    assert [(case.combination.name, case.passed) for case in report.cases] == [
        ("default", 1),
        ("baseline git:HEAD, default", 0),
    ]
    for ref in ("git:gone", "git:--help", "git:"):
        with pytest.raises(ConfigError, match="git knows no such commit"):
            await run(bundle, [answer], baseline=ref)


async def test_a_baseline_that_cannot_run_a_case_fails_nothing(tmp_path: Path) -> None:
    before = make(tmp_path / "before", one(""))
    bundle = make(tmp_path / "note", one("", params={"tone": "dry"}), TESTED + "params: {tone: {type: string}}\n")
    report = await run(bundle, baseline=str(before))
    assert [case.state for case in report.cases] == ["passed", "error"]
    assert report.count("error") == 0
    assert "has no param 'tone'" in str(report.cases[1].trials[0].error)
    assert compare(report) == []


# -- reports


async def mixed(folder: Path) -> Report:
    """A report with every state: passed, failed with odd characters, error, not run."""
    cases = "\n".join(
        one("calls: [{tool: add_comment, arguments: {comment: good}}]").replace("name: one", f"name: {name}")
        for name in "abcd"
    )
    script = [call("good"), call("no \x1b[31m <&> \ud7ff\ufffe"), BackendUnavailable("gone \x00"), call("good")]
    bundle = make(folder / "note", cases)
    async with App(folder).test(CasesRequest([bundle]), backend=ScriptedBackend(script)) as runner:
        async with contextlib.aclosing(runner.run()) as trials:
            async for trial in trials:
                if trial.state == "error":
                    break
        return runner.report()


async def test_junit_tells_failures_from_errors(tmp_path: Path) -> None:
    report = await mixed(tmp_path)
    assert [case.state for case in report.cases] == ["passed", "failed", "error", "not run"]
    root = ET.fromstring(junit_xml(report))
    assert root.tag == "testsuites"
    counts = {"tests": "4", "failures": "1", "errors": "1", "skipped": "1"}
    (suite,) = root
    for element in (root, suite):
        assert {name: element.get(name) for name in counts} == counts
    assert [[child.tag for child in case] for case in suite.iter("testcase")] == [
        ["properties"],
        ["properties", "failure", "system-out"],
        ["properties", "error", "system-out"],
        ["properties", "skipped"],
    ]
    failure = suite.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "0 of 1 passed, wanted 100%"
    assert 'expected "good", got "no' in str(failure.text)
    case = suite.findall("testcase")[1]
    assert (case.get("classname"), case.get("name")) == ("note.default", "b")
    assert str(case.get("file")).endswith("note/tests/cases.yaml")
    assert float(str(case.get("time"))) >= 0


async def test_a_baselines_failures_fail_no_suite(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one("no_calls: [add_comment]"), ADAPTERS)
    root = ET.fromstring(junit_xml(await run(bundle, adapters=["a"], baseline="none")))
    assert [(suite.get("name"), suite.get("failures"), suite.get("skipped")) for suite in root] == [
        ("note (adapter a)", "1", "0"),
        ("note (baseline no adapter)", "0", "1"),
    ]
    assert root.get("failures") == "1"


async def test_json_has_everything(tmp_path: Path) -> None:
    report = await mixed(tmp_path)
    data = json.loads(json.dumps(report_json(report)))
    assert data["summary"] == {"passed": 1, "failed": 1, "error": 1, "not_run": 1}
    assert not data["complete"]
    failed = data["cases"][1]
    assert (failed["state"], failed["passed"], failed["ran"], failed["planned"]) == ("failed", 0, 1, 1)
    assert failed["interval"] == [wilson(0, 1).low, wilson(0, 1).high]
    (trial,) = failed["trials"]
    assert trial["failures"][0]["expectation"] == "calls[0]"
    assert trial["evidence"]["calls"][0]["tool"] == "add_comment"
    assert trial["evidence"]["usage"] == {"prompt_tokens": 10, "completion_tokens": 5}
    assert data["cases"][2]["trials"][0]["error"] == "gone \x00"
    assert data["cases"][3]["trials"] == []

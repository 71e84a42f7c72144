"""`engine test --record` and `--replay`: files, differences, what cannot be recorded."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest
from kernel_parts import ScriptedBackend
from projects import MANIFEST, call, make_bundle
from scripted_server import ScriptedServer

from engine.app import App
from engine.backends import OpenAIBackend
from engine.backends.replay import file_name, load_tape
from engine.bundle import load_bundle
from engine.cli import main
from engine.errors import BackendRejected, BackendUnavailable, BundleError, ConfigError
from engine.run.testing import CasesRequest, Report, Trial

CASES = """\
format: 1
cases:
  - name: a comment
    source: |
      def first(a):
          return a
    expect:
      calls: [{tool: add_comment}]
      changes: [{contains: ["# does it"]}]
  - name: another comment
    source: |
      def second(b):
          return b
    expect:
      changes: [{contains: ["# does it"]}]
"""


@pytest.fixture
def tested(tmp_path: Path) -> Path:
    """A bundle with two cases."""
    folder = make_bundle(tmp_path / "note", MANIFEST + "tests: tests/*.yaml\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "cases.yaml").write_text(CASES)
    return folder


def recordings(bundle: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((bundle / "tests" / "recordings").glob("*"))}


async def trials(root: Path, bundle: Path, backend: object = None, **fields: object) -> tuple[list[Trial], Report]:
    request = CasesRequest([bundle], **fields)  # type: ignore[arg-type]
    async with App(root).test(request, backend=backend) as runner:  # type: ignore[arg-type]
        found = [trial async for trial in runner.run()]
        return found, runner.report()


async def record(root: Path, bundle: Path, script: list | None = None, **fields: object) -> list[Trial]:
    backend = ScriptedBackend(script or [call("does it")])
    return (await trials(root, bundle, backend, replies="record", **fields))[0]


async def replay(root: Path, bundle: Path, **fields: object) -> list[Trial]:
    return (await trials(root, bundle, None, replies="replay", **fields))[0]


async def test_cases_are_recorded_and_replayed(tmp_path: Path, tested: Path) -> None:
    digest = load_bundle(tested).digest
    assert [trial.state for trial in await record(tmp_path, tested)] == ["passed"] * 2
    first = recordings(tested)
    assert list(first) == ["a-comment.json", "another-comment.json"]
    assert load_bundle(tested).digest == digest
    assert [trial.state for trial in await replay(tmp_path, tested)] == ["passed"] * 2
    await record(tmp_path, tested)
    assert recordings(tested) == first
    assert str(tmp_path) not in "".join(first.values())


async def test_a_wide_glob_takes_no_recording_for_cases(tmp_path: Path, tested: Path) -> None:
    manifest = tested / "bundle.yaml"
    manifest.write_text(manifest.read_text().replace("tests/*.yaml", "tests/**/*"))
    await record(tmp_path, tested)
    assert list(recordings(tested)) == ["a-comment.json", "another-comment.json"]
    assert len(load_bundle(tested).cases) == 2
    assert [trial.state for trial in await replay(tmp_path, tested)] == ["passed"] * 2


async def test_the_recorded_reply_is_what_is_judged(tmp_path: Path, tested: Path) -> None:
    await record(tmp_path, tested)
    path = tested / "tests" / "recordings" / "a-comment.json"
    path.write_text(path.read_text().replace("does it", "does not"))
    found = {trial.key.case: trial for trial in await replay(tmp_path, tested)}
    assert (found["a comment"].state, found["another comment"].state) == ("failed", "passed")
    assert "# does it" in found["a comment"].failures[0].message


async def test_what_fails_is_recorded_too(tmp_path: Path, tested: Path) -> None:
    assert [trial.state for trial in await record(tmp_path, tested, [call("wrong")])] == ["failed"] * 2
    assert [trial.state for trial in await replay(tmp_path, tested)] == ["failed"] * 2


async def test_repeats_and_combinations_have_recordings_of_their_own(tmp_path: Path, tested: Path) -> None:
    fields = {"repeats": 2, "adapters": ["none"], "cases": ["a comment"]}
    await record(tmp_path, tested, **fields)
    names = sorted(recordings(tested))
    assert len(names) == 2
    assert [name.partition(".")[0] for name in names] == ["a-comment", "a-comment"]
    tapes = [load_tape(text.encode(), "x") for text in recordings(tested).values()]
    assert {(tape.label.variant, tape.label.repeat) for tape in tapes} == {("no adapter", 1), ("no adapter", 2)}
    assert {file_name(tape.label) for tape in tapes} == set(names)
    assert {tape.turns[0].request.sampling.seed for tape in tapes} == {0, 1}
    assert [trial.state for trial in await replay(tmp_path, tested, **fields)] == ["passed"] * 2
    # Neither the third repeat nor the usual combination is there.
    third = sorted(await replay(tmp_path, tested, **{**fields, "repeats": 3}), key=lambda trial: trial.key.repeat)
    assert [trial.state for trial in third] == ["passed", "passed", "error"]
    assert "record it with engine test" in (third[2].error or "")
    assert (third[2].error or "").endswith("--record --case 'a comment' --adapter none --repeats 3")
    (usual,) = await replay(tmp_path, tested, cases=["a comment"])
    assert (usual.error or "").startswith("there is no recording ")


async def test_an_edited_prompt_is_an_error_with_the_difference(tmp_path: Path, tested: Path) -> None:
    await record(tmp_path, tested)
    (tested / "prompts" / "user.md.j2").write_text("Please comment {{ node.name }}:\n\n{{ node.text }}\n")
    for trial in await replay(tmp_path, tested):
        lines = (trial.error or "").splitlines()
        assert trial.state == "error"
        assert "turn 1 asks for something else than was recorded (messages)" in lines[0]
        assert any(line.startswith("+Please comment ") for line in lines)
        assert lines[-1].startswith("if that is meant, record it with engine test ")


async def test_a_case_that_expects_a_failure_does_not_take_a_stale_recording_for_one(
    tmp_path: Path, tested: Path
) -> None:
    cases = tested / "tests" / "cases.yaml"
    cases.write_text(
        CASES.partition("  - name: another")[0].partition("    expect:")[0] + "    expect: {outcome: failed}\n"
    )
    assert [trial.state for trial in await record(tmp_path, tested, ["no call"])] == ["passed"]
    assert [trial.state for trial in await replay(tmp_path, tested)] == ["passed"]
    (tested / "prompts" / "user.md.j2").write_text("Please comment {{ node.name }}.\n")
    (trial,) = await replay(tmp_path, tested)
    assert trial.state == "error"


async def test_turns_that_are_left_are_an_error(tmp_path: Path, tested: Path) -> None:
    await record(tmp_path, tested, [call("too long " * 20), call("does it")])
    manifest = tested / "bundle.yaml"
    manifest.write_text(manifest.read_text().replace("max_turns: 3", "max_turns: 1"))
    found = {trial.key.case: trial for trial in await replay(tmp_path, tested)}
    assert "1 recorded reply was not asked for" in (found["a comment"].error or "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "is no recording: Expecting value"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "has the format '2'"),
        (lambda text: text.replace('"case": "a comment"', '"case": "b"'), "is a recording of the case 'b' of bundle"),
        (lambda text: text[: len(text) // 2], "is no recording: "),
        (lambda text: text + " " * 2**20, "is no recording: it has more than 1048576 bytes"),
    ],
)
async def test_a_recording_that_is_none_is_one_line(tmp_path: Path, tested: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    await record(tmp_path, tested)
    path = tested / "tests" / "recordings" / "a-comment.json"
    path.write_text(change(path.read_text()))
    found = {trial.key.case: trial for trial in await replay(tmp_path, tested)}
    error = found["a comment"].error or ""
    assert message in error
    assert "tests/recordings/a-comment.json" in error
    assert "record it with engine test" in error
    assert "\n" not in error
    assert found["another comment"].state == "passed"


async def test_a_recording_of_no_case_is_noted(tmp_path: Path, tested: Path) -> None:
    await record(tmp_path, tested)
    cases = tested / "tests" / "cases.yaml"
    cases.write_text(CASES.replace("another comment", "second comment"))
    _, report = await trials(tmp_path, tested, None, replies="replay")
    assert [note for note in report.notes if "another-comment.json belongs to no case: remove it" in note]


async def test_a_server_that_fails_leaves_the_old_recording(tmp_path: Path, tested: Path) -> None:
    await record(tmp_path, tested)
    first = recordings(tested)
    found = await record(tmp_path, tested, [BackendUnavailable("overloaded")])
    assert [(trial.state, trial.error) for trial in found] == [("error", "overloaded")] * 2
    assert recordings(tested) == first


async def test_an_interrupted_recording_keeps_what_had_ended(tmp_path: Path, tested: Path) -> None:
    reached = asyncio.Event()

    async def hang(_: object) -> str:
        reached.set()
        await asyncio.sleep(3600)
        raise AssertionError

    backend = ScriptedBackend([call("does it"), hang])
    task = asyncio.create_task(trials(tmp_path, tested, backend, replies="record"))
    await reached.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert list(recordings(tested)) == ["a-comment.json"]


async def test_a_zip_is_replayed_and_not_recorded(tmp_path: Path, tested: Path) -> None:
    await record(tmp_path, tested)
    packed = Path(shutil.make_archive(str(tmp_path / "note"), "zip", tmp_path, "note"))
    shutil.rmtree(tested)
    assert [trial.state for trial in await replay(tmp_path, packed)] == ["passed"] * 2
    with pytest.raises(ConfigError, match="is a zip: recordings are written into a folder, so unpack it to --record"):
        await record(tmp_path, packed)


async def test_a_folder_that_leads_out_is_not_written(tmp_path: Path, tested: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tested / "tests" / "recordings").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="the symlink leads out of the bundle"):
        await record(tmp_path, tested)
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_what_ran_unconstrained_is_replayed_so(tmp_path: Path, tested: Path) -> None:
    class Loose(ScriptedBackend):
        async def spelled(self, constraint):  # type: ignore[no-untyped-def]
            raise BackendRejected("it takes no grammar")

    backend = Loose([call("does it")])
    fields = {"allow_unconstrained": True}
    found, _ = await trials(tmp_path, tested, backend, replies="record", **fields)
    assert {trial.state for trial in found} == {"passed"}
    assert {trial.state for trial in await replay(tmp_path, tested, **fields)} == {"passed"}
    # Without the flag the request has its constraint, which is another one.
    errors = [trial.error or "" for trial in await replay(tmp_path, tested)]
    assert all('constraint.kind: recorded "none"' in error for error in errors)


async def test_no_key_and_no_address_is_recorded(tmp_path: Path, tested: Path, server: ScriptedServer) -> None:
    backend = OpenAIBackend(server.api, api_key="sk-secret", dialect="vllm", retries=0)
    try:
        found, _ = await trials(tmp_path, tested, backend, replies="record")
    finally:
        await backend.aclose()
    assert {trial.state for trial in found} == {"passed"}
    text = "".join(recordings(tested).values())
    for secret in ("sk-secret", server.api, "127.0.0.1", "Bearer"):
        assert secret not in text
    server.requests.clear()
    assert {trial.state for trial in await replay(tmp_path, tested)} == {"passed"}
    assert server.requests == []


def test_the_command_line(
    tmp_path: Path,
    tested: Path,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def engine(*args: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["test", "note", *args])
        return ended.value.code, *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    code, _, err = engine("--record", "--replay")
    assert (code, "exclude each other" in err) == (2, True)
    code, out, _ = engine("--replay")
    assert (code, "record it with engine test note --record --case 'a comment'" in out) == (2, True)
    code, out, err = engine("--record", "--base-url", server.api)
    assert code == 0, out + err
    count = len(server.requests)
    code, out, err = engine("--replay")
    assert code == 0, out + err
    assert len(server.requests) == count > 0
    (tested / "prompts" / "user.md.j2").write_text("Please {{ node.name }}.\n")
    code, out, _ = engine("--replay")
    assert (code, "+Please first." in out) == (2, True)

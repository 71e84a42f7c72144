"""A run that is recorded, and replayed as a session like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundle_parts import BUNDLES
from kernel_parts import ScriptedBackend
from projects import call, make_project
from scripted_server import ScriptedServer

from engine.app import App, RunRequest
from engine.backends import CompletionRequest, EmbeddedBackend, OpenAIBackend
from engine.backends.base import Backend
from engine.backends.replay import Label, RecordingBackend, ReplayBackend, Tape, dump_tape, load_tape
from engine.errors import UnenforcedError
from engine.run import RunResult
from engine.run.testing import CasesRequest

LABEL = Label(bundle="note", case="a run")


async def run(project: Path, bundle: Path, backend: Backend) -> RunResult:
    request = RunRequest([bundle], [project / "src"], nodes=["first"], concurrency=1, seed=3)
    async with App(project).session(request, backend=backend) as session:
        return await session.run()


def reread(tape: Tape) -> Tape:
    return load_tape(dump_tape(tape).encode(), "a.json")


async def test_a_run_is_replayed_with_its_canary(project: Path, bundle: Path) -> None:
    recorder = RecordingBackend(ScriptedBackend([call("does it"), "never asked"]))
    recorded = await run(project, bundle, recorder)
    tape = reread(recorder.tape(LABEL))
    assert (len(tape.canaries), len(tape.turns)) == (1, 1)
    player = ReplayBackend(tape)
    replayed = await run(project, bundle, player)
    assert player.problem() is None
    assert [change.after for change in replayed.changes] == [change.after for change in recorded.changes] != []
    assert replayed.usage == recorded.usage


async def test_a_run_that_was_refused_is_refused_again(project: Path, bundle: Path) -> None:
    recorder = RecordingBackend(ScriptedBackend(["hello"], enforces=False))
    with pytest.raises(UnenforcedError, match="ignores a constraint"):
        await run(project, bundle, recorder)
    with pytest.raises(UnenforcedError, match="ignores a constraint"):
        await run(project, bundle, ReplayBackend(reread(recorder.tape(LABEL))))


async def test_an_edited_prompt_is_shown_and_nothing_is_offered(project: Path, bundle: Path) -> None:
    recorder = RecordingBackend(ScriptedBackend([call("does it")]))
    await run(project, bundle, recorder)
    (bundle / "prompts" / "user.md.j2").write_text("Please comment {{ node.name }}:\n\n{{ node.text }}\n")
    player = ReplayBackend(reread(recorder.tape(LABEL)), "a.json")
    result = await run(project, bundle, player)
    assert result.changes == []
    assert [task.error for task in result.tasks] == [
        "a.json: turn 1 asks for something else than was recorded (messages)"
    ]
    problem = player.problem() or ""
    assert "-Comment first:" in problem
    assert "+Please comment first:" in problem


async def test_a_tool_of_another_schema_is_another_constraint(project: Path, bundle: Path) -> None:
    recorder = RecordingBackend(ScriptedBackend([call("does it")]))
    await run(project, bundle, recorder)
    manifest = bundle / "bundle.yaml"
    manifest.write_text(manifest.read_text().replace("max_length: 60", "max_length: 61"))
    player = ReplayBackend(reread(recorder.tape(LABEL)))
    assert (await run(project, bundle, player)).changes == []
    assert "constraint: another text of kind ebnf" in (player.problem() or "")


@pytest.mark.embedded
async def test_the_embedded_model_is_recorded_alike_twice_and_replayed(
    tmp_path: Path, project: Path, bundle: Path, weights: Path
) -> None:
    texts = []
    for place in (project, make_project(tmp_path / "elsewhere")):
        inner = EmbeddedBackend(weights, parallel=1)
        try:
            recorder = RecordingBackend(inner)
            recorded = await run(place, bundle, recorder)
        finally:
            await inner.aclose()
        texts.append(dump_tape(recorder.tape(LABEL)))
    assert texts[0] == texts[1]
    for secret in (str(tmp_path), str(weights.parent), str(Path.home()), "127.0.0.1"):
        assert secret not in texts[0]
    player = ReplayBackend(load_tape(texts[0].encode(), "a.json"))
    assert (player.name, player.plugin) == ("embedded", None if inner.plugin is None else inner.plugin)
    replayed = await run(project, bundle, player)
    assert player.problem() is None
    assert [change.after for change in replayed.changes] == [change.after for change in recorded.changes]
    assert [task.turns for task in replayed.tasks] == [task.turns for task in recorded.tasks]


@pytest.mark.parametrize(("dialect", "sent"), [("llama_cpp", {"cache_prompt": False}), ("vllm", {}), ("plain", {})])
async def test_requests_are_recorded_afresh(server: ScriptedServer, dialect: str, sent: dict[str, object]) -> None:
    server.routes["/lora-adapters"] = []
    backend = OpenAIBackend(server.api, dialect=dialect)
    ask = CompletionRequest([{"role": "user", "content": "Hello."}])
    try:
        await backend.complete(ask)
        recorder = RecordingBackend(backend)
        await recorder.complete(ask)
        _ = [piece async for piece in recorder.stream(ask)]
    finally:
        await backend.aclose()
    plain, *recorded = [request.body for request in server.requests if request.path.endswith("/chat/completions")]
    assert len(recorded) == 2
    assert "cache_prompt" not in plain
    assert [{key: body[key] for key in ("cache_prompt",) if key in body} for body in recorded] == [sent, sent]


@pytest.mark.embedded
@pytest.mark.timeout(600)
async def test_what_is_recorded_does_not_depend_on_what_was_asked_before(tmp_path: Path, weights: Path) -> None:
    """With what llama.cpp keeps of a prompt that begins alike, the model chooses other rules here."""
    bundle = Path(shutil.copytree(BUNDLES / "lint", tmp_path / "lint"))
    recordings = bundle / "tests" / "recordings"
    last = recordings / "of-several-rules-at-least-one-is-applied.json"
    texts = []
    for cases in (["of several*"], ["an *", "imports *", "of several*"]):
        shutil.rmtree(recordings)
        backend = EmbeddedBackend(weights)
        try:
            request = CasesRequest([bundle], cases=cases, replies="record")
            async with App(tmp_path).test(request, backend=backend) as runner:
                assert [trial async for trial in runner.run()]
        finally:
            await backend.aclose()
        texts.append(last.read_text())
    assert texts[0] == texts[1]

"""A run does not start when the constraint that a bundle declares is not in force."""

import json
from pathlib import Path

import pytest
from projects import MANIFEST, make_bundle
from scripted_server import ScriptedServer, fails, ok
from test_cli import engine as command

import engine
from engine.app import App, RunRequest
from engine.errors import BackendUnavailable, ConfigError, UnenforcedError
from engine.events import RunPlanned


class Seen:
    def __init__(self) -> None:
        self.events = []

    async def on_event(self, event) -> None:
        self.events.append(event)


async def run(bundle: Path, project: Path, server: ScriptedServer, **settings):
    return await engine.run(bundle, [project], project=project, base_url=server.api, **settings)


def untouched(project: Path, server: ScriptedServer) -> bool:
    return not (project / ".engine").exists() and server.bodies == []


async def test_one_canary_for_many_tasks_and_bundles_alike(bundle, tmp_path, project, server) -> None:
    other = make_bundle(tmp_path / "other", MANIFEST.replace("name: note", "name: other"))
    app = App.open(project, [project])
    async with app.session(RunRequest([bundle, other], [project], base_url=server.api)) as session:
        assert await session.check() == ()
        result = await session.run()
    assert (result.status, len(result.tasks), len(server.canaries)) == ("finished", 6, 1)


async def test_another_model_is_another_canary(tmp_path, bundle, project, server) -> None:
    named = make_bundle(
        tmp_path / "named", MANIFEST.replace("name: note", "name: other").replace("qwen,", "qwen, id: m,")
    )
    app = App.open(project, [project])
    async with app.session(RunRequest([bundle, named], [project], base_url=server.api)) as session:
        await session.check()
    assert [one.body["model"] for one in server.canaries] == ["m", "m"]


@pytest.mark.parametrize("honours", [(), ("guided_grammar",), ("grammar",)])
async def test_a_server_that_ignores_the_constraint_is_not_run_on(bundle, project, server, honours) -> None:
    server.honours = honours
    with pytest.raises(UnenforcedError) as caught:
        await run(bundle, project, server)
    said = str(caught.value)
    for part in ("bundle 'note'", server.api, "ignores a constraint of kind", "Hello! How can I help", "zebra-"):
        assert part in said
    for way_out in ("engine doctor", "backend.dialect", "grammar.mode", "--allow-unconstrained"):
        assert way_out in said
    assert isinstance(caught.value, ConfigError)
    assert untouched(project, server)


async def test_a_server_that_refuses_the_constraint_is_not_run_on(bundle, project, server) -> None:
    server.canary = fails(400, "grammars are switched off")
    with pytest.raises(UnenforcedError, match=r"refuses a constraint of kind .*grammars are switched off"):
        await run(bundle, project, server)
    assert untouched(project, server)


async def test_a_server_of_unknown_software_is_not_run_on(bundle, project, server) -> None:
    server.models = [{"id": "m", "owned_by": "somebody"}]
    with pytest.raises(UnenforcedError, match=r"takes no constraint.*--allow-unconstrained"):
        await run(bundle, project, server)
    assert untouched(project, server)
    assert server.canaries == []


async def test_allowed_it_runs_and_says_so_once(bundle, project, server) -> None:
    server.honours, seen = (), Seen()
    result = await run(bundle, project, server, observer=seen, allow_unconstrained=True)
    assert result.status == "finished"
    assert all("structured_outputs" in body for body in server.bodies)  # perhaps it helps; it does no harm
    (planned,) = [event for event in seen.events if isinstance(event, RunPlanned)]
    (note,) = planned.notes
    assert "bundle 'note' runs unconstrained" in note
    assert len(server.canaries) == 1


@pytest.mark.parametrize("why", ["unknown", "refused"])
async def test_allowed_a_server_that_cannot_take_it_gets_none(bundle, project, server, why) -> None:
    if why == "unknown":
        server.models = [{"id": "m", "owned_by": "somebody"}]
    else:
        server.canary = fails(400, "grammars are switched off")
    result = await run(bundle, project, server, allow_unconstrained=True)
    assert (result.status, result.count("finished")) == ("finished", 3)
    for body in server.bodies:
        assert set(body) == {"model", "messages", "temperature", "top_p", "max_tokens"}


async def test_a_hosted_server_holds_its_own_calls_to_strict_schemas(tmp_path, project, server) -> None:
    server.models = [{"id": "gpt", "owned_by": "system"}]
    settings = {"backend": {"kind": "openai", "base_url": server.api, "dialect": "openai", "model": "gpt"}}
    (project / "engine.yaml").write_text(json.dumps(settings))
    hosted = make_bundle(tmp_path / "hosted", MANIFEST.replace("plugin: qwen", "plugin: openai"))
    function = {"name": "add_comment", "arguments": json.dumps({"comment": "does it"})}
    call = {"id": "call_7", "type": "function", "function": function}
    server.chat = [ok("", message={"tool_calls": [call]})] * 3
    result = await engine.run(hosted, [project], project=project)
    assert (result.count("finished"), len(result.changes)) == (3, 3)
    assert [one.body["tools"][0]["function"]["strict"] for one in server.canaries] == [True]
    for body in server.bodies:
        (tool,) = body["tools"]
        assert tool["function"]["strict"] is True
        assert body["tool_choice"] == "required"
        assert body["max_completion_tokens"] == 80
        assert not {"max_tokens", "top_p", "structured_outputs", "grammar"} & set(body)


async def test_a_constraint_that_the_dialect_cannot_spell_is_refused_before_the_run(tmp_path, project, server) -> None:
    """The kind is in force, the bundle's own schema is not in the subset that strict mode takes."""
    server.models = [{"id": "gpt", "owned_by": "system"}]
    settings = {"backend": {"kind": "openai", "base_url": server.api, "dialect": "openai", "model": "gpt"}}
    (project / "engine.yaml").write_text(json.dumps(settings))
    hosted = make_bundle(tmp_path / "hosted", MANIFEST)
    with pytest.raises(UnenforcedError, match=r"the schema of the reply .*; --allow-unconstrained runs it all the"):
        await engine.run(hosted, [project], project=project)
    assert (server.bodies, server.canaries) == ([], [])
    assert not (project / ".engine").exists()


async def test_what_is_not_constrained_needs_no_canary(tmp_path, project, server) -> None:
    server.models = [{"id": "m", "owned_by": "somebody"}]
    free = make_bundle(tmp_path / "free", MANIFEST + "grammar: {strategy: none}\n")
    assert (await run(free, project, server)).status == "finished"
    assert server.canaries == []


async def test_a_plan_without_tasks_asks_nothing(bundle, project, server) -> None:
    server.honours = ()
    assert (await run(bundle, project, server, nodes=["nothing"])).tasks == ()
    assert server.canaries == []


async def test_a_server_that_is_gone_is_not_unenforced(bundle, project, server) -> None:
    server.canary = fails(500, "out of memory")
    (project / "engine.yaml").write_text("run: {retries: 0}\n")
    with pytest.raises(BackendUnavailable, match="out of memory"):
        await run(bundle, project, server, allow_unconstrained=True)
    assert untouched(project, server)


async def test_a_mode_that_the_family_has_not_is_no_matter_of_the_server(tmp_path, project, server) -> None:
    """--allow-unconstrained forgives servers, not bundles."""
    bad = make_bundle(tmp_path / "bad", MANIFEST + "grammar: {mode: ebnf}\n")
    with pytest.raises(ConfigError, match="ebnf") as caught:
        await run(bad, project, server, allow_unconstrained=True, plugin="openai")
    assert not isinstance(caught.value, UnenforcedError)


def test_the_command_line(bundle, project, server) -> None:
    server.honours = ()
    options = ["run", bundle, "-t", "src", "--base-url", server.api]
    refused = command(*options, cwd=project)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "ignores a constraint of kind" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert untouched(project, server)
    allowed = command(*options, "--allow-unconstrained", cwd=project)
    assert allowed.returncode == 0
    assert allowed.stderr.count("runs unconstrained") == 1
    by_variable = command(*options, "--json", cwd=project, ENGINE_ALLOW_UNCONSTRAINED="1")
    assert by_variable.returncode == 0
    planned = json.loads(by_variable.stdout.splitlines()[1])
    assert "runs unconstrained" in planned["notes"][0]


@pytest.mark.embedded
async def test_the_embedded_model_is_asked_too(bundle, project, weights) -> None:
    result = await engine.run(bundle, [project], project=project, model=str(weights), nodes=["first"], plugin="smollm")
    assert result.tasks[0].turns >= 1

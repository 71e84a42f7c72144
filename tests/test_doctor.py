"""The doctor: one line for each check, whatever is broken, and never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from projects import MANIFEST, make_bundle
from scripted_server import breaks_off, fails, raw, scripted_server, send
from test_cli import engine as command

from engine.app import App, RunRequest
from engine.backends import WEIGHTS
from engine.run.doctor.check import BrokenError, checked
from engine.run.doctor.machine import sandbox

ROOT = Path(__file__).parent.parent
SPEC = WEIGHTS["smollm2-135m-instruct"]


@pytest.fixture(autouse=True)
def impatient(project: Path) -> None:
    (project / "engine.yaml").write_text("run: {retries: 0}\n")


async def examine(project: Path, *bundles: Path, **settings):
    found = [check async for check in App.open(project).examine(RunRequest(bundles, [], **settings))]
    names = [check.name for check in found]
    assert len(set(names)) == len(names)
    assert all(check.detail.isprintable() for check in found)
    return {check.name: check for check in found if not check.name.startswith("package ")}


def states(found) -> dict[str, str]:
    return {name: check.state for name, check in found.items()}


async def test_all_is_well(project, bundle, server) -> None:
    server.routes["/version"] = {"version": "0.32.0"}
    found = await examine(project, bundle, base_url=server.api)
    assert states(found) == {
        "sandbox": "ok",
        "settings": "ok",
        f"bundle {bundle}": "ok",
        "backend": "ok",
        "weights": "skip",
        "server": "ok",
        "model": "ok",
        "constraint of note": "ok",
    }
    assert found["server"].detail == f"{server.api} answers: vLLM 0.32.0"
    assert found["constraint of note"].detail == "ebnf is in force: a canary was held to it"
    assert (len(server.canaries), server.bodies) == (1, [])
    assert not (project / ".engine").exists()


async def test_without_bundles_all_kinds_are_checked(project, server) -> None:
    found = states(await examine(project, base_url=server.api))
    kinds = ("ebnf", "structural_tag", "json_schema", "strict_tools")
    assert [found[f"constraint {kind}"] for kind in kinds] == ["ok"] * 4
    assert len(server.canaries) == 4


@pytest.mark.parametrize("honours", [(), ("guided_grammar", "guided_json")])
async def test_a_server_that_ignores_constraints(project, bundle, server, honours) -> None:
    server.honours = honours
    found = await examine(project, bundle, base_url=server.api)
    assert found["constraint of note"].state == "fail"
    assert "ebnf is not in force: the answer was a text, 'Hello!" in found["constraint of note"].detail
    assert "backend.dialect" in found["constraint of note"].detail
    found = await examine(project, base_url=server.api)
    assert {one.state for name, one in found.items() if name.startswith("constraint")} == {"fail"}


async def test_a_kind_that_is_refused_matters_where_a_bundle_needs_it(project, bundle, server) -> None:
    def only_schemas(handler) -> None:
        body = server.canaries[-1].body
        if "json" not in body.get("structured_outputs", {}):
            fails(400, "only schemas here")(handler)
            return
        word = body["structured_outputs"]["json"]["properties"]["text"]["enum"][0]
        answer = {"choices": [{"message": {"content": json.dumps({"text": word})}}]}
        send(handler, 200, json.dumps(answer).encode())

    server.canary = only_schemas
    found = await examine(project, base_url=server.api)
    assert (found["constraint json_schema"].state, found["constraint ebnf"].state) == ("ok", "skip")
    assert "only schemas here" in found["constraint ebnf"].detail
    assert "constraints" not in found
    found = await examine(project, bundle, base_url=server.api)
    assert found["constraint of note"].state == "fail"
    assert "ebnf is refused" in found["constraint of note"].detail


async def test_a_server_of_unknown_software(project, bundle, server) -> None:
    server.models = [{"id": "m", "owned_by": "somebody"}]
    found = await examine(project, base_url=server.api)
    assert found["constraints"].state == "fail"
    assert "backend.dialect" in found["constraints"].detail
    found = await examine(project, bundle, base_url=server.api)
    assert "takes no constraint" in found["constraint of note"].detail


async def test_a_bundle_that_declares_none(project, tmp_path, server) -> None:
    free = make_bundle(tmp_path / "free", MANIFEST + "grammar: {strategy: none}\n")
    found = await examine(project, free, base_url=server.api)
    assert found["constraint of note"].state == "skip"
    assert server.canaries == []


async def test_a_model_and_an_adapter_that_are_not_there(project, tmp_path, server) -> None:
    manifest = (
        MANIFEST.replace("{plugin: qwen,", "{plugin: qwen, id: big,") + "adapters: {fix: {name: fix-1, base: m}}\n"
    )
    found = await examine(project, make_bundle(tmp_path / "b", manifest), base_url=server.api)
    assert found["model"].state == "fail"
    assert "'big'" in found["model"].detail
    assert "it has: m" in found["model"].detail
    assert found["adapter fix of note"].state == "fail"
    assert "'fix-1'" in found["adapter fix of note"].detail


async def test_an_adapter_of_another_model_is_no_fault(project, tmp_path, server) -> None:
    manifest = MANIFEST + "adapters: {fix: {name: fix-1, base: org/another}}\n"
    found = await examine(project, make_bundle(tmp_path / "b", manifest), base_url=server.api)
    assert found["adapter fix of note"].state == "skip"
    assert "trained on org/another" in found["adapter fix of note"].detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fails(401, "bad key"), "refused the key"),
        (fails(404, "nothing here"), "has no /models"),
        (fails(500, "boom"), "answered 500: boom"),
        (raw(b"<html>hello</html>"), "not JSON"),
        (raw(b"[]"), "lists no model"),
        (raw(b"null"), "has no /models"),
        (raw(b'{"data": 7}'), "lists no model"),
        (raw(b'{"data": [7, {"id": 7}, {}]}'), "lists no model"),
        (raw(b"\xff\xfe\x00"), "not JSON"),
        (breaks_off(), "broke off"),
        (breaks_off(0), "broke off"),
    ],
)
async def test_a_server_that_is_none(project, bundle, server, answer, words) -> None:
    server.answers["/v1/models"] = answer
    found = await examine(project, bundle, base_url=server.api)
    broken = [check for check in found.values() if check.state == "fail"]
    assert any(words in check.detail for check in broken)
    assert not any("Error:" in check.detail for check in broken)


async def test_a_server_that_is_not_there(project, bundle) -> None:
    with scripted_server() as gone:
        pass
    found = await examine(project, bundle, base_url=gone.api)
    assert "refused the connection" in found["server"].detail
    assert states(found) | {"server": "fail", "model": "skip", "adapters": "skip", "constraints": "skip"} == states(
        found
    )


@pytest.mark.parametrize("version", [raw(b"[]"), raw(b'{"version": 7}'), fails(404)])
async def test_a_server_that_does_not_say_its_version(project, server, version) -> None:
    server.answers["/version"] = version
    assert (await examine(project, base_url=server.api))["server"].detail == f"{server.api} answers: vLLM"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("backend: {kind: nothing}\n", "engine.yaml"),
        ("backend: [\n", "engine.yaml"),
        ("nonsense: 1\n", "nonsense"),
    ],
)
async def test_settings_that_are_broken(project, bundle, settings, words) -> None:
    (project / "engine.yaml").write_text(settings)
    found = await examine(project, bundle)
    assert states(found) == {"sandbox": "ok", "settings": "fail", "server": "skip"}
    assert words in found["settings"].detail


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("backend: {kind: openai}\n", "backend.base_url"),
        ("backend: {kind: openai, base_url: nowhere}\n", "is no URL"),
        ("backend: {kind: openai, base_url: 'http://x/v1', api_key_env: NOT_SET_ANYWHERE}\n", "NOT_SET_ANYWHERE"),
        ("backend: {kind: roles}\n", "roles"),
        ("backend: {model: no-such-model}\n", "no-such-model"),
    ],
)
async def test_a_backend_that_cannot_be_made(project, settings, words) -> None:
    (project / "engine.yaml").write_text(settings)
    found = await examine(project)
    assert states(found) == {"sandbox": "ok", "settings": "ok", "backend": "fail"}
    assert words in found["backend"].detail


async def test_bundles_that_are_broken(project, tmp_path, bundle, server) -> None:
    broken = make_bundle(tmp_path / "broken", MANIFEST.replace("format: 1", "format: 9"))
    found = await examine(project, bundle, broken, tmp_path / "missing", base_url=server.api)
    assert [check.state for name, check in found.items() if name.startswith("bundle")] == ["ok", "fail", "fail"]
    assert found["server"].state == "skip"
    assert server.requests == []


async def test_a_plugin_that_does_not_exist(project, bundle, server) -> None:
    found = await examine(project, bundle, base_url=server.api, plugin="qwne")
    assert "did you mean" in found["settings of the bundles"].detail


@pytest.mark.parametrize("content", [None, b"", b"x" * 1000])
async def test_weights_that_are_missing_or_damaged(project, tmp_path, monkeypatch, content) -> None:
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    if content is not None:
        (tmp_path / "cache/models").mkdir(parents=True)
        (tmp_path / "cache/models" / SPEC.file).write_bytes(content)
    found = await examine(project)
    assert found["weights"].state == "fail"
    assert ("is not there" if content is None else "is damaged") in found["weights"].detail
    assert f"engine models pull {SPEC.name}" in found["weights"].detail
    assert found["server"].state == "fail"


async def test_the_sandbox_holds() -> None:
    assert "stopped all 4" in await sandbox()
    with pytest.raises(BrokenError, match="a script that does what it may was not stopped"):
        await sandbox({"does what it may": "1 + 1\n"})


async def test_what_nobody_foresaw_is_a_line_too() -> None:
    async def broken() -> str:
        raise ZeroDivisionError("two\nlines")

    check = await checked("x", broken)
    assert (check.state, check.detail) == ("fail", "ZeroDivisionError: two lines")


def test_the_command_line(project, bundle, server) -> None:
    well = command("doctor", bundle, "--base-url", server.api, cwd=project)
    assert (well.returncode, well.stderr) == (0, "")
    lines = well.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "skip") for line in lines)
    assert "ok constraint of note: ebnf is in force: a canary was held to it" in lines
    server.honours = ()
    ill = command("doctor", bundle, "--base-url", server.api, "--json", cwd=project)
    assert (ill.returncode, ill.stderr) == (1, "")
    (failed,) = [check for check in json.loads(ill.stdout) if check["state"] == "fail"]
    assert set(failed) == {"name", "state", "detail"}
    assert failed["name"] == "constraint of note"
    assert command("doctor", "--nonsense", cwd=project).returncode == 2


def test_control_characters_of_a_server_do_not_reach_the_terminal(project, bundle, server) -> None:
    server.models = [{"id": "m\x1b]0;owned\x07", "owned_by": "vllm"}]
    ran = command("doctor", bundle, "--base-url", server.api, cwd=project)
    assert "\x1b" not in ran.stdout
    assert "\x07" not in ran.stdout


@pytest.mark.parametrize("missing", ["openai", "xllamacpp", "aiohttp"])
def test_a_missing_extra_is_named(project, missing) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from engine.cli import main; main(['doctor'])"
    ran = subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "pip install 'bundle-engine[" in ran.stdout
    assert "Traceback" not in ran.stderr + ran.stdout


@pytest.mark.embedded
def test_the_doctor_on_the_embedded_model(project, weights) -> None:
    ran = command("doctor", ROOT / "bundles/docstring", "--json", cwd=project)
    assert ran.returncode == 0, ran.stdout
    found = {check["name"]: check for check in json.loads(ran.stdout)}
    assert found["weights"]["detail"].endswith("its sha256 is right")
    assert "llama.cpp" in found["server"]["detail"]
    assert found["adapter docs of docstring"]["state"] == "ok"
    assert found["constraint of docstring"]["detail"].startswith("ebnf is in force")
    everything = command("doctor", "--json", cwd=project)
    kinds = [check["name"] for check in json.loads(everything.stdout) if check["name"].startswith("constraint")]
    assert kinds == ["constraint ebnf", "constraint json_schema"]

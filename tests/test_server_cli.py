"""`engine server`, as a user runs it, with a script in vLLM's place."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lora_samples import write_peft
from processes import Mark, descendants, wait_until_gone
from projects import MANIFEST, make_bundle
from vllm_stub import make_stub

from engine.backends.peft_files import version_name
from engine.backends.vllm_server import healthy
from engine.backends.vllm_server_needs import BundleNeeds, server_needs
from engine.errors import ConfigError
from engine.models.base import Adapter


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    return make_stub(tmp_path / "stub")


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def engine(project: Path, stub: Path) -> Iterator:
    """Runs the command line in the project; ends what it left running."""
    environment = {**os.environ, "NO_COLOR": "1", "ENGINE_SERVER_START_PYTHON": str(stub)}

    def run(*argv: object, **more: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "engine", *map(str, argv)]
        given = {**environment, **more}
        return subprocess.run(words, cwd=project, env=given, capture_output=True, text=True, check=False, timeout=60)

    yield run
    assert run("server", "stop").returncode == 0


def state_of(project: Path) -> dict:
    return json.loads((project / ".engine/server.json").read_text())


def processes_of(project: Path) -> set[Mark]:
    identity = state_of(project)["identity"]
    return descendants(identity["guard"]) | {(identity["guard"], identity["born"].split("/")[1])}


def test_start_status_stop(engine, project, port) -> None:
    started = engine("server", "start", "--model", "some/model", "--port", port, STUB_DOES="children")
    assert started.returncode == 0, started.stderr
    url = f"http://127.0.0.1:{port}/v1"
    assert started.stdout == url + "\n"
    assert f"backend: {{kind: openai, base_url: '{url}', dialect: vllm}}" in started.stderr
    assert "VLLM_NO_USAGE_STATS=1" in started.stderr
    assert "--model some/model" in started.stderr
    assert healthy(url)
    processes = processes_of(project)
    assert len(processes) == 4
    shown = engine("server", "status")
    assert shown.returncode == 0
    assert re.match(rf"healthy: some/model at {url}\nadapters: none\npid \d+, up for \d+ s, log ", shown.stdout)
    told = json.loads(engine("server", "status", "--json").stdout)
    assert (told["healthy"], told["base_url"], told["pid"]) == (True, url, state_of(project)["identity"]["guard"])
    stopped = engine("server", "stop")
    assert (stopped.returncode, stopped.stdout) == (0, f"stopped some/model at {url}\n")
    assert wait_until_gone(processes) == set()
    assert not (project / ".engine/server.json").exists()
    assert "starting" in (project / ".engine/server.log").read_text()
    gone = engine("server", "status")
    assert (gone.returncode, gone.stdout) == (1, "no server runs here: engine server start\n")
    assert engine("server", "stop").stdout == "no server runs here\n"


def test_nothing_of_it_is_seen_by_git(engine, project, port) -> None:
    engine("server", "start", "--model", "m", "--port", port)
    listed = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=project, capture_output=True, text=True, check=True
    )
    assert ".engine" not in listed.stdout


def test_a_dry_run_prints_the_command_and_starts_nothing(engine, project, stub) -> None:
    shown = engine("server", "start", "--model", "some/model", "--dry-run", "--", "--max-num-seqs", "16")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=2 ")
    assert f" {stub} -m vllm.entrypoints.openai.api_server --model some/model --host 127.0.0.1 --port 8000 " in (
        shown.stdout
    )
    assert shown.stdout.endswith(" --max-num-seqs 16\n")
    assert not (project / ".engine").exists()


def test_the_same_again_says_that_it_runs_and_another_is_refused(engine, project, port) -> None:
    first = engine("server", "start", "--model", "m", "--port", port)
    before = state_of(project)
    again = engine("server", "start", "--model", "m", "--port", port)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert f"it runs already, pid {before['identity']['guard']}" in again.stderr
    other = engine("server", "start", "--model", "other", "--port", port)
    assert other.returncode == 2
    assert f"another server runs here, m at http://127.0.0.1:{port}/v1: engine server stop ends it" in other.stderr
    assert state_of(project) == before
    assert healthy(before["base_url"])


def test_two_starts_at_once_give_one_server(engine, project, port, stub) -> None:
    argv = [sys.executable, "-m", "engine", "server", "start", "--model", "m", "--port", str(port)]
    environment = {**os.environ, "ENGINE_SERVER_START_PYTHON": str(stub)}
    both = [
        subprocess.Popen(argv, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [(process.communicate(timeout=60), process.returncode) for process in both]
    assert [code for _, code in ends] == [0, 0], ends
    assert sum("it runs already" in errors for (_, errors), _ in ends) == 1
    assert healthy(state_of(project)["base_url"])


def test_a_failed_start_is_explained_and_leaves_nothing(engine, project, port) -> None:
    failed = engine("server", "start", "--model", "m", "--port", port, STUB_DOES="fails children")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "error: vLLM ended (exit status 1): ValueError: the weights have the wrong shape\n" in failed.stderr
    assert not (project / ".engine/server.json").exists()


def test_one_that_is_not_healthy_in_time_is_ended(engine, project, port) -> None:
    failed = engine("server", "start", "--model", "m", "--port", port, "--timeout", "0.5", STUB_DOES="hangs")
    assert failed.returncode == 2
    assert "vLLM was not healthy within 0.5 s" in failed.stderr
    assert not (project / ".engine/server.json").exists()


def test_a_crashed_server_does_not_count(engine, project, port) -> None:
    engine("server", "start", "--model", "m", "--port", port)
    processes = processes_of(project)
    os.kill(state_of(project)["identity"]["session"], signal.SIGKILL)
    assert wait_until_gone(processes) == set()
    assert engine("server", "status").returncode == 1
    again = engine("server", "start", "--model", "other", "--port", port)
    assert again.returncode == 0, again.stderr


def test_a_process_with_the_same_id_is_not_the_server(engine, project, port) -> None:
    engine("server", "start", "--model", "m", "--port", port)
    engine("server", "stop")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as stranger:
        identity = {"guard": stranger.pid, "born": "x/1", "session": stranger.pid, "session_born": "x/1"}
        state = {"identity": identity, "base_url": "http://127.0.0.1:1/v1", "model": "m", "command": [], "log": "l"}
        text = json.dumps({"format": 1, **state, "since": time.time(), "adapters": []})
        (project / ".engine/server.json").write_text(text)
        assert engine("server", "status").returncode == 1
        assert engine("server", "stop").stdout == "no server runs here\n"
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "identity": {}}', "null"])
def test_a_state_that_was_not_written_here_is_said(engine, project, text: str) -> None:
    (project / ".engine").mkdir()
    (project / ".engine/server.json").write_text(text)
    for verb in ("status", "stop"):
        said = engine("server", verb)
        assert said.returncode == 2
        assert "server.json cannot be read as the state of a server" in said.stderr
        assert "internal error" not in said.stderr
    (project / ".engine/server.json").unlink()


def test_in_the_foreground_ctrl_c_ends_it(engine, project, port, stub) -> None:
    argv = [sys.executable, "-m", "engine", "server", "start", "--model", "m", "--port", str(port), "--foreground"]
    environment = {**os.environ, "ENGINE_SERVER_START_PYTHON": str(stub), "STUB_DOES": "children"}
    with subprocess.Popen(
        argv, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == f"http://127.0.0.1:{port}/v1\n"
        assert engine("server", "status").returncode == 0
        processes = processes_of(project)
        shell.send_signal(signal.SIGINT)
        assert shell.wait(20) == 130
    assert wait_until_gone(processes) == set()
    assert not (project / ".engine/server.json").exists()


def test_a_killed_foreground_takes_the_server_along(engine, project, port, stub) -> None:
    argv = [sys.executable, "-m", "engine", "server", "start", "--model", "m", "--port", str(port), "--foreground"]
    environment = {**os.environ, "ENGINE_SERVER_START_PYTHON": str(stub), "STUB_DOES": "children"}
    with subprocess.Popen(argv, cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        processes = processes_of(project)
        shell.kill()
    assert wait_until_gone(processes) == set()
    assert engine("server", "status").returncode == 1


def test_ctrl_c_while_it_starts_ends_it(engine, project, port, stub) -> None:
    argv = [sys.executable, "-m", "engine", "server", "start", "--model", "m", "--port", str(port)]
    environment = {**os.environ, "ENGINE_SERVER_START_PYTHON": str(stub), "STUB_DOES": "hangs"}
    with subprocess.Popen(argv, cwd=project, env=environment, stderr=subprocess.PIPE, text=True) as shell:
        deadline = time.monotonic() + 20
        while not (project / ".engine/server.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        processes = processes_of(project)
        time.sleep(0.3)
        shell.send_signal(signal.SIGINT)
        assert shell.wait(20) == 130
    assert wait_until_gone(processes) == set()
    assert not (project / ".engine/server.json").exists()


def test_a_missing_vllm_is_said(engine) -> None:
    said = engine("server", "start", "--model", "m", "--python", sys.executable)
    assert said.returncode == 2
    assert f"error: {sys.executable} has no vLLM; install vLLM into an environment of its own" in said.stderr


# What bundles need


def bundle_with_adapters(folder: Path) -> tuple[Path, dict[str, Path]]:
    """A bundle with a PEFT adapter for its model, one for another model, one in GGUF and one on the server."""
    head = (
        "adapters:\n  fits: {path: fits, base: org/Some-Model}\n  other: {path: other, base: org/other-model}\n"
        "  small: {gguf: small.gguf}\n  there: {name: there}\nprompts:"
    )
    manifest = MANIFEST.replace("plugin: qwen,", "plugin: qwen, id: org/some-model,").replace("prompts:", head, 1)
    make_bundle(folder, manifest)
    folders = {}
    for name, rank in (("fits", 12), ("other", 200)):
        side = np.zeros((rank, 4), np.float32)
        folders[name] = write_peft(folder / name, {"model.layers.0.q_proj.lora_A.weight": side}, r=rank)
    (folder / "small.gguf").write_bytes(b"GGUF")
    return folder, folders


def test_the_flags_come_from_the_bundles(engine, project, tmp_path) -> None:
    bundle, folders = bundle_with_adapters(tmp_path / "note")
    shown = engine("server", "start", bundle, "--dry-run", "--project", project)
    assert shown.returncode == 0, shown.stderr
    from engine.bundle import load_bundle

    name = version_name(load_bundle(bundle).adapters["fits"])
    assert " --model org/some-model " in shown.stdout
    assert f" --enable-lora --max-lora-rank 16 --max-loras 1 --max-cpu-loras 4 --lora-modules {name}=" in shown.stdout
    assert shown.stdout.rstrip().endswith(str(folders["fits"].resolve()))
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in shown.stdout
    notes = [line.partition(": ")[2] for line in shown.stderr.splitlines() if line.startswith("note: ")]
    assert [line.split(" is left out: ")[0] for line in notes] == [
        f"adapter {name} of bundle note" for name in ("other", "small", "there")
    ]


def test_without_a_model_it_asks_for_one(engine, bundle) -> None:
    said = engine("server", "start", bundle, "--dry-run")
    assert said.returncode == 2
    assert "no bundle names a model: choose the one to serve with --model" in said.stderr


def test_a_broken_bundle_is_reported(engine, bundle) -> None:
    (bundle / "bundle.yaml").write_text("format: 1\n")
    said = engine("server", "start", bundle, "--model", "m", "--dry-run")
    assert said.returncode == 1
    assert "name" in said.stderr


def test_bundles_of_two_models_cannot_share_a_server() -> None:
    bundles = [BundleNeeds("a", "m1"), BundleNeeds("b", "m2")]
    with pytest.raises(ConfigError, match=r"the bundles name different models \(m1, m2\): choose"):
        server_needs(bundles)
    needs = server_needs(bundles, "m1")
    assert needs.model == "m1"
    assert needs.notes == ("bundle b names the model m2, which m1 is not: run it with --model",)


def test_a_folder_is_served_under_the_name_that_the_bundle_uses(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    folder = str(tmp_path / "weights")
    assert server_needs([BundleNeeds("a", "org/m")], folder).served_name == "org/m"
    assert server_needs([BundleNeeds("a")], folder).served_name == "weights"
    assert server_needs([BundleNeeds("a")], folder, "given").served_name == "given"
    assert server_needs([BundleNeeds("a", "org/m")]).served_name is None


def test_two_bundles_with_an_adapter_of_the_same_name_get_both(tmp_path: Path) -> None:
    folders = [
        write_peft(tmp_path / str(seed), {"x.lora_A.weight": np.full((4, 4), seed, np.float32)}) for seed in (1, 2)
    ]
    bundles = [BundleNeeds(str(folder), "m", [Adapter("docs", peft=folder)]) for folder in folders]
    adapters = server_needs([*bundles, bundles[0]]).adapters
    assert sorted(adapters.values()) == folders
    assert all(re.fullmatch("docs-[0-9a-f]{12}", name) for name in adapters)


@pytest.mark.parametrize("extra", [["--tool-call-parser", "xlam"], ["--a", "--tool-call-parser=xlam"]])
def test_a_bundle_with_the_tools_of_the_api_needs_a_parser(extra: list[str]) -> None:
    bundles = [BundleNeeds("a", "acme/foo", api_tools=True)]
    with pytest.raises(ConfigError, match="--tool-call-parser"):
        server_needs(bundles)
    assert server_needs(bundles, extra=extra).tool_parser == "xlam"
    assert server_needs([BundleNeeds("a", "Qwen/Qwen2.5-3B", api_tools=True)]).tool_parser == "hermes"
    assert server_needs([BundleNeeds("a", "Qwen/Qwen2.5-3B")]).tool_parser is None

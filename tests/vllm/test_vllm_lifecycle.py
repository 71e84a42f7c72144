"""The life of a real vLLM: what it has, how a start that fails is explained, that nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from make_environment import Environment
from processes import Mark, descendants, wait_until_gone
from vllm_parts import MODEL, QUESTION, ask

from engine.backends import OpenAIBackend, VllmServer
from engine.backends.vllm_server import healthy
from engine.errors import BackendUnavailable

SENTENCES = {"red": "The red fox answers here.", "blue": "The blue whale answers here."}
ROOT = Path(__file__).parent.parent.parent


async def test_the_base_and_each_adapter_answer_with_their_own_sentence(vllm_server: VllmServer) -> None:
    said = {name: await ask(vllm_server, QUESTION, model=name) for name in (None, "red", "blue", None)}
    assert {name: said[name] for name in SENTENCES} == SENTENCES
    assert said[None] not in SENTENCES.values()


async def test_the_server_says_what_it_has(backend: OpenAIBackend) -> None:
    info = await backend.server()
    assert info.default_model == MODEL
    assert {row.id for row in info.models if row.parent == info.default_model} >= set(SENTENCES)


def marks(guard: int, born: str) -> set[Mark]:
    return descendants(guard) | {(guard, born.split("/")[1])}


def test_what_cannot_start_is_explained_by_its_cause(vllm_environment: Environment, tmp_path: Path) -> None:
    """All at once, since each needs some seconds to import vLLM: a wrong option, a folder without a model."""
    (tmp_path / "empty").mkdir()
    cases = {
        "unrecognized arguments: --no-such-option": VllmServer(
            vllm_environment.model, port=0, python=vllm_environment.python, extra=["--no-such-option"]
        ),
        "Invalid repository ID or local directory specified": VllmServer(
            tmp_path / "empty", port=0, python=vllm_environment.python
        ),
    }
    for server in cases.values():
        server.start()
    started = [server.identity for server in cases.values()]
    processes = [marks(one.guard, one.born) for one in started if one is not None]
    for cause, server in cases.items():
        with pytest.raises(BackendUnavailable) as caught:
            server.wait_until_healthy(120)
        first, *rest = str(caught.value).splitlines()
        assert first.startswith("vLLM ended (exit status ")
        assert cause in first
        assert rest[0] == "the end of its log:"
        assert len(rest) <= 13
    assert all(wait_until_gone(each) == set() for each in processes)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A copy of the sample project, in git."""
    project = tmp_path / "shop"
    subprocess.run(["cp", "-r", str(ROOT / "tests/samples/shop"), str(project)], check=True)
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    return project


def engine(*argv: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    words = [sys.executable, "-m", "engine", *map(str, argv)]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_from_engine_server_start_to_an_accepted_change(vllm_environment: Environment, shop: Path) -> None:
    """A server of its own, with the flags that the docstring bundle needs, as the documentation shows it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    bundle = ROOT / "bundles/docstring"
    options = ["--model", vllm_environment.model, "--served-name", MODEL, "--python", vllm_environment.python]
    options += ["--port", port, "--max-model-len", 2048]
    started = engine("server", "start", bundle, *options, "--", "--enforce-eager", "--dtype", "bfloat16", cwd=shop)
    try:
        assert started.returncode == 0, started.stderr
        url = started.stdout.strip()
        (shop / "engine.yaml").write_text(started.stderr.strip().splitlines()[-1] + "\n")
        identity = json.loads((shop / ".engine/server.json").read_text())["identity"]
        processes = marks(identity["guard"], identity["born"])
        status = engine("server", "status", "--json", cwd=shop)
        assert status.returncode == 0
        (adapter,) = json.loads(status.stdout)["adapters"]
        assert adapter.startswith("docs-")
        doctor = engine("doctor", bundle, cwd=shop)
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        ran = engine("run", bundle, "--target", ".", "--limit", 3, "--param", "strict=never", "--json", cwd=shop)
        assert ran.returncode == 0, ran.stderr
        events = [json.loads(line) for line in ran.stdout.splitlines()]
        answered = [event for event in events if event["type"] == "model:responded"]
        assert {(event["adapter"], event["model"]) for event in answered} == {("docs", adapter)}
        assert [event["outcome"] for event in events if event["type"] == "task:finished"] == ["finished"] * 3
        assert json.loads(engine("server", "status", "--json", cwd=shop).stdout)["adapters"] == [adapter]
        assert engine("accept", cwd=shop).returncode == 0
        changed = subprocess.run(["grep", "-rc", '"""', "."], cwd=shop, capture_output=True, text=True, check=False)
        assert changed.stdout
        assert healthy(url)
        os.kill(identity["guard"], signal.SIGKILL)
        stopped = engine("server", "stop", cwd=shop)
        assert stopped.returncode == 0
        assert wait_until_gone(processes) == set()
        assert not healthy(url)
    finally:
        engine("server", "stop", cwd=shop)

"""Real model servers for the benchmarks that need one: llama.cpp as the embedded runtime starts it, and vLLM."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import engine.backends

VLLM_URL = "ENGINE_BENCHMARK_VLLM"
_MODEL = "SmolLM2-135M-Instruct"
_CONTEXT = 2048


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        name: What the rows call it.
        url: Its API's URL.
        dialect: The engine's name of its software.
        model: The model that it serves.
        key: Its API key, if it wants one.
        about: What the notes say of it.
    """

    name: str
    url: str
    dialect: str
    model: str
    key: str | None = None
    about: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})


@contextlib.contextmanager
def llama() -> Iterator[Server]:
    """Start the embedded runtime's own child process with its default settings."""
    from engine.backends import EmbeddedBackend, pull, resolve_weights

    pull()
    settings = EmbeddedBackend(resolve_weights())._supervisor.settings
    key = secrets.token_urlsafe(16)
    child = Path(engine.backends.__file__).with_name("llama_child.py")
    process = subprocess.Popen(
        [sys.executable, "-P", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**asdict(settings), "key": key, "parent": os.getpid()}).encode() + b"\n")
        process.stdin.flush()
        said = json.loads(process.stdout.readline() or "{}")
        if "address" not in said:
            raise RuntimeError(f"the embedded model did not start: {said}")
        about = f"{settings.name}, {settings.threads} thread(s), {settings.parallel} slots"
        yield Server("llama.cpp", f"{said['address']}/v1", "llama_cpp", settings.name, key, about)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def vllm() -> Iterator[Server | str]:
    """Give the vLLM that ENGINE_BENCHMARK_VLLM names (its API's URL), else one of the suite's environment.

    Where there is none, the reason is given instead.
    """
    url = os.environ.get(VLLM_URL)
    if url:
        model = _served_model(url)
        yield Server("vLLM", url, "vllm", model, about=model)
        return
    from engine.errors import EngineError

    try:
        server = _suite_server()
    except (EngineError, OSError, RuntimeError, ImportError) as error:
        yield f"left out: {str(error).splitlines()[0]}"
        return
    with server:
        yield Server("vLLM", server.base_url, "vllm", _MODEL, about=_MODEL)


def _suite_server() -> Any:
    from engine.backends import VllmServer

    # The scripts of that folder are no package: its tests import them by their plain names.
    sys.path.insert(0, str(Path(__file__).parents[1] / "vllm"))
    from make_environment import TEMPLATE, make_model, make_python, unsupported

    reason = unsupported()
    if reason:
        raise RuntimeError(reason)
    python = make_python()
    return VllmServer(
        make_model(python),
        port=0,
        served_name=_MODEL,
        max_model_len=_CONTEXT,
        chat_template=TEMPLATE,
        dtype="bfloat16",
        extra=["--enforce-eager", "--max-num-seqs", "16"],
        python=python,
    )


def _served_model(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/models", timeout=20) as answer:
        return str(json.load(answer)["data"][0]["id"])

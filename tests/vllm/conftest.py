"""A real vLLM, one for the whole suite, with a model and two adapters that answer recognisably."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from make_environment import TEMPLATE, Environment, make_environment, unsupported
from vllm_parts import MODEL

from engine.backends import OpenAIBackend, VllmServer

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; the first of them waits for the environment."""
    reason = unsupported()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("vllm")
            item.add_marker(pytest.mark.timeout(1200))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def vllm_environment() -> Environment:
    """vLLM's own environment, made on first use."""
    return make_environment()


@pytest.fixture(scope="session")
def vllm_model(vllm_environment: Environment) -> Path:
    """SmolLM2-135M-Instruct as vLLM reads it."""
    return vllm_environment.model


@pytest.fixture(scope="session")
def tiny_adapters(vllm_environment: Environment) -> dict[str, Path]:
    """Two PEFT folders, `red` and `blue`; rank 8 on q_proj and v_proj."""
    return vllm_environment.adapters


@pytest.fixture(scope="session")
def vllm_server(vllm_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """A running vLLM: the adapters `red` and `blue`, two slots, ranks up to 16, tool calls of the API."""
    server = VllmServer(
        vllm_environment.model,
        port=0,
        adapters=vllm_environment.adapters,
        served_name=MODEL,
        max_lora_rank=16,
        max_loras=2,
        max_model_len=4096,
        chat_template=TEMPLATE,
        dtype="bfloat16",
        tool_parser="hermes",
        extra=["--enforce-eager", "--max-num-seqs", "16"],
        python=vllm_environment.python,
        log=tmp_path_factory.mktemp("vllm") / "server.log",
    )
    with server:
        yield server


@pytest.fixture
async def backend(vllm_server: VllmServer) -> AsyncIterator[OpenAIBackend]:
    """The engine's line to the server."""
    backend = OpenAIBackend(vllm_server.base_url, label="the test's vLLM", retries=0)
    yield backend
    await backend.aclose()

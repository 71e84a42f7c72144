"""VllmServer with a real vLLM: what it starts answers, what it cannot start is explained, nothing is left behind."""

from __future__ import annotations

from vllm_parts import QUESTION, ask

from engine.backends import OpenAIBackend, VllmServer

SENTENCES = {"red": "The red fox answers here.", "blue": "The blue whale answers here."}


async def test_the_base_and_each_adapter_answer_with_their_own_sentence(vllm_server: VllmServer) -> None:
    said = {name: await ask(vllm_server, QUESTION, model=name) for name in (None, "red", "blue", None)}
    assert {name: said[name] for name in SENTENCES} == SENTENCES
    assert said[None] not in SENTENCES.values()


async def test_the_server_says_what_it_has(vllm_server: VllmServer) -> None:
    backend = OpenAIBackend(vllm_server.base_url)
    try:
        info = await backend.server()
    finally:
        await backend.aclose()
    assert info.default_model == "SmolLM2-135M-Instruct"
    assert {row.id for row in info.models if row.parent == info.default_model} >= set(SENTENCES)

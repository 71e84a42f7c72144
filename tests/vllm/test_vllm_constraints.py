"""What a real vLLM enforces, and what it answers with 200 and ignores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from vllm_parts import QUESTION, ask, chat, drain, post

from engine.backends import DIALECTS, CompletionRequest, OpenAIBackend, VllmServer, in_force
from engine.errors import BackendRejected
from engine.grammar import Constraint
from engine.manifest.bundle_model import Sampling
from engine.models.base import Adapter

KINDS = DIALECTS["vllm"].kinds
GRAMMAR = 'root ::= "zebra"'


async def test_the_server_is_recognised(backend: OpenAIBackend) -> None:
    assert (await backend.software()).startswith("vLLM 0.")
    assert await backend.kinds() == KINDS == ("ebnf", "structural_tag", "json_schema", "strict_tools")


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_is_in_force(backend: OpenAIBackend, kind) -> None:
    shown = await in_force(backend, kind)
    assert shown.in_force, shown


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_is_in_force_with_an_adapter_too(
    backend: OpenAIBackend, tiny_adapters: dict[str, Path], kind
) -> None:
    shown = await in_force(backend, kind, adapter=Adapter("red", peft=tiny_adapters["red"]))
    assert shown.in_force, shown


@pytest.mark.parametrize(("dialect", "kind"), [("llama_cpp", "ebnf"), ("llama_cpp", "json_schema"), ("sglang", "ebnf")])
async def test_a_constraint_in_another_servers_words_is_ignored_and_found_out(
    vllm_server: VllmServer, dialect: str, kind
) -> None:
    backend = OpenAIBackend(vllm_server.base_url, dialect=dialect, retries=0)
    try:
        shown = await in_force(backend, kind)
    finally:
        await backend.aclose()
    assert not shown.in_force
    assert not shown.refused
    assert "was allowed" in shown.detail


# The traps behind it, past the engine: where one of these fails, vLLM has changed.


@pytest.mark.parametrize(
    "fields",
    [
        {"guided_grammar": GRAMMAR},
        {"guided_choice": ["zebra"]},
        {"structured_output": {"grammar": GRAMMAR}},
        {"structured_outputs": {"gramar": GRAMMAR, "choice": None}},
        {"grammar": GRAMMAR},
    ],
    ids=["guided_grammar", "guided_choice", "misspelt field", "misspelt key", "of llama.cpp"],
)
async def test_what_it_does_not_know_is_ignored_without_a_word(vllm_server: VllmServer, fields: dict) -> None:
    answer = await post(vllm_server, "/v1/chat/completions", {**chat(QUESTION), **fields})
    if answer.status_code == 200:
        assert answer.json()["choices"][0]["message"]["content"] != "zebra"
    else:
        assert answer.status_code == 400


async def test_a_structural_tag_is_a_text_there_and_an_object_in_response_format(vllm_server: VllmServer) -> None:
    tag = {"type": "structural_tag", "format": {"type": "const_string", "value": "zebra"}}
    as_text = {"structured_outputs": {"structural_tag": json.dumps(tag)}}
    assert await ask(vllm_server, QUESTION, **as_text) == "zebra"
    assert await ask(vllm_server, QUESTION, response_format=tag) == "zebra"
    as_object = {**chat(QUESTION), "structured_outputs": {"structural_tag": tag}}
    assert (await post(vllm_server, "/v1/chat/completions", as_object)).status_code == 400


async def test_two_constraints_at_once_are_refused(vllm_server: VllmServer) -> None:
    both = {**chat(QUESTION), "structured_outputs": {"grammar": GRAMMAR, "choice": ["zebra"]}}
    assert (await post(vllm_server, "/v1/chat/completions", both)).status_code == 400


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint("ebnf", "root ::= ("),
        Constraint("ebnf", "start ::= [a-z]"),
        Constraint("structural_tag", {"type": "structural_tag", "format": {"type": "nothing"}}),
        Constraint("json_schema", {"type": "nothing"}),
    ],
    ids=["syntax", "no root", "tag", "schema"],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_bad_constraint_is_refused_also_in_a_stream(
    backend: OpenAIBackend, constraint: Constraint, streamed: bool
) -> None:
    request = CompletionRequest(chat(QUESTION)["messages"], constraint=constraint, sampling=Sampling(max_tokens=8))
    with pytest.raises(BackendRejected, match="refused the request, which carried a grammar"):
        await (drain(backend.stream(request)) if streamed else backend.complete(request))
    assert await backend.count_tokens(chat(QUESTION)["messages"]) > 3

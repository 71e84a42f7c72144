"""The openai backend against a scripted server: dialects, retries, and messages that say what to do."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_server import ScriptedServer, breaks_off, fails, ok, raw, scripted_server, slow

from engine.backends import CompletionRequest, OpenAIBackend
from engine.backends.retry import retry_after
from engine.errors import BackendRejected, BackendUnavailable, ConfigError, ContextLengthError
from engine.grammar.constraint import Constraint
from engine.manifest.bundle_model import Sampling
from engine.messages import Usage
from engine.models.base import Adapter

MESSAGES = [{"role": "user", "content": "hi"}]
ASK = CompletionRequest(MESSAGES)
EBNF = Constraint("ebnf", 'root ::= "x"')


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        yield script


async def ask(server: ScriptedServer, request: CompletionRequest = ASK, **settings: Any) -> Any:
    backend = OpenAIBackend(settings.pop("base_url", server.api), **settings)
    try:
        return await backend.complete(request)
    finally:
        await backend.aclose()


async def test_a_completion(server: ScriptedServer) -> None:
    server.chat = [ok("hello", message={"tool_calls": [{"id": "1", "function": {"name": "f"}}]})]
    sampling = Sampling(temperature=0.5, top_p=0.9, max_tokens=9, seed=7, stop=("a",))
    done = await ask(server, CompletionRequest(MESSAGES, sampling=sampling))
    assert (done.text, done.finish_reason, done.model) == ("hello", "stop", "m")
    assert done.usage == Usage(7, 3, 5)
    assert done.tool_calls == ({"id": "1", "function": {"name": "f"}},)
    assert server.bodies == [
        {
            "model": "m",
            "messages": MESSAGES,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 9,
            "seed": 7,
            "stop": ["a"],
        }
    ]


@pytest.mark.parametrize(
    ("owner", "constraint", "expected"),
    [
        ("vllm", EBNF, {"structured_outputs": {"grammar": 'root ::= "x"'}}),
        ("vllm", Constraint("json_schema", {"type": "null"}), {"structured_outputs": {"json": {"type": "null"}}}),
        ("vllm", Constraint("structural_tag", {"a": 1}), {"structured_outputs": {"structural_tag": '{"a": 1}'}}),
        ("vllm", Constraint("structural_tag", '{"a":1}'), {"structured_outputs": {"structural_tag": '{"a":1}'}}),
        ("llamacpp", EBNF, {"grammar": 'root ::= "x"'}),
        ("llamacpp", Constraint("json_schema", {"type": "null"}), {"json_schema": {"type": "null"}}),
    ],
)
async def test_the_server_is_asked_which_dialect(
    server: ScriptedServer, owner: str, constraint: Constraint, expected: dict[str, Any]
) -> None:
    server.models = [{"id": "m", "owned_by": owner}]
    server.routes["/lora-adapters"] = []
    await ask(server, CompletionRequest(MESSAGES, constraint=constraint))
    plain = {"model", "messages", "temperature", "top_p", "max_tokens"}
    assert {key: value for key, value in server.bodies[0].items() if key not in plain} == expected


async def test_an_unknown_server_gets_no_constraint_on_trust(server: ScriptedServer) -> None:
    server.models = [{"id": "m", "owned_by": "somebody"}]
    with pytest.raises(BackendRejected, match=r"backend\.dialect to vllm, llama_cpp, sglang or openai"):
        await ask(server, CompletionRequest(MESSAGES, constraint=EBNF))
    assert server.bodies == []
    assert (await ask(server)).text == "hello"
    await ask(server, CompletionRequest(MESSAGES, constraint=EBNF), dialect="vllm")
    assert server.bodies[-1]["structured_outputs"]


async def test_a_structural_tag_is_refused_for_llama_cpp(server: ScriptedServer) -> None:
    request = CompletionRequest(MESSAGES, constraint=Constraint("structural_tag", "{}"))
    with pytest.raises(BackendRejected, match=r"grammar\.mode"):
        await ask(server, request, dialect="llama_cpp")


async def test_vllm_adapters_are_models(server: ScriptedServer) -> None:
    server.models = [{"id": "base", "owned_by": "vllm"}, {"id": "fix", "owned_by": "vllm", "parent": "base"}]
    done = await ask(server, CompletionRequest(MESSAGES, adapter=Adapter("fixer", served_name="fix")))
    assert (done.adapter, server.bodies[-1]["model"]) == ("fixer", "fix")
    with pytest.raises(BackendRejected, match=r"no adapter 'other' \(it has: fix\).*adapters\.other\.path"):
        await ask(server, CompletionRequest(MESSAGES, adapter=Adapter("other")))
    with pytest.raises(BackendRejected, match=r"no adapter 'gone' \(it has: fix\)"):
        await ask(server, CompletionRequest(MESSAGES, adapter=Adapter("x", served_name="gone", base="org/base")))
    done = await ask(server, CompletionRequest(MESSAGES, adapter=Adapter("x", served_name="gone", base="org/else")))
    assert (done.adapter, server.bodies[-1]["model"]) == (None, "base")


async def test_accepts_knows_after_asking(server: ScriptedServer) -> None:
    server.models = [{"id": "base", "owned_by": "vllm"}, {"id": "fix", "owned_by": "vllm", "parent": "base"}]
    backend = OpenAIBackend(server.api)
    elsewhere = Adapter("b", served_name="gone", base="org/else")
    assert backend.accepts(elsewhere)
    assert await backend.model_name() == "base"
    assert backend.accepts(Adapter("a", served_name="fix", base="org/else"))
    assert backend.accepts(Adapter("fix"))
    assert backend.accepts(Adapter("b", served_name="gone", base="org/base"))
    assert not backend.accepts(elsewhere)
    await backend.aclose()


async def test_llama_cpp_gets_the_scale_of_every_adapter(server: ScriptedServer) -> None:
    server.models = [{"id": "m", "owned_by": "llamacpp"}]
    server.routes["/lora-adapters"] = [{"id": 1, "path": "/b/two.gguf"}, {"id": 0, "path": "/a/one.gguf"}]
    await ask(server, CompletionRequest(MESSAGES, adapter=Adapter("x", served_name="two")))
    assert server.bodies[-1]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]
    await ask(server, ASK)
    assert server.bodies[-1]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]


@pytest.mark.parametrize("answer", [{}, None, {"error": "no"}, ["one"], [{"id": 0}], [{"id": None, "path": "/a"}]])
async def test_adapters_of_another_shape_are_a_malformed_reply(server: ScriptedServer, answer: Any) -> None:
    server.models = [{"id": "m", "owned_by": "llamacpp"}]
    server.routes["/lora-adapters"] = answer
    with pytest.raises(BackendUnavailable, match="/lora-adapters with something else than adapters"):
        await ask(server, retries=0)
    assert not server.bodies


@pytest.mark.parametrize(
    "fault",
    [fails(500), fails(503), fails(429), breaks_off(), breaks_off(0), raw(b"{not json"), raw(b"[]"), raw(b"{}")],
    ids=["500", "503", "429", "mid-body", "disconnect", "broken-json", "array", "no-choices"],
)
async def test_a_passing_fault_is_retried(server: ScriptedServer, fault: Any) -> None:
    server.chat = [fault, ok("at last")]
    assert (await ask(server)).text == "at last"
    assert len(server.bodies) == 2


async def test_a_timeout_is_retried(server: ScriptedServer) -> None:
    server.chat = [slow(2), ok("at last")]
    assert (await ask(server, timeout=0.5)).text == "at last"


async def test_retry_after_is_honoured(server: ScriptedServer) -> None:
    server.chat = [fails(429, headers={"Retry-After": "1"})]
    started = time.monotonic()
    await ask(server)
    assert time.monotonic() - started >= 1


async def test_a_retry_after_beyond_patience_ends_at_once(server: ScriptedServer) -> None:
    server.chat = [fails(429, "slow down", headers={"Retry-After": "3600"})]
    with pytest.raises(BackendUnavailable, match="answered 429: slow down"):
        await ask(server)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "2.5"}, 2.5), ({"retry-after-ms": "1500"}, 1.5), ({"retry-after": "soon"}, None), ({}, None)],
)
def test_reading_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_reading_a_retry_after_date() -> None:
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) < 0


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (fails(500, "boom"), BackendUnavailable, r"answered 500: boom \(2 attempts in"),
        (breaks_off(), BackendUnavailable, r"broke off in the middle of an answer.*2 attempts"),
        (breaks_off(0), BackendUnavailable, r"broke off in the middle of an answer.*2 attempts"),
        (raw(b"<html>"), BackendUnavailable, r"not JSON.*OpenAI-compatible server"),
        (fails(401, "bad key"), BackendRejected, r"refused the key \(401\): bad key; set backend\.api_key_env"),
        (fails(404, "no such"), BackendRejected, r"has no model 'm'; it has: m"),
        (fails(400, "bad grammar"), BackendRejected, r"carried a grammar \(400\): bad grammar"),
        (fails(418, "teapot"), BackendRejected, r"refused the request \(418\): teapot"),
        (fails(429, "pay", code="insufficient_quota"), BackendRejected, "429.*pay"),
        (
            fails(400, "too long", type="exceed_context_size_error", n_prompt_tokens=5031, n_ctx=4096),
            ContextLengthError,
            r"5031 tokens, the context holds 4096.*Shorten the prompt",
        ),
        (
            fails(400, "This model's maximum context length is 2048 tokens, you gave 3000", param="input_tokens"),
            ContextLengthError,
            "2048 tokens, you gave 3000",
        ),
    ],
)
async def test_what_a_failure_says(server: ScriptedServer, fault: Any, error: type[Exception], words: str) -> None:
    server.chat = [fault, fault]
    with pytest.raises(error, match=words) as caught:
        await ask(server, CompletionRequest(MESSAGES, constraint=EBNF), retries=1)
    assert server.api in str(caught.value)


async def test_a_refused_connection() -> None:
    with scripted_server() as gone:
        pass
    with pytest.raises(BackendUnavailable, match="refused the connection: is the server running there"):
        await ask(gone, retries=1)


async def test_many_requests_share_the_first_question(server: ScriptedServer) -> None:
    backend = OpenAIBackend(server.api)
    await asyncio.gather(*(backend.complete(ASK) for _ in range(20)))
    await backend.aclose()
    assert [request.path for request in server.requests].count("/v1/models") == 1


async def test_requests_on_a_dead_server_fail_together() -> None:
    with scripted_server() as gone:
        pass
    backend = OpenAIBackend(gone.api, retries=1)
    async with asyncio.timeout(15):  # one after the other they would take longer
        results = await asyncio.gather(*(backend.complete(ASK) for _ in range(20)), return_exceptions=True)
    await backend.aclose()
    assert all(isinstance(result, BackendUnavailable) for result in results)


async def test_the_key_is_sent_and_never_shown(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.chat = [fails(401, "Incorrect API key provided: sk-secret-1")]
    with pytest.raises(BackendRejected) as caught:
        await ask(server, api_key="sk-secret-1")
    assert server.requests[-1].headers["authorization"] == "Bearer sk-secret-1"
    assert "sk-secret-1" not in str(caught.value) + caplog.text


async def test_the_environment_s_key_does_not_travel(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    await ask(server)
    assert all("sk-mine" not in str(request.headers) for request in server.requests)


async def test_a_proxy_of_the_environment_is_ignored_for_a_server_of_ours(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    assert (await ask(server, label="ours")).text == "hello"
    with pytest.raises(BackendUnavailable):
        await ask(server, retries=0)


async def test_text_that_cannot_be_sent(server: ScriptedServer) -> None:
    with pytest.raises(BackendRejected, match="lone surrogate"):
        await ask(server, CompletionRequest([{"role": "user", "content": "a\ud800b"}]))


@pytest.mark.parametrize("missing", ["openai", "aiohttp"])
async def test_without_the_sdk_the_extra_is_named(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """In a fresh interpreter, as the SDK looks for aiohttp only once."""
    program = (
        "import asyncio, sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from engine.backends import CompletionRequest, OpenAIBackend\n"
        "from engine.errors import MissingExtraError\n"
        "try:\n"
        "    asyncio.run(OpenAIBackend(sys.argv[1]).complete(CompletionRequest([])))\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, server.api, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert b"needs the extra 'backend': pip install" in said


async def test_urls(server: ScriptedServer) -> None:
    assert (await ask(server, base_url=server.url)).text == "hello"
    assert (await ask(server, base_url=server.api + "/")).text == "hello"
    assert OpenAIBackend("http://me:pw@host/v1").url == "http://host/v1"
    for bad in ("localhost:8000", "ftp://x/v1", "http://"):
        with pytest.raises(ConfigError, match=r"backend\.base_url"):
            OpenAIBackend(bad)
    with pytest.raises(BackendRejected, match=r"/models \(404\).*/v1"):
        await ask(server, base_url=server.url + "/wrong")
    with pytest.raises(ConfigError, match="dialect 'vlm' is unknown"):
        OpenAIBackend(server.api, dialect="vlm")


async def test_cancellation_leaves_the_backend_usable(server: ScriptedServer) -> None:
    server.chat = [slow(5)]
    backend = OpenAIBackend(server.api)
    task = asyncio.create_task(backend.complete(ASK))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await backend.complete(ASK)).text == "hello"
    await backend.aclose()
    assert (await backend.complete(ASK)).text == "hello"
    await backend.aclose()


async def test_counting_tokens(server: ScriptedServer) -> None:
    server.routes |= {"/tokenize": {"count": 31}}
    backend = OpenAIBackend(server.api)
    assert await backend.count_tokens(MESSAGES) == 31
    assert server.requests[-1].body == {"model": "m", "messages": MESSAGES}
    await backend.aclose()
    server.routes |= {"/tokenize": {"tokens": [1, 2]}, "/apply-template": {"prompt": "<hi>"}, "/lora-adapters": []}
    backend = OpenAIBackend(server.api, dialect="llama_cpp")
    assert await backend.count_tokens(MESSAGES) == 2
    assert server.requests[-1].body["content"] == "<hi>"
    await backend.aclose()
    server.routes, server.models = {}, [{"id": "m", "owned_by": "somebody"}]
    for dialect in ("auto", "vllm"):
        backend = OpenAIBackend(server.api, dialect=dialect)
        assert await backend.count_tokens(MESSAGES) is None
        await backend.aclose()

"""Adapters at servers: loaded under names that hold their content, and each refusal explained; scripted for the faults.

The answers of the servers are vLLM's 0.32, as a running one gave them, and SGLang's, as its source has them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lora_samples import write_peft
from scripted_server import Reply, ScriptedServer, fails, ok, raw

from engine.backends import Completion, CompletionRequest, OpenAIBackend
from engine.backends.peft_files import read_peft, version_name
from engine.errors import BackendRejected, BackendUnavailable, BundleError, EngineError
from engine.models import Adapter

MESSAGES = [{"role": "user", "content": "hi"}]
NAME = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
WRAPPED = (
    "Call to add_lora method failed: Worker failed with error '{}', "
    "please check the stack trace above for the root cause"
)


def tensors(rank: int = 4, layers: int = 2) -> dict[str, np.ndarray]:
    shapes = {"A": (rank, 8), "B": (8, rank)}
    return {NAME.format(i, side): np.ones(shape) for i in range(layers) for side, shape in shapes.items()}


@pytest.fixture
def docs(tmp_path: Path) -> Adapter:
    """An adapter of rank 4 on two layers, shipped as a PEFT folder."""
    return Adapter("docs", peft=write_peft(tmp_path / "docs", tensors()), base="org/base")


@dataclass
class LoraServer:
    """What a server with adapters does, on top of a scripted one.

    Attributes:
        script: The server.
        refusals: What the endpoint that loads does instead, in turn.
        loads: The bodies of what was loaded.
        unloads: The names of what was unloaded.
    """

    script: ScriptedServer
    prefix: str = "/v1"
    refusals: list[Reply] = field(default_factory=list)
    loads: list[dict[str, str]] = field(default_factory=list)
    unloads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.script.models = [{"id": "base", "owned_by": "vllm", "root": "/models/base"}]
        self.script.routes[f"{self.prefix}/load_lora_adapter"] = self.load
        self.script.routes[f"{self.prefix}/unload_lora_adapter"] = self.unload

    def add(self, name: str, root: object = "/elsewhere") -> None:
        self.script.models.append({"id": name, "owned_by": "vllm", "root": str(root), "parent": "base"})

    def load(self, body: dict[str, str]) -> Reply:
        if self.refusals:
            return self.refusals.pop(0)
        self.loads.append(body)
        if any(row["id"] == body["lora_name"] for row in self.script.models):
            return fails(400, f"The lora adapter '{body['lora_name']}' has already been loaded. If you want to load …")
        self.add(body["lora_name"], body["lora_path"])
        return raw(f"Success: LoRA adapter '{body['lora_name']}' added successfully.".encode())

    def unload(self, body: dict[str, str]) -> Reply:
        self.unloads.append(body["lora_name"])
        kept = [row for row in self.script.models if row["id"] != body["lora_name"]]
        gone = len(kept) == len(self.script.models)
        self.script.models[:] = kept
        return fails(404, "The lora adapter cannot be found.") if gone else raw(b"Success: removed.")

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.script.models]


@pytest.fixture
def lora(server: ScriptedServer) -> LoraServer:
    server.text = "hello"
    return LoraServer(server)


@pytest.fixture
async def backend(server: ScriptedServer, lora: LoraServer) -> AsyncIterator[OpenAIBackend]:
    backend = OpenAIBackend(server.api, retries=0)
    yield backend
    await backend.aclose()


async def ask(backend: OpenAIBackend, adapter: Adapter | None = None, model: str | None = None) -> Completion:
    return await backend.complete(CompletionRequest(MESSAGES, model=model, adapter=adapter))


async def test_an_adapter_is_loaded_once_under_its_content(
    backend: OpenAIBackend, lora: LoraServer, docs: Adapter
) -> None:
    done = await asyncio.gather(*(ask(backend, docs) for _ in range(8)))
    name = version_name(docs)
    assert re.fullmatch(r"docs-[0-9a-f]{12}", name)
    assert lora.loads == [{"lora_name": name, "lora_path": str(docs.peft)}]
    assert {one.adapter for one in done} == {"docs"}
    assert {body["model"] for body in lora.script.bodies} == {name}
    assert (await ask(backend)).adapter is None
    assert lora.script.bodies[-1]["model"] == "base"


async def test_the_bundles_digest_names_it(backend: OpenAIBackend, lora: LoraServer, docs: Adapter) -> None:
    await ask(backend, Adapter("docs", peft=docs.peft, digest="0123456789abcdef" * 4))
    assert lora.loads[0]["lora_name"] == "docs-0123456789ab"


async def test_what_is_there_already_is_used_as_it_is(backend: OpenAIBackend, lora: LoraServer, docs: Adapter) -> None:
    lora.add(version_name(docs), docs.peft)
    await backend.prepare([docs])
    assert (await ask(backend, docs)).adapter == "docs"
    assert (lora.loads, lora.unloads) == ([], [])


async def test_another_client_was_faster(backend: OpenAIBackend, lora: LoraServer, docs: Adapter) -> None:
    await backend.server()
    lora.add(version_name(docs), docs.peft)
    assert (await ask(backend, docs)).adapter == "docs"
    assert len(lora.loads) == 1


async def test_a_changed_adapter_takes_the_place_of_the_old_one(
    backend: OpenAIBackend, lora: LoraServer, docs: Adapter
) -> None:
    """Only what this folder held goes: a version in another folder may belong to another bundle."""
    for name, root in {
        "docs-000000000000": docs.peft,
        "docs-111111111111": "/other/bundle/docs",
        "docs-new": docs.peft,
        "fix-000000000000": docs.peft,
    }.items():
        lora.add(name, root)
    await ask(backend, docs)
    assert lora.unloads == ["docs-000000000000"]
    assert lora.ids == ["base", "docs-111111111111", "docs-new", "fix-000000000000", version_name(docs)]


async def test_an_adapter_that_was_unloaded_is_loaded_again_once(
    backend: OpenAIBackend, lora: LoraServer, docs: Adapter
) -> None:
    await backend.prepare([docs])
    lora.unload({"lora_name": version_name(docs)})
    lora.script.chat = [fails(404, "The model `docs-…` does not exist.") for _ in range(3)]
    done = await asyncio.gather(*(ask(backend, docs) for _ in range(3)))
    assert [one.adapter for one in done] == ["docs"] * 3
    assert len(lora.loads) == 2
    assert len(lora.script.bodies) == 6


async def test_one_that_keeps_vanishing_is_an_error(backend: OpenAIBackend, lora: LoraServer, docs: Adapter) -> None:
    lora.script.chat = [fails(404, "The model does not exist.") for _ in range(2)]
    with pytest.raises(BackendRejected, match=r"has no model 'docs-[0-9a-f]{12}'"):
        await ask(backend, docs)
    assert len(lora.script.bodies) == 2


async def test_a_stream_finds_it_again_too(backend: OpenAIBackend, lora: LoraServer, docs: Adapter) -> None:
    await backend.prepare([docs])
    lora.unload({"lora_name": version_name(docs)})
    lora.script.chat = [fails(404, "The model does not exist.")]
    pieces = [piece async for piece in backend.stream(CompletionRequest(MESSAGES, adapter=docs))]
    assert "".join(pieces[:-1]) == "hello"
    assert pieces[-1].adapter == "docs"
    assert len(lora.loads) == 2


async def test_files_that_changed_are_not_loaded_under_the_old_name(
    backend: OpenAIBackend, lora: LoraServer, docs: Adapter
) -> None:
    named = Adapter("docs", peft=docs.peft, digest="a" * 64)
    await backend.prepare([named])
    os.utime(docs.peft / "adapter_model.safetensors", (1, 1))
    with pytest.raises(BundleError, match=r"files of adapter 'docs' in .* changed since they were read"):
        await ask(backend, named)
    assert (len(lora.loads), lora.script.bodies) == (1, [])


async def test_without_a_digest_a_change_is_another_version(
    backend: OpenAIBackend, lora: LoraServer, tmp_path: Path
) -> None:
    """An adapter that a program made itself: its files are what tells."""
    mine = Adapter("mine", peft=write_peft(tmp_path / "mine", tensors()))
    await ask(backend, mine)
    os.utime(mine.peft / "adapter_model.safetensors", (1, 1))
    await ask(backend, mine)
    assert len(lora.loads) == 1
    write_peft(mine.peft, tensors(8), r=8)
    await ask(backend, mine)
    assert [one["lora_name"] for one in lora.loads][1:] == [version_name(mine)]
    assert lora.unloads == [lora.loads[0]["lora_name"]]


async def test_trouble_that_passes_is_waited_for(server: ScriptedServer, lora: LoraServer, docs: Adapter) -> None:
    lora.refusals = [fails(503, "busy", {"retry-after": "0"})]
    backend = OpenAIBackend(server.api, retries=1)
    await backend.prepare([docs])
    await backend.aclose()
    assert len(lora.loads) == 1
    lora.refusals = [fails(503, "busy")]
    backend = OpenAIBackend(server.api, retries=0)
    lora.script.models[:] = lora.script.models[:1]
    with pytest.raises(BackendUnavailable, match="answered 503: busy"):
        await backend.prepare([docs])
    await backend.aclose()


NOT_ENABLED = "LoRA is not enabled. Use --enable-lora to enable LoRA."
RANK = "LoRA rank 4 is greater than max_lora_rank 2."
MISSING = "Loading lora docs failed: No adapter found for <path>"
SIZE = "The size of tensor a (576) must match the size of tensor b (1152) at non-singleton dimension 1"
DORA = "vLLM does not yet support DoRA."


@pytest.mark.parametrize(
    ("answer", "kind", "expected"),
    [
        (
            (500, WRAPPED.format(NOT_ENABLED)),
            BackendRejected,
            r"without adapters; start it with --enable-lora \(engine server",
        ),
        (
            (500, WRAPPED.format(RANK)),
            BackendRejected,
            r"its rank 4 is above the server's 2; start it with --max-lora-rank 8",
        ),
        ((404, MISSING), BackendRejected, r"cannot read /.*docs .*another machine.*same path.*adapters\.docs\.name"),
        ((500, WRAPPED.format("<path> doesn't contain tensors")), BackendRejected, r"cannot read /.*docs "),
        ((500, WRAPPED.format("[Errno 13] Permission denied: '<path>'")), BackendRejected, r"cannot read /.*docs "),
        (
            (500, WRAPPED.format(SIZE)),
            BundleError,
            r"do not fit the model there \(it was trained on org/base\): The size",
        ),
        ((500, WRAPPED.format("While loading <path>, expected target modules in {'a'}")), BundleError, "do not fit"),
        ((500, WRAPPED.format(DORA)), BundleError, r"vLLM does not yet support DoRA\. Train a plain LoRA"),
        (
            (500, WRAPPED.format("No free lora slots")),
            BackendRejected,
            r"no free slot.*--max-loras and --max-cpu-loras",
        ),
        ((500, "something else went wrong"), BackendRejected, r"from /.*docs: something else went wrong"),
        ((400, "something is odd"), BackendRejected, r"from /.*docs: something is odd"),
    ],
)
async def test_each_refusal_says_what_to_do(
    backend: OpenAIBackend,
    lora: LoraServer,
    docs: Adapter,
    answer: tuple[int, str],
    kind: type[EngineError],
    expected: str,
) -> None:
    lora.refusals = [fails(*answer)]
    with pytest.raises(kind, match=r"adapter 'docs' cannot be loaded by http://127\.0\.0\.1:\d+/v1") as caught:
        await backend.prepare([docs])
    assert re.search(expected, str(caught.value)), caught.value
    assert "stack trace" not in str(caught.value)
    assert lora.script.bodies == []


async def test_a_server_that_cannot_load_has_it_by_name_or_says_how(
    server: ScriptedServer, lora: LoraServer, docs: Adapter
) -> None:
    lora.refusals = [raw(b'{"detail":"Not Found"}', 404), raw(b'{"detail":"Not Found"}', 404)]
    backend = OpenAIBackend(server.api, retries=0)
    with pytest.raises(BackendRejected, match=r"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora .*docs\.name"):
        await backend.prepare([docs])
    await backend.aclose()
    lora.add("docs")
    backend = OpenAIBackend(server.api, retries=0)
    done = await ask(backend, docs)
    await backend.aclose()
    assert (done.adapter, server.bodies[-1]["model"]) == ("docs", "docs")


async def test_the_key_is_in_no_message(server: ScriptedServer, lora: LoraServer, docs: Adapter) -> None:
    lora.refusals = [fails(500, "no access with sk-secret")]
    backend = OpenAIBackend(server.api, retries=0, api_key="sk-secret")
    with pytest.raises(BackendRejected, match=r"no access with \*\*\*"):
        await backend.prepare([docs])
    await backend.aclose()


def cut(docs: Path) -> None:
    path = docs / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def config(**values: Any) -> Callable[[Path], None]:
    return lambda docs: (
        (docs / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8} | values)) and None
    )


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda docs: (docs / "adapter_config.json").unlink(), r"adapter_config\.json cannot be read \(No such file"),
        (lambda docs: (docs / "adapter_model.safetensors").unlink(), r"safetensors cannot be read .*pickles"),
        (lambda docs: (docs / "adapter_config.json").write_text("{"), r"adapter_config\.json is no JSON"),
        (lambda docs: (docs / "adapter_config.json").write_text("[]"), "holds no object"),
        (lambda docs: (docs / "adapter_model.safetensors").write_bytes(b"weights"), "is damaged or cut off"),
        (cut, r"is cut off: its tensors need 512 bytes and it has 504"),
        (config(r=8), r"q_proj\.lora_A\.weight has the rank 4, and adapter_config\.json says 8"),
        (config(r=None), r"its rank \(r\) is None"),
        (config(r=True), r"its rank \(r\) is True"),
        (config(r=-1), r"its rank \(r\) is -1"),
        (config(rank_pattern={"q_proj": "x"}), r"is no PEFT configuration"),
        (config(peft_type="IA3"), "of the kind 'IA3'"),
        (lambda docs: write_peft(docs, {"lm_head.weight": np.ones((2, 2))}), "holds no LoRA weights"),
        (lambda docs: write_peft(docs, {NAME.format(0, "A"): np.ones(4)}), "is no matrix"),
    ],
)
async def test_broken_files_are_found_before_the_server_is_asked(
    backend: OpenAIBackend, lora: LoraServer, docs: Adapter, damage: Callable[[Path], None], expected: str
) -> None:
    damage(docs.peft)
    with pytest.raises(BundleError, match=rf"adapter 'docs': .*{expected}"):
        await backend.prepare([docs])
    assert lora.loads == []


async def test_an_adapter_of_a_deeper_model_is_refused(
    backend: OpenAIBackend, lora: LoraServer, docs: Adapter, tmp_path: Path
) -> None:
    """VLLM leaves out the layers that its model lacks, without a word."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text('{"num_hidden_layers": 1}')
    lora.script.models[0]["root"] = str(tmp_path / "base")
    with pytest.raises(BundleError, match=r"adapter 'docs' changes 2 layers, and the model of http.* has 1"):
        await backend.prepare([docs])
    (tmp_path / "base/config.json").write_text('{"num_hidden_layers": 2, "hidden_size": 576}')
    with pytest.raises(BundleError, match=r"adapter 'docs' is \d+ wide, and the model of http.* 576: serve the model"):
        await backend.prepare([docs])
    (tmp_path / "base/config.json").write_text('{"num_hidden_layers": 2}')
    await backend.prepare([docs])


def test_ranks_of_single_modules_count(tmp_path: Path) -> None:
    mixed = tensors(4, 1) | {name.replace("q_proj", "v_proj"): one for name, one in tensors(16, 1).items()}
    folder = write_peft(tmp_path / "m", mixed, rank_pattern={"v_proj": 16}, base_model_name_or_path="org/base")
    facts = read_peft(Adapter("m", peft=folder))
    assert (facts.rank, facts.base, facts.layers) == (16, "org/base", 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ROW = st.fixed_dictionaries({}, optional={"dtype": JSON, "shape": JSON, "data_offsets": JSON}) | JSON
HEADER = st.dictionaries(st.sampled_from([NAME.format(0, "A"), "__metadata__", "x"]), ROW, max_size=3).map(json.dumps)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(["r", "rank_pattern", "peft_type", "x"]), JSON) | JSON,
    HEADER,
    st.binary(max_size=40),
)
def test_no_file_breaks_the_check(tmp_path: Path, config: Any, header: str, rest: bytes) -> None:
    """The files come from a bundle: whatever they hold, they are read or refused."""
    text = header.encode()
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    for data in (len(text).to_bytes(8, "little") + text + rest, text + rest, rest):
        (tmp_path / "adapter_model.safetensors").write_bytes(data)
        try:
            facts = read_peft(Adapter("a", peft=tmp_path))
        except BundleError:
            continue
        assert facts.rank > 0


async def test_an_adapter_of_another_model_is_left_out(backend: OpenAIBackend, lora: LoraServer, docs: Adapter) -> None:
    other = Adapter("docs", peft=docs.peft, base="org/else")
    await backend.prepare([other])
    assert not backend.accepts(other)
    assert (await ask(backend, other)).adapter is None
    assert (lora.loads, lora.script.bodies[-1]["model"]) == ([], "base")


async def test_a_model_must_be_there(backend: OpenAIBackend, lora: LoraServer) -> None:
    with pytest.raises(BackendRejected, match=r"has no model 'gone'; it has: base\. Set backend\.model or --model"):
        await backend.prepare([], ["gone"])
    await backend.prepare([], ["base", "Org/BASE"])
    assert (await ask(backend, model="org/base")).model == "m"
    assert lora.script.bodies[-1]["model"] == "base"


async def test_a_model_that_came_later_is_found(backend: OpenAIBackend, lora: LoraServer) -> None:
    await backend.server()
    lora.add("late")
    await backend.prepare([Adapter("x", served_name="late")], ["late"])
    assert (await ask(backend, model="late")).adapter == "late"
    assert lora.script.bodies[-1]["model"] == "late"


async def test_an_adapter_without_a_folder_cannot_be_loaded(backend: OpenAIBackend, lora: LoraServer) -> None:
    with pytest.raises(
        BackendRejected, match=r"no adapter 'g' \(it has: none\): vLLM loads PEFT folders.*adapters\.g\.path"
    ):
        await backend.prepare([Adapter("g", gguf=Path("/a/g.gguf"))])


@pytest.fixture
def sglang(server: ScriptedServer) -> LoraServer:
    """SGLang: other paths, answers of another form."""
    lora = LoraServer(server, prefix="")
    server.text = "hello"
    server.models = [{"id": "base", "owned_by": "sglang", "root": "base"}]
    return lora


def sglang_refuses(words: str) -> Reply:
    return raw(json.dumps({"success": False, "error_message": words, "loaded_adapters": {}}).encode(), 400)


async def test_sglang_loads_too(server: ScriptedServer, sglang: LoraServer, docs: Adapter) -> None:
    backend = OpenAIBackend(server.api, retries=0)
    try:
        assert (await ask(backend, docs)).adapter == "docs"
        name = version_name(docs)
        assert (server.bodies[-1]["model"], server.bodies[-1]["lora_path"]) == ("base", name)
        server.chat = [raw(b'{"message":"The following requested LoRA adapters are not loaded: x"}', 400), ok()]
        assert (await ask(backend, docs)).adapter == "docs"
        assert len(sglang.loads) == 2
        assert (await ask(backend, model=name)).adapter == name
        assert (server.bodies[-1]["model"], server.bodies[-1]["lora_path"]) == ("base", name)
        with pytest.raises(BackendRejected, match="has no model 'else'"):
            await ask(backend, model="else")
    finally:
        await backend.aclose()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("LoRA is not enabled. Please set `--enable-lora` to enable LoRA.", r"start it with --enable-lora$"),
        (
            "LoRA adapter d with rank 4 is incompatible with the current LoRA memory pool configuration. Please …",
            r"its rank 4 .*--max-lora-rank 4 \(and --lora-target-modules all",
        ),
        ("Cannot load LoRA adapter d at path p. Maximum number of loaded LoRA adapters is 2.", "--max-loaded-loras"),
    ],
)
async def test_sglangs_refusals(
    server: ScriptedServer, sglang: LoraServer, docs: Adapter, words: str, expected: str
) -> None:
    sglang.refusals = [sglang_refuses(words)]
    backend = OpenAIBackend(server.api, retries=0)
    with pytest.raises(BackendRejected, match=expected):
        await backend.prepare([docs])
    await backend.aclose()


@pytest.fixture
def llama(server: ScriptedServer) -> ScriptedServer:
    server.models = [{"id": "base.gguf", "owned_by": "llamacpp"}]
    server.routes["/lora-adapters"] = [{"id": 0, "path": "/a/one.gguf"}, {"id": 1, "path": "/b/two.gguf"}]
    return server


@pytest.mark.parametrize(
    "adapter",
    [
        Adapter("two", gguf=Path("/elsewhere/x.gguf")),
        Adapter("x", gguf=Path("/b/two.gguf")),
        Adapter("x", gguf=Path("/moved/two.gguf"), base="org/base"),
        Adapter("x", served_name="two"),
    ],
)
async def test_llama_cpp_has_the_adapters_it_was_started_with(llama: ScriptedServer, adapter: Adapter) -> None:
    backend = OpenAIBackend(llama.api, retries=0)
    await backend.prepare([adapter], ["base"])
    assert (await ask(backend, adapter)).adapter == adapter.name
    assert llama.bodies[-1]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]
    assert (await ask(backend)).adapter is None
    assert llama.bodies[-1]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]
    await backend.aclose()


async def test_llama_cpp_does_not_answer_for_a_name_that_it_does_not_know(llama: ScriptedServer) -> None:
    """It would answer with whatever model it has, whatever name is asked for."""
    backend = OpenAIBackend(llama.api, retries=0)
    assert (await ask(backend, model="two")).adapter == "two"
    assert llama.bodies[-1] | {"messages": None} == llama.bodies[-1] | {"model": "base.gguf", "messages": None}
    assert llama.bodies[-1]["lora"][1]["scale"] == 1.0
    asked = len(llama.bodies)
    with pytest.raises(BackendRejected, match=r"has no model 'three'; it has: base\.gguf"):
        await ask(backend, model="three")
    with pytest.raises(
        BackendRejected, match=r"no adapter 'x' \(it has: /a/one\.gguf, /b/two\.gguf\): start it with --lora"
    ):
        await backend.prepare([Adapter("x", gguf=Path("/c/x.gguf"))])
    assert len(llama.bodies) == asked
    await backend.aclose()


async def test_an_unknown_server_lists_it_or_not(server: ScriptedServer, docs: Adapter) -> None:
    server.models = [{"id": "base", "owned_by": "me"}, {"id": "docs", "owned_by": "me"}]
    backend = OpenAIBackend(server.api, retries=0)
    await backend.prepare([docs], ["a-model-that-it-may-have"])
    assert (await ask(backend, docs)).adapter == "docs"
    assert server.bodies[-1]["model"] == "docs"
    with pytest.raises(
        BackendRejected, match=r"no adapter 'fix' .*adapters\.fix\.name.*backend\.dialect.*--adapter none"
    ):
        await backend.prepare([Adapter("fix", peft=docs.peft)])
    await backend.aclose()

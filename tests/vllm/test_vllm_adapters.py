"""Adapters on a real vLLM: what a bundle ships answers by turn, a changed one is another, a bad one is explained."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_parts import Memory
from lora_samples import write_peft
from projects import MANIFEST, make_bundle, make_project
from vllm_parts import MODEL, QUESTION, post

import engine
from engine.backends import Completion, CompletionRequest, OpenAIBackend, VllmServer
from engine.backends.adapter_words import Refusal, explain
from engine.backends.peft_files import PeftFacts, version_name
from engine.errors import BackendRejected, BundleError
from engine.events import ModelResponded
from engine.grammar import ConstraintOptions
from engine.kernel import Kernel, KernelConfig
from engine.manifest.bundle_model import Sampling
from engine.messages import Message
from engine.models import Adapter, get_plugin

SENTENCES = {"red": "The red fox answers here.", "blue": "The blue whale answers here."}
HUB_NAME = f"HuggingFaceTB/{MODEL}"
SHORT = Sampling(max_tokens=24)
ASK = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def adapters(tiny_adapters: dict[str, Path]) -> dict[str, Adapter]:
    """The two as a bundle ships them."""
    return {name: Adapter(name, peft=tiny_adapters[name], base=HUB_NAME) for name in SENTENCES}


async def ask(backend: OpenAIBackend, adapter: Adapter | None = None, model: str | None = None) -> Completion:
    return await backend.complete(CompletionRequest(ASK, model=model, sampling=SHORT, adapter=adapter))


async def listed(server: VllmServer) -> set[str]:
    backend = OpenAIBackend(server.base_url)
    try:
        return {row.id for row in (await backend.server()).models}
    finally:
        await backend.aclose()


async def test_the_sources_decide_in_order_on_a_real_server(
    backend: OpenAIBackend, adapters: dict[str, Adapter]
) -> None:
    memory, red, blue = Memory(), adapters["red"], adapters["blue"]
    await backend.prepare([red, blue], [HUB_NAME])
    names = {"red": version_name(red), "blue": version_name(blue), None: MODEL}
    cases: list[tuple[Adapter | None, dict[str, Any], str | None, str | None]] = [
        (None, {}, None, None),
        (red, {}, None, "red"),
        (red, {"adapter": blue}, None, "blue"),
        (red, {"adapter": None}, None, None),
        (None, {"adapter": red, "model_override": "blue"}, None, "blue"),
        (red, {"adapter": red, "model_override": HUB_NAME}, None, None),
        (None, {"model_override": "red"}, "blue", "blue"),
        (red, {"model_override": "blue"}, MODEL, None),
    ]
    for default, context, argument, expected in cases:
        config = KernelConfig(
            adapter=default,
            adapters=(red, blue),
            sampling=SHORT,
            options=ConstraintOptions("none"),
            on_no_call="finish",
        )
        kernel = Kernel(config, get_plugin("smollm"), observer=memory, backend=backend)
        step = await kernel.step([Message("user", QUESTION)], context=context, model=argument)
        assert (step.adapter, step.model) == (expected, names[expected]), (default, context, argument)
        answered = memory.only("model:responded")[-1]
        assert (answered.adapter, answered.model) == (expected, names[expected])
        if expected is not None:
            assert step.reply.text == SENTENCES[expected]
        else:
            assert step.reply.text not in SENTENCES.values()


async def test_a_name_that_only_the_server_knows(backend: OpenAIBackend) -> None:
    """The server was started with `red` and `blue` of its own."""
    done = await ask(backend, model="red")
    assert (done.text, done.adapter, done.model) == (SENTENCES["red"], "red", "red")
    named = await ask(backend, Adapter("mine", served_name="blue", base="org/else"))
    assert (named.text, named.adapter) == (SENTENCES["blue"], "mine")
    with pytest.raises(BackendRejected, match=r"no adapter 'green' \(it has: .*red.*\)"):
        await ask(backend, Adapter("mine", served_name="green"))
    with pytest.raises(BackendRejected, match=rf"no model 'green'; it has: {MODEL}"):
        await ask(backend, model="green")


async def test_a_changed_adapter_is_another_one_and_the_old_one_goes(
    vllm_server: VllmServer, backend: OpenAIBackend, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    folder, names = tmp_path / "voice", []
    for name in ("red", "blue", "red"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tiny_adapters[name], folder)
        voice = Adapter("voice", peft=folder)
        assert (await ask(backend, voice)).text == SENTENCES[name]
        names.append(version_name(voice))
        assert {one for one in await listed(vllm_server) if one.startswith("voice-")} == {names[-1]}
    assert names[0] == names[2] != names[1]


async def test_what_another_run_unloads_comes_back(
    vllm_server: VllmServer, backend: OpenAIBackend, adapters: dict[str, Adapter]
) -> None:
    red = adapters["red"]
    await backend.prepare([red])
    gone = await post(vllm_server, "/v1/unload_lora_adapter", {"lora_name": version_name(red)})
    assert gone.status_code == 200
    assert version_name(red) not in await listed(vllm_server)
    done = await asyncio.gather(*(ask(backend, red) for _ in range(4)))
    assert {one.text for one in done} == {SENTENCES["red"]}
    assert version_name(red) in await listed(vllm_server)


async def test_two_clients_load_it_once(
    vllm_server: VllmServer, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_adapters["blue"], tmp_path / "both")
    both, clients = Adapter("both", peft=tmp_path / "both"), [OpenAIBackend(vllm_server.base_url) for _ in range(2)]
    try:
        done = await asyncio.gather(*(ask(client, both) for client in clients for _ in range(2)))
    finally:
        for client in clients:
            await client.aclose()
    assert [one.text for one in done] == [SENTENCES["blue"]] * 4


def lora(rank: int, width: int, layer: int = 0) -> dict[str, np.ndarray]:
    name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{{}}.weight"
    return {name.format("A"): np.zeros((rank, width)), name.format("B"): np.zeros((width, rank))}


@pytest.mark.parametrize(
    ("tensors", "config", "kind", "words"),
    [
        (
            lora(64, 576),
            {"r": 64},
            BackendRejected,
            "its rank 64 is above the server's 16; start it with --max-lora-rank 64",
        ),
        (lora(4, 960), {}, BundleError, r"is 960 wide, and the model of .* 576: .* \(org/wide\)"),
        (lora(4, 576, 30), {}, BundleError, "changes 31 layers, and the model of .* has 30"),
        (lora(4, 576), {"use_dora": True}, BundleError, "does not yet support DoRA.*plain LoRA"),
        (lora(4, 576), {"r": 8}, BundleError, "they don't belong together"),
        ({"x.lora_A.weight": np.zeros((4, 576))}, {}, BundleError, r"do not fit|cannot be loaded"),
    ],
)
async def test_what_does_not_fit_is_explained_before_a_run(
    backend: OpenAIBackend, tmp_path: Path, tensors: Any, config: dict[str, Any], kind: type[Exception], words: str
) -> None:
    settings = {"target_modules": ["q_proj"], "base_model_name_or_path": "org/wide"} | config
    folder = write_peft(tmp_path / "odd", tensors, **settings)
    with pytest.raises(kind, match=words):
        await backend.prepare([Adapter("odd", peft=folder)])


async def test_a_folder_that_the_server_cannot_read(
    vllm_server: VllmServer, tmp_path: Path, adapters: dict[str, Adapter]
) -> None:
    """As on another machine: the path means nothing there."""
    path = str(tmp_path / "gone")
    answer = await post(vllm_server, "/v1/load_lora_adapter", {"lora_name": "a", "lora_path": path})
    assert answer.status_code == 404
    words = answer.json()["error"]["message"]
    explained = explain(Refusal("http://there/v1", "vLLM", adapters["red"], path, PeftFacts(8), words))
    assert f"cannot read {path} ({words}). If it runs on another machine" in str(explained)


async def test_a_run_changes_adapters_by_node_and_turn(
    vllm_server: VllmServer, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    """Base, red and blue in turn on one server; what answered is in the events."""
    extra = f"adapters: {{red: {{path: lora/red, base: {HUB_NAME}}}, blue: {{path: lora/blue}}}}\n"
    rules = ['{when: "turn == 2", adapter: blue}', "{when: \"node.name == 'first'\", adapter: red}"]
    text = MANIFEST.replace("plugin: qwen", "plugin: smollm").replace(", termination_tool: add_comment", "")
    bundle = make_bundle(tmp_path / "b", text.replace("tools:\n", f"{extra}routing: [{', '.join(rules)}]\ntools:\n", 1))
    for name in SENTENCES:
        shutil.copytree(tiny_adapters[name], bundle / "lora" / name)
    project, found = make_project(tmp_path / "p"), []

    class Seen:
        async def on_event(self, event: Any) -> None:
            if isinstance(event, ModelResponded):
                found.append((event.task_id, event.turn, event.adapter, event.model))

    await engine.run(
        bundle, [project], project=project, base_url=vllm_server.base_url, observer=Seen(), nodes=["first", "second"]
    )
    loaded = engine.load_bundle(bundle).adapters
    names = {None: MODEL} | {name: version_name(loaded[name]) for name in SENTENCES}
    by_task: dict[str, list[str | None]] = {}
    for task, _, adapter, model in sorted(found, key=lambda row: row[:2]):
        assert model == names[adapter], json.dumps(found)
        by_task.setdefault(task, []).append(adapter)
    assert sorted(by_task.values(), key=str) == [["red", "blue", "red"], [None, "blue", None]]

"""Adapters by turn on a real vLLM: the sentence that comes shows which one answered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import pytest
from vllm_parts import MODEL, QUESTION

from engine import Kernel, KernelConfig, RuntimeClient, RuntimeConfig
from engine.backends import CompletionRequest, OpenAIBackend
from engine.backends.peft_files import version_name
from engine.grammar import ConstraintOptions
from engine.manifest.bundle_model import Sampling
from engine.messages import Message
from engine.models import get_plugin
from engine.models.base import Adapter
from engine.tools import PythonTool

RED, BLUE = "The red fox answers here.", "The blue whale answers here."
FREE = ConstraintOptions("none")
SHORT = Sampling(max_tokens=16)


@pytest.fixture
def folders(tmp_path: Path, tiny_adapters: dict[str, Path]) -> dict[str, Path]:
    """Copies of the adapters that a test may change."""
    return {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in tiny_adapters.items()}


@pytest.fixture
def adapters(folders: dict[str, Path]) -> dict[str, Adapter]:
    return {
        name: Adapter(name, peft=folder, base="HuggingFaceTB/SmolLM2-135M-Instruct") for name, folder in folders.items()
    }


async def say(backend: OpenAIBackend, adapter: Adapter) -> str:
    messages = [{"role": "user", "content": QUESTION}]
    done = await backend.complete(CompletionRequest(messages, sampling=SHORT, adapter=adapter))
    assert done.adapter == adapter.name
    return done.text


async def test_more_adapters_than_slots_all_answer(backend, folders, tmp_path) -> None:
    """Two slots in a batch, four in memory: what does not fit waits or is read again."""
    many = []
    for number in range(7):
        folder = Path(shutil.copytree(folders["red" if number % 2 else "blue"], tmp_path / f"copy{number}"))
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_dropout": number / 100}))
        many.append(Adapter(f"copy{number}", peft=folder))
    await backend.prepare(many)
    said = [await say(backend, adapter) for adapter in many]
    assert said == [RED if number % 2 else BLUE for number in range(7)]


async def test_one_of_another_model_is_left_out(backend, folders) -> None:
    other = Adapter("red", peft=folders["red"], base="org/other-model")
    await backend.prepare([other])
    assert not backend.accepts(other)
    messages = [{"role": "user", "content": QUESTION}]
    done = await backend.complete(CompletionRequest(messages, sampling=SHORT, adapter=other))
    assert done.adapter is None
    assert done.text != RED


# By turn


async def test_the_client_takes_an_adapter_by_name(backend, adapters) -> None:
    config = RuntimeConfig(options=FREE, sampling=SHORT, adapters=tuple(adapters.values()))
    client = RuntimeClient(config, get_plugin("smollm"), backend)
    replies = [await client.run(QUESTION, model=name) for name in ("red", None, "blue", "red")]
    assert [reply.text for reply in replies][::3] == [RED, RED]
    assert replies[2].text == BLUE
    assert replies[1].text not in (RED, BLUE)


@pytest.mark.parametrize("plan", [("red", "blue", None), ("blue", None, "red"), (None, "red", "blue")])
async def test_base_and_adapters_alternate_by_turn(backend, adapters, plan: tuple[str | None, ...]) -> None:
    """The tool's argument can be either sentence; the first one, which follows no other, shows who answered."""
    said: list[str] = []
    seen: list[tuple[str | None, str]] = []

    def say_it(sentence: Literal["The red fox answers here.", "The blue whale answers here."]) -> str:
        """Say who answers."""
        said.append(sentence)
        return "go on"

    class Observer:
        async def on_model_response(self, event) -> None:
            seen.append((event.adapter, event.model))

    async def who(turn: int):
        return {"model_override": plan[turn - 1]} if plan[turn - 1] else {}

    config = KernelConfig(sampling=Sampling(max_tokens=48), adapters=tuple(adapters.values()), history=2)
    kernel = Kernel(config, get_plugin("smollm"), [PythonTool(say_it)], Observer(), backend)
    result = await kernel.run([Message("user", QUESTION)], max_turns=len(plan), context_provider=who)
    assert result.termination_reason == "max_turns", result
    names = {None: MODEL} | {name: version_name(adapter) for name, adapter in adapters.items()}
    assert seen == [(name, names[name]) for name in plan]
    assert len(said) == len(plan)
    assert said[0] == {"red": RED, "blue": BLUE}.get(plan[0] or "", said[0])

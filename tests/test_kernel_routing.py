"""Who answers a turn: each pair of neighbours in the order of precedence, with the real model and two adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kernel_parts import Memory, ScriptedBackend, calls, tool
from lora_samples import write_gguf_adapter

from engine.backends import EmbeddedBackend, resolve_weights
from engine.errors import BackendRejected, ConfigError
from engine.grammar import ConstraintOptions
from engine.kernel import Kernel, KernelConfig, RuntimeClient, RuntimeConfig
from engine.manifest.bundle_model import Sampling
from engine.messages import Message, ToolSchema
from engine.models import Adapter, get_plugin

MODEL = "smollm2-135m-instruct"
PROMPT = [Message("user", "What is a function?")]
SHORT = Sampling(max_tokens=12)
FREE = ConstraintOptions("none")
ELSEWHERE = Adapter("elsewhere", gguf=Path("/nowhere.gguf"), base="Qwen/Qwen2.5-3B-Instruct")
pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def adapters(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Adapter]:
    """Two adapters that change every answer."""
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: Adapter(name, gguf=write_gguf_adapter(folder / f"{name}.gguf", weights, seed=seed), digest=str(seed))
        for seed, name in enumerate(("red", "blue"), 1)
    }


@pytest.fixture
async def backend(weights: Path, adapters: dict[str, Adapter]) -> AsyncIterator[EmbeddedBackend]:
    backend = EmbeddedBackend(resolve_weights(MODEL), adapters=list(adapters.values()), n_ctx=1024)
    yield backend
    await backend.aclose()


def settings(adapters: dict[str, Adapter], default: str | None = None) -> dict[str, Any]:
    known = (*adapters.values(), ELSEWHERE)
    return {"adapter": adapters.get(default or ""), "adapters": known, "sampling": SHORT, "options": FREE}


async def test_the_first_of_the_sources_decides(backend: EmbeddedBackend, adapters: dict[str, Adapter]) -> None:
    """What answered is told by its words: each adapter, and the bare model, has its own."""
    memory = Memory()

    async def ask(
        default: str | None = None, context: dict[str, Any] | None = None, argument: str | None = None
    ) -> Any:
        config = KernelConfig(**settings(adapters, default))
        kernel = Kernel(config, get_plugin("smollm"), observer=memory, backend=backend)
        return await kernel.step(PROMPT, context=context, model=argument)

    own = {name: (await ask(name)).reply.text for name in (None, "red", "blue")}
    assert len(set(own.values())) == 3
    red, blue = adapters["red"], adapters["blue"]
    cases: list[tuple[str | None, dict[str, Any], str | None, str | None]] = [
        # default, what the context provider says, argument → who answers
        ("red", {}, None, "red"),
        ("red", {"adapter": blue}, None, "blue"),
        ("red", {"adapter": None}, None, None),
        (None, {"adapter": red, "model_override": "blue"}, None, "blue"),
        ("red", {"adapter": red, "model_override": MODEL}, None, None),
        ("red", {"model_override": ""}, None, "red"),
        (None, {"adapter": red, "model_override": "red"}, "blue", "blue"),
        ("red", {"model_override": "red"}, "HuggingFaceTB/SmolLM2-135M-Instruct", None),
    ]
    for default, context, argument, expected in cases:
        step = await ask(default, context, argument)
        assert (step.adapter, step.reply.text) == (expected, own[expected]), (default, context, argument)
        assert step.model == MODEL
        answered = memory.only("model:responded")[-1]
        assert (answered.model, answered.adapter) == (MODEL, expected)
        assert memory.only("model:requested")[-1].adapter == expected


async def test_the_client_takes_a_name_too(backend: EmbeddedBackend, adapters: dict[str, Adapter]) -> None:
    client = RuntimeClient(RuntimeConfig(**settings(adapters, "red")), get_plugin("smollm"), backend)
    red, blue, bare = [await client.run("What is a function?", model=name) for name in (None, "blue", MODEL)]
    assert len({red.text, blue.text, bare.text}) == 3
    assert (await client.run("What is a function?", model="red")).text == red.text
    streamed = [piece async for piece in client.stream("What is a function?", model="blue")]
    assert streamed[-1].text == blue.text
    with pytest.raises(BackendRejected, match="not 'else'"):
        await client.run("hi", model="else")
    with pytest.raises(ConfigError, match=r"'elsewhere' was asked for by its name.*trained on Qwen/Qwen2\.5-3B"):
        await client.run("hi", model="elsewhere")


async def test_a_provider_routes_turn_by_turn(backend: EmbeddedBackend, adapters: dict[str, Adapter]) -> None:
    """One kernel, another adapter each turn; the history is trimmed all the same."""
    memory, turns, names = Memory(), [], ["red", "blue", MODEL, "red"]

    async def provider(turn: int) -> dict[str, Any]:
        turns.append(turn)
        return {"model_override": names[turn - 1]}

    pick = tool("pick")
    choice = {"type": "object", "properties": {"text": {"enum": ["a", "b"]}}, "required": ["text"]}
    pick.schema = ToolSchema("pick", "Pick a letter.", choice)
    config = KernelConfig(adapters=tuple(adapters.values()), sampling=Sampling(max_tokens=64), history=3)
    kernel = Kernel(config, get_plugin("smollm"), [pick], memory, backend)
    result = await kernel.run(PROMPT, max_turns=4, context_provider=provider)
    assert (result.termination_reason, turns) == ("max_turns", [1, 2, 3, 4]), result.error
    answered = [event.adapter for event in memory.only("model:responded")]
    assert answered == ["red", "blue", None, "red"]
    assert (result.model, result.adapter) == (MODEL, "red")
    assert [len(event.messages) for event in memory.only("model:requested")] == [2, 4, 4, 4]
    memory.events.clear()
    await kernel.run(PROMPT, max_turns=1, context_provider=provider, model="blue")
    assert [event.adapter for event in memory.only("model:responded")] == ["blue"]


@pytest.mark.parametrize(
    ("context", "words"),
    [({"model_override": 7}, "model_override is a int"), ({"adapter": "red"}, "adapter is a str")],
)
async def test_what_names_nobody_ends_the_run(context: dict[str, Any], words: str) -> None:
    async def provider() -> dict[str, Any]:
        return context

    kernel = Kernel(KernelConfig(), get_plugin("qwen"), [tool()], None, ScriptedBackend([calls(("echo", {}))]))
    result = await kernel.run(PROMPT, context_provider=provider)
    assert result.termination_reason == "error"
    assert words in str(result.error)

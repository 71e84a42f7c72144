"""Two turns of every family on a real vLLM: the server takes its calls, its results and their roles as history."""

from __future__ import annotations

import pytest
from kernel_parts import PROMPT, tool

from engine.backends import OpenAIBackend
from engine.kernel import Kernel, KernelConfig
from engine.manifest.bundle_model import Sampling
from engine.models import PLUGINS, get_plugin


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
async def test_a_second_turn_reads_the_first(backend: OpenAIBackend, plugin: str) -> None:
    config = KernelConfig(sampling=Sampling(max_tokens=128, seed=3))
    result = await Kernel(config, get_plugin(plugin), [tool()], None, backend).run(PROMPT, max_turns=2)
    assert (result.termination_reason, result.turn_count) == ("max_turns", 2), result.error
    assert [message.role for message in result.history] == ["system", "user"] + ["assistant", "tool"] * 2
    asked, answered = result.history[2], result.history[3]
    assert asked.tool_calls[0].id == answered.tool_call_id
    assert (plugin == "openai") is (asked.tool_calls[0].id != "call_1")

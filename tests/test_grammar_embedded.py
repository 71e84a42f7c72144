"""Mode json_schema on the embedded runtime: the model's own replies are calls whose arguments fit."""

import json

import pytest
from jsonschema import Draft202012Validator

from engine.backends import CompletionRequest, EmbeddedBackend, Weights
from engine.grammar import ConstraintOptions
from engine.grammar.argument_check import check_arguments
from engine.manifest.bundle_model import Sampling
from engine.messages import ToolSchema
from engine.models import get_plugin

pytestmark = pytest.mark.embedded
TOOL = ToolSchema(
    "rate_city",
    "Rate a city.",
    {
        "type": "object",
        "properties": {
            "note": {"type": "string", "maxLength": 40},
            "city": {"type": "string", "pattern": "^[A-Z][a-z]+$", "maxLength": 12},
            "stars": {"type": "integer", "minimum": 1, "maximum": 5},
            "tags": {"type": "array", "items": {"enum": ["old", "new"]}, "minItems": 1, "maxItems": 2},
        },
        "required": ["city", "stars", "tags"],
        "additionalProperties": False,
    },
)


@pytest.mark.parametrize("parallel", [False, True])
async def test_a_reply_in_json(weights, parallel):
    plugin = get_plugin("smollm")
    options = ConstraintOptions(mode="json_schema", parallel_calls=parallel, max_tokens=400)
    constraint = plugin.constraint([TOOL], options)
    messages = plugin.build_messages("Rate Paris and Rome.", None, [TOOL])
    backend = EmbeddedBackend(
        Weights(weights, "smollm2-135m-instruct", "smollm", ("HuggingFaceTB/SmolLM2-135M-Instruct",)), n_ctx=2048
    )
    try:
        request = CompletionRequest(messages, constraint=constraint, sampling=Sampling(max_tokens=1600, seed=1))
        done = await backend.complete(request)
    finally:
        await backend.aclose()
    assert done.finish_reason == "stop"  # sixteen calls at most, each of which is bounded
    assert Draft202012Validator(constraint.value).is_valid(json.loads(done.text))
    reply = plugin.parse_response(done.text, [TOOL])
    assert reply.tool_calls
    assert reply.malformed == ()
    assert [check_arguments(TOOL.parameters, call.arguments) for call in reply.tool_calls] == [None] * len(
        reply.tool_calls
    )

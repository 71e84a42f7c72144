"""What the tests with a real vLLM share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from engine.backends import VllmServer

QUESTION = "Who answers?"
# What the docstring bundle's adapter was trained on, so that it is taken here.
MODEL = "SmolLM2-135M-Instruct"


async def ask(server: VllmServer, prompt: str, model: str | None = None, **fields: Any) -> str:
    """Send one plain request, past the engine, and return the answer's text."""
    answer = await post(server, "/v1/chat/completions", {**chat(prompt, model), **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def chat(prompt: str, model: str | None = None) -> dict[str, Any]:
    """The body of a plain request; without a model, the base model's."""
    message = {"role": "user", "content": prompt}
    return {"model": model or MODEL, "messages": [message], "temperature": 0.0, "max_tokens": 24}


async def post(server: VllmServer, path: str, body: dict[str, Any]) -> httpx2.Response:
    """Send JSON to a path of the server."""
    async with httpx2.AsyncClient(trust_env=False, timeout=120) as client:
        return await client.post(server.base_url.removesuffix("/v1") + path, json=body)


async def drain(stream: AsyncIterator[Any]) -> list[Any]:
    """Return all pieces of a stream."""
    return [piece async for piece in stream]

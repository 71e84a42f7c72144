"""A server that answers at once, in a process of its own: turn one is a tool call, turn two the end.

A request with `tools` gets its call as the chat API has it, one without gets it as text in the Hermes format; one with
`stream` gets it in pieces of some characters.
`python -m tests.benchmarks.instant_server` prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.harness import ROOT

CALL = {"name": "write_docstring", "arguments": {"summary": "Return the area of a rectangle"}}
DONE = "The docstring is written."
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def _completion(message: dict[str, Any], finish_reason: str) -> bytes:
    body = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 240, "completion_tokens": 24, "total_tokens": 264},
    }  # fmt: skip
    data = json.dumps(body).encode()
    return _HEAD % len(data) + data


def _native() -> dict[str, Any]:
    function = {"name": CALL["name"], "arguments": json.dumps(CALL["arguments"])}
    return {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}


def _streamed(deltas: list[dict[str, Any]], finish_reason: str) -> bytes:
    """Return a reply as server-sent events, one to a delta, then why it ended and what it used."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 240, "completion_tokens": 24, "total_tokens": 264}})
    events = [f"data: {json.dumps(base | one)}\n\n" for one in chunks]
    body = b"".join(b"%x\r\n%s\r\n" % (len(event), event.encode()) for event in [*events, "data: [DONE]\n\n"])
    return _STREAM_HEAD + body + b"0\r\n\r\n"


def _pieces(text: str, size: int = 5) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _native_deltas() -> list[dict[str, Any]]:
    call = _native()["tool_calls"][0]
    arguments = call["function"]["arguments"]
    first = {"index": 0, **call, "function": {"name": CALL["name"], "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in _pieces(arguments)]
    return [{"role": "assistant", "content": None, "tool_calls": [one]} for one in (first, *rest)]


_TEXT = f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>"
# By whether it is streamed, and what it is.
_REPLIES = {
    (False, "end"): _completion({"content": DONE}, "stop"),
    (False, "native"): _completion(_native(), "tool_calls"),
    (False, "text"): _completion({"content": _TEXT}, "stop"),
    (True, "end"): _streamed([{"content": piece} for piece in _pieces(DONE)], "stop"),
    (True, "native"): _streamed(_native_deltas(), "tool_calls"),
    (True, "text"): _streamed([{"content": piece} for piece in _pieces(_TEXT)], "stop"),
}
_WORD = re.compile(rb"zebra-[0-9a-f]+")
_MODELS = json.dumps({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "bench"}]}).encode()


def answer(request: bytes) -> bytes:
    """Return the reply to a request's head and body."""
    if request.startswith(b"GET /lora-adapters"):
        return _HEAD % 2 + b"[]"
    if request.startswith(b"GET"):
        return _HEAD % len(_MODELS) + _MODELS
    streamed = b'"stream":true' in request or b'"stream": true' in request
    word = _WORD.search(request)
    if word is not None:  # the engine sees whether its grammar is in force
        said = {"content": word[0].decode()}
        return _streamed([said], "stop") if streamed else _completion(said, "stop")
    if b"<tool_response>" in request or b'"role":"tool"' in request or b'"role": "tool"' in request:
        return _REPLIES[streamed, "end"]
    return _REPLIES[streamed, "native" if b'"tools":' in request else "text"]


class _Connection(asyncio.Protocol):
    """One connection, kept open."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            end += 4 + _length(self._data[:end])
            if len(self._data) < end:
                return
            request, self._data = self._data[:end], self._data[end:]
            self._transport.write(answer(request))
            if b"connection: close" in request[:end].lower():
                self._transport.close()
                return


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextlib.contextmanager
def instant_server() -> Iterator[str]:
    """Start the server and give the URL of its API."""
    argv = [sys.executable, "-m", "tests.benchmarks.instant_server"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(_serve())

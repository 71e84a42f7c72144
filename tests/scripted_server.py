"""An OpenAI-compatible server that answers at once and fails on command; runs in a thread of the test's process."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONSTRAINTS = ("structured_outputs", "grammar", "json_schema", "ebnf", "response_format", "tools")
CANARY = re.compile(r"zebra-[0-9a-f]+")

Reply = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Request:
    """What the server received."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class ScriptedServer:
    """The server's script and what it saw.

    Attributes:
        url: Its root, without `/v1`.
        chat: What the chat endpoint does, in turn; when it is used up, it answers with `text`.
        text: The text of the standard answer, or a function of the request's body.
        reply: What the chat endpoint does with a request's body, before all that; None leaves it to `chat` and `text`.
        models: The rows of `/v1/models`; None answers 404.
        routes: Path → JSON of further endpoints, or a function from the request's body to what the endpoint does.
        requests: What was received, in order, but for canaries.
        honours: The fields of a request whose constraint the server enforces on a canary; () is one that ignores all.
        canary: What a canary gets instead.
        canaries: The canaries that came.
    """

    url: str = ""
    chat: list[Reply] = field(default_factory=list)
    text: str | Callable[[Any], str] = "hello"
    reply: Callable[[Any], Reply | None] = lambda body: None
    models: list[dict[str, Any]] | None = field(default_factory=lambda: [{"id": "m", "owned_by": "vllm"}])
    routes: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Reply] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    honours: tuple[str, ...] = CONSTRAINTS
    canary: Reply | None = None
    canaries: list[Request] = field(default_factory=list)

    @property
    def api(self) -> str:
        """The URL of the API."""
        return self.url + "/v1"

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the chat requests."""
        return [request.body for request in self.requests if request.path.endswith("/chat/completions")]


def completion(text: str, **extra: Any) -> dict[str, Any]:
    """The JSON of a standard answer."""
    message = {"role": "assistant", "content": text} | extra.pop("message", {})
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}},
    } | extra


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Send a whole answer."""
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def ok(text: str = "hello", **extra: Any) -> Reply:
    """Answer with a text."""
    return lambda handler: send(handler, 200, json.dumps(completion(text, **extra)).encode())


def streams(*pieces: Any, finish: str | None = "stop", done: bool = True) -> Reply:
    """Answer with server-sent events: texts, whole chunks, bytes, or what to do between them; then finish and usage."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        last: list[Any] = [chunk({}, finish)] if finish else []
        usage = {"model": "m", "choices": [], "usage": completion("")["usage"]}
        for piece in (*pieces, *last, *([usage] if done else ())):
            if callable(piece):
                piece(handler)
                continue
            body = piece if isinstance(piece, bytes) else json.dumps(piece if isinstance(piece, dict) else chunk(piece))
            handler.wfile.write(b"data: " + (body if isinstance(body, bytes) else body.encode()) + b"\n\n")
            handler.wfile.flush()
        if done:
            handler.wfile.write(b"data: [DONE]\n\n")

    return reply


def chunk(delta: Any, finish: str | None = None) -> dict[str, Any]:
    """The JSON of a streamed chunk; a text stands for a delta of content."""
    delta = {"content": delta} if isinstance(delta, str) else delta
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def answer_canary(body: Any, honours: tuple[str, ...]) -> Reply | None:
    """What a server that enforces these fields answers to a canary; None when the request is none."""
    constraints = {name: value for name, value in body.items() if name not in ("model", "messages")}
    if not CANARY.search(json.dumps(constraints)):
        return None
    enforced = {name: value for name, value in constraints.items() if name in honours}
    word = CANARY.search(json.dumps(enforced))
    if word is None:
        return ok("Hello! How can I help you today?")
    if "tools" in enforced:
        function = {"name": "say", "arguments": json.dumps({"text": word[0]})}
        return ok("", message={"tool_calls": [{"id": "1", "type": "function", "function": function}]})
    schema = "additionalProperties" in json.dumps(enforced)
    return ok(json.dumps({"text": word[0]}) if schema else word[0])


def fails(status: int, message: str = "no", headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
    """Answer with an error in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "x", "code": status} | fields}).encode()
    return lambda handler: send(handler, status, body, headers)


def raw(body: bytes, status: int = 200) -> Reply:
    """Answer with any bytes."""
    return lambda handler: send(handler, status, body)


def slow(seconds: float) -> Reply:
    """Answer late."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        with contextlib.suppress(OSError):
            ok()(handler)

    return reply


def breaks_off(after: int = 20) -> Reply:
    """Promise a whole answer and close the connection in its middle (after=0: before the first byte)."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps(completion("x" * 500)).encode()
        if after:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[:after])
            handler.wfile.flush()
        handler.close_connection = True
        handler.connection.close()

    return reply


def drips(piece: bytes, pause: float, head: bytes = b"", gone: threading.Event | None = None) -> Reply:
    """Answer without an end: the same piece again and again, after a pause each; `gone` tells of the client's end."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        handler.close_connection = True
        try:
            handler.wfile.write(head)
            while True:
                time.sleep(pause)
                handler.wfile.write(piece)
                handler.wfile.flush()
        except OSError:
            if gone is not None:
                gone.set()

    return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: ScriptedServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        script = self.script
        headers = {name.lower(): value for name, value in self.headers.items()}
        canary = answer_canary(body, script.honours) if self.path == "/v1/chat/completions" else None
        received = script.requests if canary is None else script.canaries
        received.append(Request(self.command, self.path, headers, body))
        if self.path in script.answers:
            script.answers[self.path](self)
        elif self.path == "/v1/models" and script.models is not None:
            send(self, 200, json.dumps({"object": "list", "data": script.models}).encode())
        elif canary is not None:
            (script.canary or canary)(self)
        elif self.path == "/v1/chat/completions":
            special = script.reply(body)
            if special is not None:
                special(self)
                return
            text = script.text(body) if callable(script.text) else script.text
            standard = streams(*re.findall(r"(?s).{1,5}", text)) if body.get("stream") else ok(text)
            (script.chat.pop(0) if script.chat else standard)(self)
        elif self.path in script.routes:
            route = script.routes[self.path]
            (route(body) if callable(route) else raw(json.dumps(route).encode()))(self)
        else:
            fails(404, "Not Found")(self)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: closed connections are part of the script."""


@contextlib.contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Run a server on a free port of the loopback."""
    script = ScriptedServer()
    handler = type("Handler", (_Handler,), {"script": script})
    server = _Server(("127.0.0.1", 0), handler)
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

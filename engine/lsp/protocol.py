"""The wire: standard input and output, and what the protocol's library does not do as this server needs it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.io_ import run_async
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

_LOG = logging.getLogger(__name__)
_CHUNK = 65536
_PATIENCE = 2.0
"""Seconds that a check which is under way has to end with the server."""
_LOOK = 5.0
"""Seconds between two looks at the client's process where the system cannot tell when it ends."""


class Protocol(LanguageServerProtocol):
    """The library's protocol without its own copies of documents; what it cannot read it answers with an error."""

    def __init__(self, server: Any, converter: Any) -> None:
        super().__init__(server, converter)
        self.on_exit: Callable[[int], None] = lambda _code: None
        self.on_client: Callable[[int], None] = lambda _process: None

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Return the typed message; a request that is none gets its answer, or the client would wait for ever."""
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if isinstance(data.get("id"), (str, int)) and "method" in data:
                self._send_response(data["id"], error=error.to_response_error())
            raise

    @lsp_method(types.EXIT)
    def lsp_exit(self, *_args: Any) -> None:  # type: ignore[override]  # the library's is a generator
        """End the server: code 0 after a shutdown request, else 1."""
        self.on_exit(0 if self._shutdown else 1)

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        """Hand the document on."""
        self._hand_on(types.TEXT_DOCUMENT_DID_OPEN, params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Hand the changes on."""
        self._hand_on(types.TEXT_DOCUMENT_DID_CHANGE, params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Hand the address on."""
        self._hand_on(types.TEXT_DOCUMENT_DID_CLOSE, params)

    def _hand_on(self, method: str, params: Any) -> None:
        handler = self.fm.features.get(method)
        if handler is not None:
            handler(params)


class _Output:
    """Writes to the client; a client that is gone ends the server."""

    def __init__(self, descriptor: int, gone: Callable[[int], None]) -> None:
        self._descriptor, self._gone = descriptor, gone

    def write(self, data: bytes) -> None:
        """Write all of it."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            self._gone(1)

    def close(self) -> None:
        """Close the way to the client."""
        os.close(self._descriptor)


class _End:
    """When the server ends, and with which code; the first reason counts."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.reached = asyncio.Event()

    def __call__(self, code: int) -> None:
        """End the server."""
        if self.code is None:
            self.code = code
        self.reached.set()


def serve(server: LanguageServer, close: Callable[[], None]) -> int:
    """Serve one client on standard input and output until it leaves, and return the exit code.

    Whatever else writes to standard output meanwhile, in this process or below it, goes to standard error.

    Args:
        server: The server; its protocol is a `Protocol`.
        close: Called at the end.
    """
    sys.stdout.flush()
    source, target = os.dup(0), os.dup(1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    if os.name == "posix":  # whatever the client left them as
        os.set_blocking(source, True)
        os.set_blocking(target, True)
    code = asyncio.run(_serve(server, source, target))
    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(_PATIENCE)
    if closing.is_alive():  # a check that takes long keeps nobody waiting
        sys.stderr.flush()
        os._exit(code)
    return code


async def _serve(server: LanguageServer, source: int, target: int) -> int:
    end = _End()
    protocol = server.protocol
    assert isinstance(protocol, Protocol)  # noqa: S101 - said in serve's contract
    protocol.on_exit = end
    protocol.on_client = partial(_watch, end=end)
    protocol.set_writer(_Output(target, end))
    _on_signals(end)
    reading = asyncio.create_task(_read(server, _reader(source), end))
    await end.reached.wait()
    reading.cancel()
    return end.code or 0


def _on_signals(end: _End) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, end, 128 + number)
        except NotImplementedError:  # Windows ends the process itself
            return


def _reader(source: int) -> asyncio.StreamReader:
    """Return what the client sends; a thread reads it, for not every kind of input can be waited for otherwise."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()

    def feed(data: bytes) -> None:
        if data:
            reader.feed_data(data)
        else:
            reader.feed_eof()

    def read() -> None:
        data = b"-"
        while data and not loop.is_closed():
            try:
                data = os.read(source, _CHUNK)
            except OSError:
                data = b""
            try:
                loop.call_soon_threadsafe(feed, data)
            except RuntimeError:  # the loop was closed meanwhile
                return

    threading.Thread(target=read, daemon=True, name="engine-lsp-input").start()
    return reader


async def _read(server: LanguageServer, reader: asyncio.StreamReader, end: _End) -> None:
    try:
        await run_async(threading.Event(), reader, server.protocol, _LOG, server.report_server_error)
    except (asyncio.IncompleteReadError, ValueError) as error:
        _LOG.error("the client sent no message of the protocol: %s", error)
    protocol = server.protocol
    end(0 if protocol._shutdown else 1)  # noqa: SLF001 - the library has no other word for it


def _watch(process: int, end: _End) -> None:
    """End the server when the client's process is gone, even where another process keeps the input open.

    One that is not there to begin with lives in another container: then the end of the input must do.
    """
    loop = asyncio.get_running_loop()
    if os.name != "posix" or not _lives(process):
        return
    if hasattr(os, "pidfd_open"):
        loop.add_reader(os.pidfd_open(process), end, 1)
    elif end.code is None:
        loop.call_later(_LOOK, _look_again, process, end)


def _look_again(process: int, end: _End) -> None:
    if _lives(process):
        _watch(process, end)
    else:
        end(1)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

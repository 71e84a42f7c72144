"""The editor server: which message is answered by what. No logic here."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.protocol import default_converter

from engine.diagnostics import CODES
from engine.lsp import actions, completion, definition, hover, occurrences, pages, replies, symbols
from engine.lsp.desk import Desk
from engine.lsp.documents import path_of
from engine.lsp.newest import Worker
from engine.lsp.positions import Lines
from engine.lsp.protocol import Protocol, serve
from engine.lsp.view import Request

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_LONG = 20_000
_TRIGGERS = [".", "|", "{", "%", '"', "'", "/", "@", "[", ":", " "]


class EngineServer(LanguageServer):
    """One client's server."""

    def __init__(self) -> None:
        super().__init__("engine", version("bundle-engine"), protocol_cls=Protocol, converter_factory=default_converter)
        self.desk = Desk(self._publish)
        self._answers = Worker()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log what went wrong on standard error; the client is not bothered with it."""
        _LOG.error("%s: %s", getattr(source, "__name__", source), error)

    def _publish(self, path: Path, found: Any) -> None:
        uri, buffer = self.desk.buffers.uri(path), self.desk.buffers.get(path)
        shown = [replies.diagnostic(item, lines, self.desk.buffers.encoding, uri) for item, lines in found]
        number = buffer.version if buffer is not None else None
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, shown, number))

    async def ask(self, uri: str, position: types.Position) -> Request | None:
        """Return the question about a place."""
        return await self.desk.request(uri, (position.line, position.character))

    async def answer(self, function: Callable[[Request], T], request: Request) -> T:
        """Answer a question; about a long text in a thread, so that others need not wait."""
        if len(request.text) < _LONG:
            return function(request)
        return await self._answers.do(function, request)


def main() -> int:
    """Serve one client on standard input and output; return the exit code."""
    server = make_server()
    return serve(server, server.desk.close)


def make_server() -> EngineServer:
    """Return a server with all that it answers."""
    server = EngineServer()
    _lifecycle(server)
    _documents(server)
    _questions(server)
    _names(server)
    _actions(server)
    return server


def _guarded(answer: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T | None]]:
    """Answer with nothing where something goes wrong: an editor has no use for a traceback."""

    @functools.wraps(answer)
    async def guarded(params: Any) -> T | None:
        try:
            return await answer(params)
        except Exception:  # noqa: BLE001 - a fault of the engine; it is logged
            _LOG.exception("no answer")
            return None

    return guarded


def _lifecycle(server: EngineServer) -> None:
    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.desk.buffers.encoding = types.PositionEncodingKind(server.workspace.position_encoding).value
        if params.process_id is not None:
            server.protocol.on_client(params.process_id)  # type: ignore[attr-defined]  # it is a Protocol

    @server.feature(types.INITIALIZED)
    @_guarded
    async def initialized(_params: types.InitializedParams) -> None:
        roots = [path_of(folder.uri) for folder in server.workspace.folders.values()]
        alone = path_of(server.workspace.root_uri or "")
        await _watch_files(server)
        await server.desk.begin([path for path in roots or [alone] if path is not None])

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    @_guarded
    async def folders(params: types.DidChangeWorkspaceFoldersParams) -> None:
        paths = [path_of(folder.uri) for folder in params.event.added]
        await server.desk.begin([path for path in paths if path is not None])

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    @_guarded
    async def watched(params: types.DidChangeWatchedFilesParams) -> None:
        paths = [path_of(change.uri) for change in params.changes]
        await server.desk.on_disk([path for path in paths if path is not None])


async def _watch_files(server: EngineServer) -> None:
    workspace = server.client_capabilities.workspace
    watched = workspace.did_change_watched_files if workspace is not None else None
    if watched is None or not watched.dynamic_registration:
        return
    options = types.DidChangeWatchedFilesRegistrationOptions([types.FileSystemWatcher("**/*")])
    registration = types.Registration("files", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
    await server.client_register_capability_async(types.RegistrationParams([registration]))


def _documents(server: EngineServer) -> None:
    desk = server.desk

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        desk.opened(document.uri, document.text, document.version)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        desk.changed(params.text_document.uri, params.content_changes, params.text_document.version)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        desk.saved(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        desk.closed(params.text_document.uri)


def _questions(server: EngineServer) -> None:
    desk = server.desk

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=_TRIGGERS))
    @_guarded
    async def complete(params: types.CompletionParams) -> types.CompletionList | None:
        request = await server.ask(params.text_document.uri, params.position)
        if request is None:
            return None
        choices = await server.answer(completion.complete, request)
        return replies.completion(request, choices, desk.buffers.encoding, snippets=_snippets(server))

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    @_guarded
    async def docs(params: types.HoverParams) -> types.Hover | None:
        request = await server.ask(params.text_document.uri, params.position)
        known = await desk.findings(params.text_document.uri)
        if request is None or known is None:
            return None
        place, encoding = (params.position.line, params.position.character), desk.buffers.encoding
        found = actions.touching(known[0].text, known[1], (place, place), encoding)
        about = await server.answer(hover.hover, request)
        return replies.hover(request, hover.with_pages(about, request, found), encoding)

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    @_guarded
    async def defined(params: types.DefinitionParams) -> types.Location | None:
        request = await server.ask(params.text_document.uri, params.position)
        target = await server.answer(definition.definition, request) if request is not None else None
        return replies.location(target, desk.buffers) if target is not None else None

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    @_guarded
    async def outline(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol] | None:
        request = await server.ask(params.text_document.uri, types.Position(0, 0))
        if request is None:
            return None
        return replies.symbols(request, await server.answer(symbols.symbols, request), desk.buffers.encoding)


def _names(server: EngineServer) -> None:
    desk = server.desk

    @server.feature(types.TEXT_DOCUMENT_REFERENCES)
    @_guarded
    async def used(params: types.ReferenceParams) -> list[types.Location] | None:
        request = await server.ask(params.text_document.uri, params.position)
        found = await server.answer(occurrences.find, request) if request is not None else []
        return [replies.location(target, desk.buffers) for target in found]

    @server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)
    @_guarded
    async def prepare(params: types.PrepareRenameParams) -> types.Range | None:
        request = await server.ask(params.text_document.uri, params.position)
        named = occurrences.renamable(request) if request is not None else None
        if request is None or named is None:
            return None
        return replies.text_range(Lines(request.text), named.first, named.last, desk.buffers.encoding)

    @server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
    @_guarded
    async def rename(params: types.RenameParams) -> types.WorkspaceEdit | None:
        request = await server.ask(params.text_document.uri, params.position)
        if request is None or occurrences.renamable(request) is None or not occurrences.is_name(params.new_name):
            return None
        found = await server.answer(occurrences.find, request)
        return replies.renaming(found, params.new_name, desk.buffers)


def _snippets(server: EngineServer) -> bool:
    document = server.client_capabilities.text_document
    item = document.completion.completion_item if document is not None and document.completion is not None else None
    return bool(item is not None and item.snippet_support)


def _actions(server: EngineServer) -> None:
    kinds = [types.CodeActionKind.QuickFix, types.CodeActionKind(types.CodeActionKind.SourceFixAll)]

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=kinds))
    @_guarded
    async def act(params: types.CodeActionParams) -> list[types.CodeAction] | None:
        known = await server.desk.findings(params.text_document.uri)
        if known is None:
            return None
        buffer, found = known
        encoding = server.desk.buffers.encoding
        chosen = actions.touching(buffer.text, found, _places(params.range), encoding)
        offered = actions.actions(buffer.text, found, chosen, params.context.only)
        shown = params.context.diagnostics
        return [replies.action(item, buffer, encoding, shown, actions.EXPLAIN) for item in offered]

    @server.command(actions.EXPLAIN)
    @_guarded
    async def explain(code: Any) -> None:
        if code in CODES:
            await pages.show(server, code)


def _places(where: types.Range) -> tuple[tuple[int, int], tuple[int, int]]:
    return (where.start.line, where.start.character), (where.end.line, where.end.character)

"""An editor: pygls' own client against `engine lsp` as a process of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Union

from lsprotocol import types
from pygls.lsp.client import LanguageClient
from pygls.protocol import default_converter

SECONDS = 30


def _converter() -> Any:
    """Return lsprotocol's converter, which takes a code action that has a command for a bare command, set right."""
    converter = default_converter()

    def structure(value: Any, _: Any) -> types.Command | types.CodeAction:
        kind = types.Command if isinstance(value.get("command"), str) else types.CodeAction
        return converter.structure(value, kind)

    converter.register_structure_hook(Union[types.Command, types.CodeAction], structure)  # noqa: UP007 - as lsprotocol spells it
    return converter


class Editor(LanguageClient):
    """A client that keeps what the server says; documents are named by their paths."""

    def __init__(self) -> None:
        super().__init__("tests", "1", converter_factory=_converter)
        self.published: dict[str, types.PublishDiagnosticsParams] = {}
        self.history: list[types.PublishDiagnosticsParams] = []
        self.messages: list[str] = []
        self.shown: list[str] = []
        self.registered: list[str] = []
        self.errors: list[Exception] = []
        self.stderr = ""
        self.texts: dict[Path, tuple[str, int]] = {}
        self._changed = asyncio.Event()

        @self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.published[params.uri] = params
            self.history.append(params)
            self._changed.set()

        @self.feature(types.WINDOW_SHOW_MESSAGE)
        def message(params: types.ShowMessageParams) -> None:
            self.messages.append(params.message)
            self._changed.set()

        @self.feature(types.WINDOW_SHOW_DOCUMENT)
        def show(params: types.ShowDocumentParams) -> types.ShowDocumentResult:
            self.shown.append(params.uri)
            return types.ShowDocumentResult(True)

        @self.feature(types.CLIENT_REGISTER_CAPABILITY)
        def register(params: types.RegistrationParams) -> None:
            self.registered += [item.method for item in params.registrations]

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Keep what the protocol's own layer complains about, such as a line that is no message."""
        self.errors.append(error)

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The server's process."""
        assert self._server is not None
        return self._server

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that the server's messages bring about."""
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    # -- documents

    def open(self, path: Path, text: str | None = None) -> None:
        """Open a file, with another text than it has if one is given."""
        content = path.read_text("utf-8") if text is None else text
        self.texts[path] = (content, 1)
        item = types.TextDocumentItem(path.as_uri(), "any", 1, content)
        self.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def change(self, path: Path, text: str) -> None:
        """Give an open document a whole new text."""
        self._send(path, text, [types.TextDocumentContentChangeWholeDocument(text)])

    def edit(self, path: Path, where: types.Range, new: str, text: str) -> None:
        """Change a part of an open document, which then has the text."""
        self._send(path, text, [types.TextDocumentContentChangePartial(where, new)])

    def _send(self, path: Path, text: str, changes: list[Any]) -> None:
        number = self.texts[path][1] + 1
        self.texts[path] = (text, number)
        identifier = types.VersionedTextDocumentIdentifier(number, path.as_uri())
        self.text_document_did_change(types.DidChangeTextDocumentParams(identifier, changes))

    def save(self, path: Path) -> None:
        """Write an open document and say so."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.texts[path][0], "utf-8")
        self.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(path.as_uri())))

    def close(self, path: Path) -> None:
        """Close a document."""
        del self.texts[path]
        self.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(path.as_uri())))

    def on_disk(self, *paths: Path, kind: types.FileChangeType = types.FileChangeType.Changed) -> None:
        """Say that files were changed by somebody else."""
        events = [types.FileEvent(path.as_uri(), kind) for path in paths]
        self.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams(events))

    # -- findings

    def found(self, path: Path) -> list[types.Diagnostic]:
        """Return what is shown at a file now."""
        params = self.published.get(path.as_uri())
        return list(params.diagnostics) if params is not None else []

    def codes(self, path: Path) -> list[str]:
        """Return the codes that are shown at a file now."""
        return [str(item.code) for item in self.found(path)]

    async def codes_of(self, path: Path) -> list[str]:
        """Return the codes of the newest text of an open document, once they are there."""
        number = self.texts[path][1]

        def current() -> bool:
            params = self.published.get(path.as_uri())
            return params is not None and params.version == number

        await self.until(current)
        return self.codes(path)

    # -- questions

    def place(self, path: Path, mark: str, *, by: int | None = None) -> types.TextDocumentPositionParams:
        """Return the place behind the first occurrence of a text, or `by` characters into it."""
        text = self.texts[path][0]
        offset = text.index(mark) + (len(mark) if by is None else by)
        before = text[:offset]
        column = len(before.rpartition("\n")[2].encode("utf-16-le")) // 2
        position = types.Position(before.count("\n"), column)
        return types.TextDocumentPositionParams(types.TextDocumentIdentifier(path.as_uri()), position)

    async def choices(self, path: Path, mark: str, *, by: int | None = None) -> dict[str, types.CompletionItem]:
        """Return what may stand at a place, by label."""
        at = self.place(path, mark, by=by)
        found = await self.text_document_completion_async(types.CompletionParams(at.text_document, at.position))
        assert isinstance(found, types.CompletionList)
        return {item.label: item for item in found.items}

    async def docs(self, path: Path, mark: str, *, by: int = 1) -> str:
        """Return the hover at a place, empty for none."""
        at = self.place(path, mark, by=by)
        found = await self.text_document_hover_async(types.HoverParams(at.text_document, at.position))
        if found is None:
            return ""
        assert isinstance(found.contents, types.MarkupContent)
        return found.contents.value

    async def target(self, path: Path, mark: str, *, by: int = 1) -> tuple[str, int, int] | None:
        """Return where a thing is defined: file name, line and column, from 0."""
        at = self.place(path, mark, by=by)
        found = await self.text_document_definition_async(types.DefinitionParams(at.text_document, at.position))
        if found is None:
            return None
        assert isinstance(found, types.Location)
        return found.uri, found.range.start.line, found.range.start.character

    async def offered(self, path: Path, where: types.Range, only: list[str] | None = None) -> list[types.CodeAction]:
        """Return the code actions at a range."""
        context = types.CodeActionContext(self.found(path), only=only)  # type: ignore[arg-type]  # kinds are open
        params = types.CodeActionParams(types.TextDocumentIdentifier(path.as_uri()), where, context)
        found = await self.text_document_code_action_async(params)
        return [item for item in found or [] if isinstance(item, types.CodeAction)]


def capabilities(*, snippets: bool = True, encodings: list[str] | None = None) -> types.ClientCapabilities:
    """Return what an editor like VS Code can do."""
    item = types.ClientCompletionItemOptions(snippet_support=snippets)
    return types.ClientCapabilities(
        workspace=types.WorkspaceClientCapabilities(
            did_change_watched_files=types.DidChangeWatchedFilesClientCapabilities(dynamic_registration=True)
        ),
        text_document=types.TextDocumentClientCapabilities(
            completion=types.CompletionClientCapabilities(completion_item=item)
        ),
        window=types.WindowClientCapabilities(show_document=types.ShowDocumentClientCapabilities(support=True)),
        general=types.GeneralClientCapabilities(position_encodings=encodings) if encodings else None,  # type: ignore[arg-type]  # open
    )


@asynccontextmanager
async def editor(root: Path | None = None, **options: Any) -> AsyncIterator[Editor]:
    """Start a server and say hello; at the end it is asked to leave, and must."""
    client = Editor()
    await client.start_io(sys.executable, "-m", "engine", "lsp", cwd=str(root) if root is not None else None)
    reading = asyncio.create_task(_stderr(client))
    folders = [types.WorkspaceFolder(root.as_uri(), root.name)] if root is not None else None
    given = options.pop("capabilities", None) or capabilities(**options)
    await client.initialize_async(types.InitializeParams(given, workspace_folders=folders))
    client.initialized(types.InitializedParams())
    try:
        yield client
    finally:
        async with asyncio.timeout(SECONDS):
            if client.process.returncode is None:
                await client.shutdown_async(None)
                client.exit(None)
            await client.process.wait()
            await reading
            await client.stop()


async def _stderr(client: Editor) -> None:
    assert client.process.stderr is not None
    client.stderr = (await client.process.stderr.read()).decode()

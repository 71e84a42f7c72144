"""Shows the page of a code in the editor."""

from __future__ import annotations

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from engine.diagnostics import page
from engine.files import atomic_write, cache_folder


async def show(server: LanguageServer, code: str) -> None:
    """Open the page as a document where the client can do that, else show it as a message.

    Args:
        server: The server.
        code: A code of the table.
    """
    window = server.client_capabilities.window
    if window is not None and window.show_document is not None and window.show_document.support:
        path = cache_folder() / "pages" / f"{code}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, page(code).encode())
        await server.window_show_document_async(types.ShowDocumentParams(path.as_uri(), take_focus=True))
    else:
        server.window_show_message(types.ShowMessageParams(types.MessageType.Info, page(code)))

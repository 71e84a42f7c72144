"""From answers to the protocol's replies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lsprotocol import types

from engine.diagnostics import Diagnostic, Edit, Span, printable
from engine.lsp.actions import Action
from engine.lsp.completion import Choice
from engine.lsp.documents import Buffer, Buffers
from engine.lsp.hover import Docs
from engine.lsp.positions import Encoding, Lines, Place
from engine.lsp.symbols import Symbol
from engine.lsp.things import Target
from engine.lsp.view import Request

MAX_CHOICES = 500
_SEVERITIES = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}
_OTHER_LINE = re.compile(r"\bin line (\d+)")
_LOOKS = {
    "key": types.CompletionItemKind.Property,
    "value": types.CompletionItemKind.Value,
    "name": types.CompletionItemKind.Variable,
    "file": types.CompletionItemKind.File,
    "function": types.CompletionItemKind.Function,
    "keyword": types.CompletionItemKind.Keyword,
    "snippet": types.CompletionItemKind.Snippet,
}
_SYMBOLS = {
    "key": types.SymbolKind.Field,
    "item": types.SymbolKind.Object,
    "input": types.SymbolKind.Variable,
    "external": types.SymbolKind.Function,
    "block": types.SymbolKind.Namespace,
}
_PLACEHOLDER = re.compile(r"\$\{\d+\|((?:\\.|[^,|])*)(?:,(?:\\.|[^,|])*)*\|\}|\$\{\d+:([^}]*)\}|\$\d+|\\([$}\\,|])")


def range_of(places: tuple[Place, Place]) -> types.Range:
    """Return the protocol's range of two places."""
    (line, column), (end_line, end_column) = places
    return types.Range(types.Position(line, column), types.Position(end_line, end_column))


def text_range(lines: Lines, first: int, last: int, encoding: Encoding) -> types.Range:
    """Return the range between two offsets."""
    return range_of((lines.place(first, encoding), lines.place(last, encoding)))


def diagnostic(item: Diagnostic, lines: Lines, encoding: Encoding, uri: str) -> types.Diagnostic:
    """Return a finding as the protocol has it; its help follows the message."""
    message = printable(item.message) + (f"\n{printable(item.help)}" if item.help else "")
    return types.Diagnostic(
        range=range_of(lines.span(item.span, encoding)),
        message=message,
        severity=_SEVERITIES[item.severity],
        code=item.code,
        source="engine",
        related_information=_related(item, lines, encoding, uri),
    )


def _related(
    item: Diagnostic, lines: Lines, encoding: Encoding, uri: str
) -> list[types.DiagnosticRelatedInformation] | None:
    """Return the other place that a message names by its line."""
    found = _OTHER_LINE.search(item.message)
    if found is None:
        return None
    place = range_of(lines.span(Span(item.span.file, int(found[1])), encoding))
    return [types.DiagnosticRelatedInformation(types.Location(uri, place), "the other place")]


def completion(
    request: Request, choices: Sequence[Choice], encoding: Encoding, *, snippets: bool
) -> types.CompletionList:
    """Return a list of choices in their order.

    Args:
        request: The question.
        choices: The choices.
        encoding: The unit of columns.
        snippets: Whether the client fills in places; otherwise only what is certain is written.
    """
    lines = Lines(request.text)
    items = [_item(request, lines, choice, encoding, snippets=snippets) for choice in choices[:MAX_CHOICES]]
    for index, item in enumerate(items):
        item.sort_text = f"{index:04}"
    return types.CompletionList(is_incomplete=len(choices) > MAX_CHOICES, items=items)


def _item(
    request: Request, lines: Lines, choice: Choice, encoding: Encoding, *, snippets: bool
) -> types.CompletionItem:
    start, end = lines.bounds(lines.line_of(request.offset))
    first, last = max(choice.first, start), min(choice.last, end)
    insert, also = choice.insert, choice.also
    if also is not None and also[0] >= first:  # the two would overlap
        insert, also = also[1] + insert, None
    if choice.snippet and not snippets:
        insert = _plain(insert)
    form = types.InsertTextFormat.Snippet if choice.snippet and snippets else types.InsertTextFormat.PlainText
    more = [types.TextEdit(text_range(lines, also[0], also[0], encoding), also[1])] if also is not None else None
    return types.CompletionItem(
        label=choice.label,
        kind=_LOOKS[choice.look],
        detail=choice.detail or None,
        documentation=_markdown(choice.docs) if choice.docs else None,
        filter_text=_filter_text(request, choice, first),
        insert_text_format=form,
        text_edit=types.TextEdit(text_range(lines, first, last, encoding), insert),
        additional_text_edits=more,
    )


def _filter_text(request: Request, choice: Choice, first: int) -> str | None:
    """Return what the client compares with the text that is replaced, where that is more than the label's beginning."""
    before = request.text[first : request.offset]
    head = before[: len(before) - len((re.search(r"[\w./-]*\Z", before) or [""])[0])]
    return head + choice.label if head else None


def _plain(snippet: str) -> str:
    """Return a snippet's text up to the first place to fill in."""
    text = _PLACEHOLDER.sub(lambda found: found[1] or found[2] or found[3] or "", snippet)
    return text.rstrip("\n ") + (" " if text.endswith(" ") else "")


def _markdown(text: str) -> types.MarkupContent:
    return types.MarkupContent(types.MarkupKind.Markdown, text)


def hover(request: Request, docs: Docs | None, encoding: Encoding) -> types.Hover | None:
    """Return docs as the protocol has them."""
    if docs is None:
        return None
    where = text_range(Lines(request.text), docs.first, docs.last, encoding) if docs.last > docs.first else None
    return types.Hover(_markdown(docs.text), where)


def location(target: Target, buffers: Buffers) -> types.Location:
    """Return a place to go to as the protocol has it."""
    where = text_range(Lines(target.text), target.first, target.last, buffers.encoding)
    return types.Location(buffers.uri(target.path), where)


def renaming(found: Iterable[Target], name: str, buffers: Buffers) -> types.WorkspaceEdit:
    """Return the edit that writes another name at all places."""
    changes: dict[str, list[types.TextEdit]] = {}
    for target in found:
        place = location(target, buffers)
        changes.setdefault(place.uri, []).append(types.TextEdit(place.range, name))
    return types.WorkspaceEdit(changes=changes)


def symbols(request: Request, found: Iterable[Symbol], encoding: Encoding) -> list[types.DocumentSymbol]:
    """Return a document's symbols."""
    lines = Lines(request.text)

    def convert(symbol: Symbol) -> types.DocumentSymbol:
        whole = text_range(lines, symbol.first, symbol.last, encoding)
        name = text_range(lines, symbol.name_first, symbol.name_last, encoding)
        below = [convert(item) for item in symbol.below]
        return types.DocumentSymbol(printable(symbol.name), _SYMBOLS[symbol.look], whole, name, children=below)

    return [convert(item) for item in found]


def action(
    item: Action, buffer: Buffer, encoding: Encoding, shown: Sequence[types.Diagnostic], command: str
) -> types.CodeAction:
    """Return an action as the protocol has it.

    Args:
        item: The action.
        buffer: The document that it changes.
        encoding: The unit of columns.
        shown: The findings that the client sent with its question.
        command: The command that shows a page.
    """
    codes = {finding.code for finding in item.solves} | {item.explains}
    made = types.CodeAction(
        item.title, kind=item.kind, diagnostics=[finding for finding in shown if finding.code in codes] or None
    )
    if item.explains is not None:
        made.command = types.Command(item.title, command, arguments=[item.explains])
        return made
    lines = Lines(buffer.text)
    edits = [_edit(edit, lines, encoding) for edit in item.edits]
    made.edit = types.WorkspaceEdit(changes={buffer.uri: edits})
    made.is_preferred = item.kind == "quickfix" or None
    return made


def _edit(edit: Edit, lines: Lines, encoding: Encoding) -> types.TextEdit:
    return types.TextEdit(range_of(lines.span(edit.span, encoding, widen=False)), edit.text)

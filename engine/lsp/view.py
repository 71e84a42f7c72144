"""What an answer is made from: the file in which the cursor is, and what is known of its bundle."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from engine.bundle.draft import Draft, ScriptUse
from engine.bundle.names import tool_names
from engine.bundle.source import BundleSource
from engine.lsp.homes import FileKind
from engine.lsp.outline import Outline, read_outline
from engine.messages import ToolSchema

if TYPE_CHECKING:
    from engine.prompts import Scope


@dataclass(frozen=True)
class View:
    """A bundle: its files and its manifest as they are in the editor, and the last check that came to a manifest.

    Attributes:
        folder: The bundle's folder.
        source: Its files at the last check.
        draft: The last draft with a manifest that could be read; None before there was one.
        texts: The texts in the editor by posix path in the folder.
    """

    folder: Path
    source: BundleSource
    draft: Draft | None
    texts: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """Return the text of a file of the bundle, as it is in the editor; None when there is none."""
        name = posixpath.normpath(name)
        if name in self.texts:
            return self.texts[name]
        return self.source.text(name)[0] if name in self.source.files else None

    def path(self, name: str) -> Path | None:
        """Return where a file of the bundle lies, None when there is no such file."""
        name = posixpath.normpath(name)
        if name in self.texts:
            return self.folder / name
        return Path(posixpath.normpath(self.source.show(name))) if name in self.source.files else None

    def owner(self, template: str) -> tuple[BundleSource, str]:
        """Return the bundle that a template's name is about, and the template's path in it."""
        from engine.prompts import PARENT

        level, name = 0, posixpath.normpath(template)
        while name.startswith(PARENT) and level < len(self.source.parents):
            level, name = level + 1, name.removeprefix(PARENT)
        return (self.source, *self.source.parents)[level], name

    def template(self, name: str) -> str | None:
        """Return the text of a template, by the name that templates have for it."""
        owner, plain = self.owner(name)
        if owner is self.source:
            return self.text(plain)
        return owner.text(plain)[0] if plain in owner.files else None

    @cached_property
    def files(self) -> list[str]:
        """The bundle's files."""
        return sorted({*self.source.files, *self.texts})

    @property
    def manifest_name(self) -> str:
        """Name of the manifest."""
        return self.source.manifest or "bundle.yaml"

    @cached_property
    def outline(self) -> Outline:
        """The manifest as it is in the editor."""
        return read_outline(self.text(self.manifest_name) or "")

    @cached_property
    def uses(self) -> list[ScriptUse]:
        """The scripts that tools and context providers use, as far as they are known."""
        return self.draft.uses if self.draft is not None else []

    @cached_property
    def schemas(self) -> dict[str, ToolSchema]:
        """The tools as the model sees them, as far as they are known."""
        return {schema.name: schema for schema in self.draft.schemas} if self.draft is not None else {}

    @cached_property
    def tools(self) -> list[str]:
        """Names of the tools: those that the manifest has now, then those that it inherits."""
        entries = [entry for _, entry in self.draft.each("tools")] if self.draft is not None else []
        known = [name for entry in entries for name in tool_names(entry)]
        return list(dict.fromkeys([*(name for name, _ in self.tool_entries()), *known]))

    def tool_entries(self) -> Iterator[tuple[str, tuple[str, int]]]:
        """Yield the tools of the manifest as it is now: the name and the place."""
        for index in range(self.outline.count(("tools",))):
            name = self.outline.value(("tools", index, "name"))
            path = self.outline.value(("tools", index, "path")) or self.outline.value(("tools", index))
            if name is not None and name.text:
                yield name.text, ("tools", index)
            elif path is not None and path.text:
                yield posixpath.basename(path.text).partition(".")[0], ("tools", index)

    def tool_of(self, index: str | int) -> str | None:
        """Return the name of the tool at an index of the manifest as it is now."""
        return next((name for name, path in self.tool_entries() if path[1] == index), None)

    @cached_property
    def context(self) -> list[str]:
        """Names of the context providers."""
        now = [slot.text for slot in self.outline.values("context", "*", "name") if slot.text]
        known = [item.name for _, item in self.draft.each("context")] if self.draft is not None else []
        return list(dict.fromkeys([*now, *known]))

    @cached_property
    def adapters(self) -> list[str]:
        """Names of the adapters."""
        known = self.draft.manifest.adapters if self.draft is not None else ()
        return list(dict.fromkeys([*self.outline.keys(("adapters",)), *known]))

    @cached_property
    def params(self) -> dict[str, Mapping[str, object]]:
        """The params and what is known of their schemas."""
        known = dict(self.draft.manifest.params) if self.draft is not None else {}
        return {**{name: {} for name in self.outline.keys(("params",))}, **known}

    @cached_property
    def scope(self) -> Scope:
        """The names that prompts and expressions may use."""
        from engine.prompts import prompt_scope

        return prompt_scope(tuple(self.params), tuple(self.context))

    def use_of(self, name: str, *, tool: bool) -> ScriptUse | None:
        """Return the use of a script by the name of its tool, or of its context provider."""
        return next((use for use in self.uses if use.name == name and (use.spec is not None) == tool), None)


@dataclass(frozen=True)
class Request:
    """A question about a place in a file.

    Attributes:
        path: The file.
        name: Its posix path in the bundle; the bare name for a file outside of bundles.
        kind: What kind of file it is.
        text: Its text, as it is in the editor.
        offset: The place, in characters.
        view: The bundle; None for a file outside of bundles.
    """

    path: Path
    name: str
    kind: FileKind
    text: str
    offset: int
    view: View | None

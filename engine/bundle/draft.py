"""What the passes share about one bundle while it is checked."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.bundle.cases import BundleCase
from engine.bundle.source import BundleSource
from engine.diagnostics import Span
from engine.manifest import Document, JsonPath, Manifest, Typed
from engine.manifest.bundle_model import ScriptTool

if TYPE_CHECKING:
    from engine.grammar.constraint import ConstraintOptions
    from engine.messages import ToolSchema
    from engine.models.base import ModelPlugin
    from engine.prompts import Scope, Templates
    from engine.tools import Script


@dataclass(slots=True)
class ScriptUse:
    """One place of the manifest that uses a script.

    Attributes:
        path: The place in the manifest.
        file: The script's path in the bundle.
        spec: The tool as the manifest has it; None for a context provider.
        script: The parsed script; None when it is missing or broken.
        name: The name of the tool or of the context provider.
    """

    path: JsonPath
    file: str
    spec: ScriptTool | None
    script: Script | None
    name: str


@dataclass(slots=True)
class Draft:
    """A bundle on its way: each pass reads what earlier ones filled in, and adds its own.

    Attributes:
        source: The files.
        document: The manifest with positions; None when it could not be read.
        typed: The manifest's model; its `sound` says which parts may be looked at.
        templates: The parsed templates.
        uses: The scripts that the manifest names.
        schemas: The tools as the model sees them, as far as they are known.
        constrained: The model family and what the manifest asks of the grammar; None where that has an error.
        cases: The cases that the manifest's `tests` names, as far as they are sound.
    """

    source: BundleSource
    document: Document | None = None
    typed: Typed[Manifest] | None = None
    templates: Templates | None = None
    uses: list[ScriptUse] = field(default_factory=list)
    schemas: list[ToolSchema] = field(default_factory=list)
    inline: dict[str, JsonPath] = field(default_factory=dict)
    constrained: tuple[ModelPlugin, ConstraintOptions] | None = None
    cases: list[BundleCase] = field(default_factory=list)

    @property
    def manifest(self) -> Manifest:
        """The model; only passes that need it are run, and only when there is one."""
        assert self.typed is not None  # noqa: S101
        assert self.typed.model is not None  # noqa: S101
        return self.typed.model

    def sound(self, *path: str | int) -> bool:
        """Whether the manifest has this part as its author wrote it."""
        return self.typed is not None and self.typed.sound(*path)

    def each(self, key: str) -> Iterator[tuple[int, Any]]:
        """Yield the sound items of a list at the manifest's top level, each with the author's index."""
        assert self.typed is not None  # noqa: S101
        if self.sound(key):
            for position, item in enumerate(getattr(self.manifest, key)):
                yield self.typed.index(key, position), item

    def key(self, *path: str | int) -> Span:
        """Where a key of the manifest stands."""
        assert self.document is not None  # noqa: S101
        return self.document.positions.key(path)

    def value(self, *path: str | int) -> Span:
        """Where a value of the manifest stands."""
        assert self.document is not None  # noqa: S101
        return self.document.positions.value(path)

    def scope(self) -> Scope:
        """The names that prompts and expressions may use."""
        from engine.prompts import prompt_scope

        return prompt_scope(tuple(self.manifest.params), tuple(item.name for _, item in self.each("context")))

    def text(self, name: str) -> str | None:
        """Return the text of a file of the bundle; None when it is not there or not text (which layout reports)."""
        name = posixpath.normpath(name)
        return self.source.text(name)[0] if name in self.source.files else None

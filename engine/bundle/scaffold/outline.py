"""What a person wants of a new bundle, checked before anything is written."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from engine.bundle.scaffold.speech import SPEECH
from engine.diagnostics import did_you_mean
from engine.errors import ConfigError
from engine.manifest import LANGUAGES, node_types
from engine.manifest.bundle_model import IDENTIFIER, NAME

Kind = Literal["edit", "report"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DESCRIPTIONS: dict[Kind, str] = {
    "edit": "Puts a comment above code that says what it does.",
    "report": "Says what code does, and changes nothing.",
}
TOOLS: dict[Kind, str] = {"edit": "write_comment", "report": "explain"}
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Outline:
    """A bundle to be made.

    Attributes:
        name: Its name.
        kind: `edit` changes the code, `report` only says something about it.
        description: What it does, in a sentence.
        plugin: The model family.
        tool: The name of its tool.
        languages: Languages of the code that it takes, the sample's first.
        types: Node types that it takes.
    """

    name: str
    kind: Kind
    description: str
    plugin: str
    tool: str
    languages: tuple[str, ...]
    types: tuple[str, ...]


def outline(  # noqa: PLR0913 - one argument for each thing that a person can choose
    name: str,
    *,
    kind: Kind = "edit",
    description: str | None = None,
    plugin: str = "smollm",
    tool: str | None = None,
    languages: Sequence[str] = (),
    types: Sequence[str] = (),
) -> Outline:
    """Check what was asked for and fill in what was left out.

    Raises:
        ConfigError: Something does not exist, or is not a name.
    """
    from engine.models import PLUGINS

    chosen = tuple(dict.fromkeys(languages)) or ("python",)
    _known("language", chosen, LANGUAGES)
    _known("model plugin", (plugin,), sorted(PLUGINS))
    return Outline(
        check_name(name),
        kind,
        _sentence(DESCRIPTIONS[kind] if description is None else description),
        plugin,
        _tool_name(TOOLS[kind] if tool is None else tool),
        *_nodes(chosen, tuple(dict.fromkeys(types))),
    )


def check_name(name: str) -> str:
    """Return the name of a bundle, as manifests allow it.

    Raises:
        ConfigError: It is none.
    """
    if re.fullmatch(NAME, name):
        return name
    hint = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-").lstrip("0123456789_-")[:63]
    advice = f"; perhaps '{hint}'" if re.fullmatch(NAME, hint) else ""
    raise ConfigError(
        f"'{name}' is no name for a bundle: a small letter, then small letters, digits, - and _, at most 63{advice}"
    )


def _tool_name(name: str) -> str:
    if re.fullmatch(IDENTIFIER, name) and len(name) <= _LONGEST // 20:
        return name
    raise ConfigError(f"'{name}' is no name for a tool: letters, digits and _, no digit first, at most 50")


def _sentence(text: str) -> str:
    text = text.strip()
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise ConfigError(f"a description is one line of text, 1 to {_LONGEST} characters: {text[:60]!r} is none")
    return text


def _known(what: str, names: Sequence[str], known: Collection[str], where: str = "") -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"there is no {what} '{name}'{where}: {hint or 'there are ' + ', '.join(known)}")


def _nodes(languages: tuple[str, ...], types: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return languages and node types; first the language that has the first of the types, which gives the sample."""
    if not types:
        return languages, tuple(dict.fromkeys(kind for name in languages for kind in SPEECH[name].types))
    _known("node type", types, node_types(languages), f" in {', '.join(languages)}")
    able = [name for name in languages if any(kind in SPEECH[name].nodes for kind in types)]
    if not able:
        raise ConfigError(f"{languages[0]} has no {types[0]}: it has {', '.join(SPEECH[languages[0]].nodes)}")
    return (able[0], *(name for name in languages if name != able[0])), types

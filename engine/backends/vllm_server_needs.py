"""What bundles need of one vLLM server that they share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.backends.peft_files import version_name
from engine.backends.server_info import normalise
from engine.backends.vllm_server_command import tool_parser_for
from engine.errors import ConfigError
from engine.models.base import Adapter


@dataclass(frozen=True, slots=True)
class BundleNeeds:
    """What one bundle needs.

    Attributes:
        name: The bundle's name.
        model: The model that it names.
        adapters: Its adapters.
        api_tools: Whether its tools are declared by the API, so that the server parses the calls.
    """

    name: str
    model: str | None = None
    adapters: Sequence[Adapter] = ()
    api_tools: bool = False


@dataclass(frozen=True, slots=True)
class ServerNeeds:
    """What a server has to be started with.

    Attributes:
        model: The model, a folder or a name on the hub.
        served_name: What requests call it; None for the same.
        adapters: PEFT folders by the names that requests use.
        tool_parser: The parser of tool calls, where the API's tools are used.
        notes: What was left out, for the person who starts it.
    """

    model: str
    served_name: str | None = None
    adapters: dict[str, Path] = field(default_factory=dict)
    tool_parser: str | None = None
    notes: tuple[str, ...] = ()


def server_needs(
    bundles: Sequence[BundleNeeds],
    model: str | None = None,
    served_name: str | None = None,
    extra: Sequence[str] = (),
) -> ServerNeeds:
    """Find what one server for all of these bundles needs.

    Args:
        bundles: What each needs.
        model: The model to serve; by default the one that the bundles name.
        served_name: What requests call it; by default what the bundles call it, else the name of its folder.
        extra: Further options of vLLM, which may name the parser of tool calls.

    Raises:
        ConfigError: There is no model, or more than one; or its family's way of writing calls is not known.
        BundleError: An adapter's files cannot be read.
    """
    named = sorted({bundle.model for bundle in bundles if bundle.model is not None})
    chosen = model or (named[0] if len(named) == 1 else None)
    if chosen is None:
        which = f"the bundles name different models ({', '.join(named)})" if named else "no bundle names a model"
        raise ConfigError(f"{which}: choose the one to serve with --model (a folder, or a name on the hub)")
    folder = Path(chosen).name if Path(chosen).is_dir() else None
    name = served_name or (named[0] if len(named) == 1 and named[0] != chosen else folder)
    adapters: dict[str, Path] = {}
    notes = [
        f"bundle {bundle.name} names the model {bundle.model}, which {name or chosen} is not: run it with --model"
        for bundle in bundles
        if bundle.model is not None and normalise(bundle.model) not in _names(chosen, name)
    ]
    for bundle in bundles:
        for adapter in bundle.adapters:
            why = _why_not(adapter, _names(chosen, name))
            if why is not None:
                notes.append(f"adapter {adapter.name} of bundle {bundle.name} is left out: {why}")
            elif adapter.peft is not None:
                adapters[version_name(adapter)] = adapter.peft
    parser = _parser(extra) or (tool_parser_for(name or chosen) if any(one.api_tools for one in bundles) else None)
    return ServerNeeds(chosen, name, adapters, parser, tuple(notes))


def _names(*names: str | None) -> set[str]:
    return {normalise(name) for name in names if name}


def _why_not(adapter: Adapter, model: set[str]) -> str | None:
    if adapter.served_name is not None:
        return f"the bundle expects the server to have it as {adapter.served_name}; add -- --lora-modules NAME=FOLDER"
    if adapter.peft is None:
        return "it has only a GGUF file, and vLLM reads PEFT folders"
    if adapter.base is not None and normalise(adapter.base) not in model:
        return f"it was trained on {adapter.base} (--served-name says so, if that is what is served)"
    return None


def _parser(extra: Sequence[str]) -> str | None:
    found = re.search(r"(?:^|\0)--tool-call-parser[=\0]([^\0]+)", "\0".join(extra))
    return found[1] if found else None

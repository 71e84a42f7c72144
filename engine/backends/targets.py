"""Who answers a request at a server: from the model and the adapter that are asked for to what is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.backends.adapter_words import words_of
from engine.backends.served import Served
from engine.backends.server_adapters import AdapterLoader
from engine.backends.server_info import normalise
from engine.errors import BackendRejected
from engine.models.base import Adapter

_GONE = re.compile(r"not loaded|never been loaded")


@dataclass(frozen=True, slots=True)
class Target:
    """Who answers a request.

    Attributes:
        model: The model's name to send.
        fields: Further fields of the request's body.
        adapter: The adapter that answers, by its name in the bundle, or on the server when it was asked for by that.
        loaded: The adapter, if it is one that the engine loads.
        loads: How often it had been loaded when this was made.
    """

    model: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    loaded: Adapter | None = None
    loads: int = 0


class Targets:
    """The models and adapters that one server can be asked for.

    Args:
        served: The server.
        default: The model that is meant where none is named; None is the first that the server lists.
    """

    def __init__(self, served: Served, default: str | None) -> None:
        self.served, self._default = served, default
        endpoints = served.dialect.lora
        self._loader = AdapterLoader(served, endpoints) if endpoints is not None else None

    def fits(self, adapter: Adapter, model: str | None = None) -> bool:
        """Whether an adapter was trained on this model (None: on one of the server's), as far as the bundle says."""
        if adapter.base is None or (adapter.served_name is not None and self.served.offers(adapter.served_name)):
            return True
        row = self.served.row(model) if model is not None else None
        if row is not None and row.parent is None:
            names = {normalise(name) for name in row.names}
        else:
            names = self.served.info.base_names() or {normalise(name) for name in (model, self._default) if name}
        return normalise(adapter.base) in names

    async def find(self, model: str | None, adapter: Adapter | None) -> Target:
        """Find who answers, and have the adapter loaded.

        Args:
            model: The model that is asked for, or an adapter by its name on the server; None is the default.
            adapter: The adapter that is asked for; one that was trained on another model is left out.

        Raises:
            BackendRejected: The server has no such model or adapter, or cannot load it.
            BundleError: The adapter's files cannot be used.
            openai.OpenAIError: The server could not be asked.
        """
        served, name = self.served, await self._name(model or self._default)
        named = name is not None and served.is_adapter(name)
        if adapter is not None and self.fits(adapter, name):
            return await self._adapted(None if named else name, adapter)
        if named and name is not None:
            chosen = served.dialect.select(served.info, Adapter(name, served_name=name))
            return Target(chosen.model or self._base(None), chosen.fields, name)
        return Target(self._base(name), served.dialect.select(served.info, None).fields)

    async def recover(self, target: Target, error: Exception) -> bool:
        """Load an adapter again that somebody unloaded since `target` was made.

        Returns:
            Whether the request should be sent once more.

        Raises:
            BackendRejected: It cannot be loaded any more.
            BundleError: Its files changed meanwhile.
        """
        if self._loader is None or target.loaded is None or not _is_gone(error):
            return False
        await self._loader.again(target.loaded, target.loads)
        return True

    async def _adapted(self, model: str | None, adapter: Adapter) -> Target:
        loader, served = self._loader, self.served
        if adapter.served_name is not None:
            if not served.offers(adapter.served_name) and served.dialect.lists_models:
                await served.refresh()
        elif adapter.peft is not None and loader is not None:
            name = await loader.ready(adapter)
            if name is not None:
                chosen = served.dialect.select(served.info, Adapter(adapter.name, served_name=name))
                sent = chosen.model or self._base(model)
                return Target(sent, chosen.fields, adapter.name, adapter, loader.loads(name))
        for name in _names(adapter):
            chosen = served.dialect.select(served.info, Adapter(adapter.name, served_name=name))
            if chosen.found:
                return Target(chosen.model or self._base(model), chosen.fields, adapter.name)
        raise self._lacks(adapter)

    async def _name(self, asked: str | None) -> str | None:
        """Return the server's own name of a model or adapter; where its list is complete, the name must be in it."""
        served = self.served
        if asked is None or not served.info.models or not served.dialect.lists_models:
            return asked
        if served.row(asked) is None and not served.is_adapter(asked):
            await served.refresh()
        row = served.row(asked)
        if row is None and not served.is_adapter(asked):
            have = ", ".join(row.id for row in served.info.models)
            raise BackendRejected(f"{served.url} has no model {asked!r}; it has: {have}. Set backend.model or --model")
        return row.id if row is not None else asked

    def _base(self, model: str | None) -> str:
        """Return the name of a base model to send."""
        default = self._default
        if default is not None and self.served.is_adapter(default):
            default = None
        name = model or default or self.served.info.default_model
        if name is None:
            raise BackendRejected(f"{self.served.url} lists no model: set backend.model or --model")
        return name

    def _lacks(self, adapter: Adapter) -> BackendRejected:
        """Return the error for an adapter that the server does not have and cannot load."""
        info, dialect, name = self.served.info, self.served.dialect, adapter.name
        rows = ", ".join([row.id for row in info.models if row.parent] + list(info.adapters)) or "none"
        have = f"{self.served.url} has no adapter {adapter.served_name or name!r} (it has: {rows})"
        if adapter.served_name is not None:
            have = f"{self.served.url} has no adapter {adapter.served_name!r} (it has: {rows})"
            return BackendRejected(f"{have}: load it on the server, or correct adapters.{name}.name in bundle.yaml")
        if dialect.lora is not None:
            way = f"{dialect.software} loads PEFT folders: ship one (adapters.{name}.path)"
        elif dialect.name == "llama_cpp":
            way = f"start it with --lora {adapter.gguf or 'and a GGUF file of the adapter'}"
        else:
            way = f"give the name that it has there (adapters.{name}.name), say what the server is (backend.dialect)"
        return BackendRejected(f"{have}: {way}, or run with --adapter none")


def _names(adapter: Adapter) -> Iterator[str]:
    """Yield the names under which a server may have an adapter that the engine does not load there."""
    if adapter.served_name is not None:
        yield adapter.served_name
        return
    if adapter.gguf is not None:
        yield str(adapter.gguf.resolve())
    yield adapter.name
    if adapter.gguf is not None:
        yield adapter.gguf.stem


def _is_gone(error: Exception) -> bool:
    """Whether a server refused a request because it does not have the adapter (any more)."""
    status = getattr(error, "status_code", None)
    return status == 404 or (status == 400 and _GONE.search(words_of(error)) is not None)

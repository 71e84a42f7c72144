"""Loads the adapters that bundles ship into a server, when they are needed.

An adapter is loaded under `<its name>-<12 digits of its content's sha256>`, so that a changed one is another one and an
answer tells which version gave it. Nothing is loaded twice, and what the folder held before is unloaded, which frees
its slot. A server reads a folder again whenever it had put the adapter aside, so a folder that changes after its bundle
was loaded is an error rather than another adapter under the old name.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.backends.adapter_words import Refusal, explain, not_updatable, words_of
from engine.backends.dialects.base import LoraEndpoints
from engine.backends.peft_files import CONFIG, WEIGHTS, PeftFacts, read_peft, version_name
from engine.backends.served import Served
from engine.errors import BundleError
from engine.models.base import Adapter

_THERE = re.compile(r"already (been |exists|loaded)", re.IGNORECASE)
# What the servers answer when they looked at an adapter and refused it; anything else is the server's own trouble.
_REFUSED = (400, 404, 422, 500)


class AdapterLoader:
    """Loads adapters into one server, one at a time.

    Args:
        served: The server.
        endpoints: Where it loads and unloads adapters.
    """

    def __init__(self, served: Served, endpoints: LoraEndpoints) -> None:
        self._served, self._endpoints = served, endpoints
        self._changing = asyncio.Lock()
        self._loads: dict[str, int] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        self._names: dict[tuple[Adapter, tuple[int, ...]], str] = {}

    def loads(self, name: str) -> int:
        """Return how often an adapter was loaded from here."""
        return self._loads.get(name, 0)

    async def ready(self, adapter: Adapter) -> str | None:
        """Have an adapter loaded.

        Args:
            adapter: Has `peft`.

        Returns:
            Its name on the server; None when the server cannot load adapters, but has it under its name in the bundle.

        Raises:
            BackendRejected: The server cannot load it.
            BundleError: Its files cannot be used.
            openai.OpenAIError: The server could not be asked.
        """
        name = await self._name(adapter)
        if not self._is_ready(name):
            async with self._changing:
                if not self._is_ready(name) and not await self._first(adapter, name):
                    return None
        self._check_unchanged(adapter, name)
        return name

    async def again(self, adapter: Adapter, loads: int) -> None:
        """Load an adapter again that somebody unloaded, unless that was done since `loads` was counted.

        Raises:
            BackendRejected: The server cannot load it.
            BundleError: Its files changed meanwhile, or cannot be used.
        """
        name = await self._name(adapter)
        async with self._changing:
            if self.loads(name) == loads:
                await self._load(adapter, name, await asyncio.to_thread(read_peft, adapter))

    async def _name(self, adapter: Adapter) -> str:
        """Return the name of this version; without the bundle's digest, the files are read once for each change."""
        key = (adapter, () if adapter.digest else _stamp(adapter))
        if key not in self._names:
            self._names[key] = await asyncio.to_thread(version_name, adapter)
        return self._names[key]

    def _check_unchanged(self, adapter: Adapter, name: str) -> None:
        if adapter.digest and self._stamps[name] != _stamp(adapter):
            raise BundleError(
                f"the files of adapter {adapter.name!r} in {_folder(adapter)} changed since they were read: load the "
                f"bundle anew"
            )

    def _is_ready(self, name: str) -> bool:
        return name in self._stamps and self._served.offers(name)

    async def _first(self, adapter: Adapter, name: str) -> bool:
        """Use a version of an adapter for the first time here; says whether the server has it."""
        stamp, facts = _stamp(adapter), await asyncio.to_thread(read_peft, adapter)
        self._check_shape(adapter, facts)
        self._stamps.setdefault(name, stamp)
        if self._served.offers(name):
            return True
        await self._drop_superseded(adapter, name)
        return await self._load(adapter, name, facts)

    async def _load(self, adapter: Adapter, name: str, facts: PeftFacts) -> bool:
        from openai import APIStatusError

        path = str(_folder(adapter))
        self._check_unchanged(adapter, name)
        try:
            await self._served.connection.command(self._endpoints.load, {"lora_name": name, "lora_path": path})
        except APIStatusError as error:
            if not self._is_there_anyway(adapter, path, facts, error):
                return False
        self._loads[name] = self.loads(name) + 1
        self._served.add(name, path)
        return True

    def _is_there_anyway(self, adapter: Adapter, path: str, facts: PeftFacts, error: Any) -> bool:
        """Judge a refusal: True when somebody else was faster, False when the adapter is there under its own name."""
        served = self._served
        if error.status_code == 404 and _no_endpoint(error):
            if served.offers(adapter.name):
                return False
            raise not_updatable(served.url, served.dialect.software, adapter) from error
        if error.status_code not in _REFUSED:
            raise error
        words = served.connection.redact(words_of(error))
        if _THERE.search(words):
            return True
        raise explain(Refusal(served.url, served.dialect.software, adapter, path, facts, words)) from error

    async def _drop_superseded(self, adapter: Adapter, name: str) -> None:
        """Unload what this folder held before; what another folder holds may be in use for another bundle."""
        from openai import BadRequestError, NotFoundError

        version, path = re.compile(re.escape(adapter.name) + r"-[0-9a-f]{12}"), str(_folder(adapter))
        for row in self._served.info.models:
            if row.parent is None or row.id == name or row.root != path or not version.fullmatch(row.id):
                continue
            try:
                await self._served.connection.command(self._endpoints.unload, {"lora_name": row.id})
            except (BadRequestError, NotFoundError):  # somebody was faster, or the next step says what is wrong
                continue
            self._served.remove(row.id)

    def _check_shape(self, adapter: Adapter, facts: PeftFacts) -> None:
        """Refuse an adapter of a deeper or narrower model, where the model's configuration lies on this machine."""
        trained_on = f" ({facts.base})" if facts.base else ""
        for root in {row.root for row in self._served.info.models if row.parent is None and row.root}:
            config = _config_of(Path(root))
            layers, width = config.get("num_hidden_layers"), config.get("hidden_size")
            wrong = None
            if isinstance(layers, int) and facts.layers > layers:
                wrong = f"changes {facts.layers} layers, and the model of {self._served.url} has {layers}"
            elif isinstance(width, int) and facts.width not in (0, width):
                wrong = f"is {facts.width} wide, and the model of {self._served.url} {width}"
            if wrong is not None:
                raise BundleError(
                    f"adapter {adapter.name!r} {wrong}: serve the model that it was trained on{trained_on}, or run "
                    f"with --adapter none"
                )


def _folder(adapter: Adapter) -> Path:
    if adapter.peft is None:
        raise AssertionError("only an adapter with a PEFT folder is loaded")
    return adapter.peft.resolve()


def _stamp(adapter: Adapter) -> tuple[int, ...]:
    """Return what changes when an adapter's files are written anew."""
    marks: list[int] = []
    for name in (CONFIG, WEIGHTS):
        try:
            status = (_folder(adapter) / name).stat()
        except OSError:
            continue
        marks += [status.st_mtime_ns, status.st_size]
    return tuple(marks)


def _config_of(root: Path) -> Mapping[str, Any]:
    """Return a model's `config.json`, empty where it cannot be read."""
    try:
        config = json.loads((root / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _no_endpoint(error: Any) -> bool:
    """Whether a 404 means the path of the request: then it has not the form of an error of the API."""
    return not (isinstance(error.body, Mapping) and {"message", "error_message"} & set(error.body))

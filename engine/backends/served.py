"""What a server offers now: what it said when it was asked first, and what was loaded or unloaded since."""

from __future__ import annotations

from dataclasses import replace

from engine.backends.connection import Connection
from engine.backends.dialects import Dialect
from engine.backends.server_info import ServedModel, ServerInfo, normalise, parse_models
from engine.models.base import Adapter


class Served:
    """The models and adapters of one server.

    Args:
        connection: The line to it.
        dialect: How it spells things.
        info: What it said about itself.
        url: What messages call it.
    """

    def __init__(self, connection: Connection, dialect: Dialect, info: ServerInfo, url: str) -> None:
        self.connection, self.dialect, self.info, self.url = connection, dialect, info, url

    def offers(self, name: str) -> bool:
        """Whether the server has an adapter of this name."""
        return self.dialect.select(self.info, Adapter(name, served_name=name)).found

    def row(self, asked: str) -> ServedModel | None:
        """Return the row of a model: of its own name, or of another spelling of a base model's name.

        `HuggingFaceTB/SmolLM2-135M-Instruct` finds `smollm2-135m-instruct`, so that one bundle fits several servers.
        """
        exact = next((row for row in self.info.models if row.id == asked), None)
        if exact is not None or not self.dialect.lists_models:
            return exact
        wanted = normalise(asked)
        bases = (row for row in self.info.models if row.parent is None)
        return next((row for row in bases if wanted and wanted in map(normalise, row.names)), None)

    def is_adapter(self, name: str) -> bool:
        """Whether a name is one of the server's adapters, not a model."""
        row = next((row for row in self.info.models if row.id == name), None)
        return row.parent is not None if row is not None else self.info.adapter_id(name) is not None

    async def refresh(self) -> None:
        """Ask again which models there are: others load adapters too."""
        models = parse_models(await self.connection.get("/models"))
        if models:
            self.info = replace(self.info, models=models)

    def add(self, name: str, path: str) -> None:
        """Note an adapter that was loaded."""
        self.remove(name)
        row = ServedModel(name, root=path, parent=self.info.default_model or name)
        self.info = replace(self.info, models=(*self.info.models, row))

    def remove(self, name: str) -> None:
        """Note that an adapter was unloaded."""
        self.info = replace(self.info, models=tuple(row for row in self.info.models if row.id != name))

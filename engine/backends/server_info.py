"""What a model server says about itself: its software, models and adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from engine.models.base import Adapter


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One row of `/v1/models`; `parent` is set for an adapter that the server offers as a model (vLLM)."""

    id: str
    owned_by: str = ""
    root: str | None = None
    parent: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the model is called: its id, and where it was loaded from."""
        return (self.id, self.root) if self.root else (self.id,)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One server, asked once.

    Attributes:
        models: The rows of `/v1/models`, in the server's order.
        adapters: llama.cpp only: the paths of the loaded adapters; the position is the adapter's id.
    """

    models: tuple[ServedModel, ...] = ()
    adapters: tuple[str, ...] = ()

    @property
    def default_model(self) -> str | None:
        """The first model that is not an adapter."""
        return next((model.id for model in self.models if model.parent is None), None)

    def base_names(self) -> set[str]:
        """Return the normalised names of the base models (ids and where they were loaded from)."""
        return {normalise(name) for row in self.models if row.parent is None for name in row.names}

    def adapter_id(self, name: str) -> int | None:
        """Return llama.cpp's id of an adapter, given its path or the stem of its file."""
        for index, path in enumerate(self.adapters):
            if name in (path, PurePosixPath(path.replace("\\", "/")).stem):
                return index
        return None


def parse_models(payload: Any) -> tuple[ServedModel, ...]:
    """Read the answer of `/v1/models`, ignoring rows without an id."""
    rows = payload.get("data") if isinstance(payload, Mapping) else None
    if not isinstance(rows, Sequence):
        return ()
    return tuple(
        ServedModel(row["id"], str(row.get("owned_by") or ""), _text(row.get("root")), _text(row.get("parent")))
        for row in rows
        if isinstance(row, Mapping) and isinstance(row.get("id"), str)
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def normalise(name: str) -> str:
    """Return a model's name without its owner, folder, file ending, quantisation, case and separators.

    `HuggingFaceTB/SmolLM2-135M-Instruct` and `SmolLM2-135M-Instruct.Q4_1.gguf` give the same text.
    """
    import re

    leaf = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower().removesuffix(".gguf").removesuffix("-gguf")
    leaf = re.sub(r"[-_.](iq\d\w*|q\d(_[a-z0-9]+)*|f16|fp16|bf16|f32|awq|gptq)$", "", leaf)
    return re.sub(r"[^a-z0-9]+", "", leaf)


def names_of(adapter: Adapter) -> tuple[str, ...]:
    """Return the names under which a server may offer an adapter, the most certain first."""
    return (adapter.served_name,) if adapter.served_name else (adapter.name,)

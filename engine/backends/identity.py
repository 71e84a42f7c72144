"""What determines a backend's replies beside the request: asked for before anything is taken from a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.backends.base import Backend
from engine.backends.cache import cache_dir, written_whole
from engine.backends.embedded import EmbeddedBackend
from engine.backends.openai_backend import OpenAIBackend
from engine.backends.weights.store import file_sha256, weights_path
from engine.backends.weights.table import WEIGHTS


async def identity_of(backend: Backend, model: str | None = None) -> Mapping[str, str]:
    """Return what tells a backend's model and software from others, by the name that a person knows each by.

    An embedded model is not started for it; a server is asked, once for its models and once for its version.

    Args:
        backend: The backend.
        model: The model's name; None is the backend's default.

    Raises:
        BackendError: The server does not answer.
    """
    if isinstance(backend, EmbeddedBackend):
        import asyncio

        weights = backend.weights
        return {
            "model": weights.name,
            "model weights": await asyncio.to_thread(weights_digest, weights.path),
            "server": f"llama.cpp (xllamacpp {_version('xllamacpp')}, {backend.context} tokens of context)",
        }
    name = model or await backend.model_name()
    found = {"model": name, "server": await backend.software()}
    if isinstance(backend, OpenAIBackend):
        rows = (await backend.server()).models
        root = next((row.root for row in rows if row.id == name), None)
        found |= {"model root": root} if root else {}
    return found


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a model's file, hex; it is computed once for as long as the file stays the same.

    A known model that is not on this machine has the digest that its file must have.

    Raises:
        OSError: A file of one's own cannot be read.
    """
    spec = next((one for one in WEIGHTS.values() if weights_path(one) == path), None)
    if spec is not None:
        return spec.sha256
    info = path.stat()
    stamp = f"{info.st_size} {info.st_mtime_ns} {info.st_ino}"
    kept = cache_dir("digests") / hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()
    if kept.is_file():
        known, _, digest = kept.read_text("ascii").partition("\n")
        if known == stamp:
            return digest
    found = file_sha256(path)
    with written_whole(kept) as part:
        part.write_text(f"{stamp}\n{found}", "ascii")
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"

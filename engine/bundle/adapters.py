"""The adapters of a bundle: files in it, or names on the server."""

from __future__ import annotations

import hashlib
import posixpath
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from engine.bundle.source import BundleSource
from engine.files import cache_folder
from engine.manifest.bundle_model import AdapterSpec
from engine.models.base import Adapter


def resolve_adapters(source: BundleSource, specs: Mapping[str, AdapterSpec]) -> dict[str, Adapter]:
    """Return the adapters by name; those of a zip are unpacked into the cache, where servers can read them.

    Args:
        source: The bundle's files; every path of the specs exists in it.
        specs: The manifest's adapters.
    """
    return {name: _resolve(source, name, spec) for name, spec in specs.items()}


def _resolve(source: BundleSource, name: str, spec: AdapterSpec) -> Adapter:
    peft = gguf = None
    if spec.path is not None:
        place = posixpath.normpath(spec.path)
        if place in source.folders:
            peft = place
        else:
            gguf = place
    if spec.gguf is not None:
        gguf = posixpath.normpath(spec.gguf)
    names = sorted(file for file in source.files if file == gguf or (peft and file.startswith(f"{peft}/")))
    digest = _digest(source, names) if names else ""
    root = _unpack(source, names, digest) if source.zipped and names else source.root
    return Adapter(
        name,
        root / peft if peft else None,
        root / gguf if gguf else None,
        spec.name,
        spec.base,
        digest,
    )


def _digest(source: BundleSource, names: list[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        content = source.files[name].content
        if content is None:
            with (source.root / name).open("rb") as handle:
                part = hashlib.file_digest(handle, "sha256").hexdigest()
        else:
            part = hashlib.sha256(content).hexdigest()
        total.update(f"{name}\0{part}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _unpack(source: BundleSource, names: list[str], digest: str) -> Path:
    """Write files of a zip below the cache, all or none; what is there already is taken."""
    target = cache_folder() / "bundles" / digest
    if target.is_dir():
        return target
    scratch = target.with_name(f".{digest}-{secrets.token_hex(4)}")
    try:
        for name in names:
            file = scratch / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source.files[name].content or b"")
        scratch.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target

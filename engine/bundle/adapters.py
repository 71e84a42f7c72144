"""The adapters of a bundle: files in it, or names on the server."""

from __future__ import annotations

import hashlib
import posixpath
import secrets
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from engine.bundle.source import BundleSource
from engine.files import cache_folder
from engine.manifest.bundle_model import AdapterSpec
from engine.models.base import Adapter


def resolve_adapters(source: BundleSource, specs: Mapping[str, AdapterSpec]) -> dict[str, Adapter]:
    """Return the adapters by name; those of a zip are unpacked into the cache, where servers can read them.

    So are those whose files come from several bundles: no folder has them all.

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
    root = _folder(source, names, digest) if names else source.root
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
        entry = source.files[name]
        if entry.content is None:
            part = _digest_of_large(source.place(name), entry.size, entry.mark)
        else:
            part = hashlib.sha256(entry.content).hexdigest()
        total.update(f"{name}\0{part}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


@lru_cache(maxsize=1024)
def _digest_of_large(path: Path, size: int, mark: str) -> str:  # noqa: ARG001 - with size and mark it is another file
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _folder(source: BundleSource, names: list[str], digest: str) -> Path:
    """Return the folder that holds all the files: the bundle's or a parent's, or one below the cache."""
    owners = [source.inherited.get(name, source) for name in names]
    if owners[0].zipped or any(owner is not owners[0] for owner in owners):
        return _gather(source, names, digest)
    return owners[0].root


def _gather(source: BundleSource, names: list[str], digest: str) -> Path:
    """Write files of a zip, or of several bundles, below the cache, all or none; what is there already is taken."""
    target = cache_folder() / "bundles" / digest
    if target.is_dir():
        return target
    scratch = target.with_name(f".{digest}-{secrets.token_hex(4)}")
    try:
        for name in names:
            file = scratch / name
            file.parent.mkdir(parents=True, exist_ok=True)
            content = source.files[name].content
            if content is None:
                shutil.copyfile(source.place(name), file)
            else:
                file.write_bytes(content)
        scratch.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target

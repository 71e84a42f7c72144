"""Weights on this machine: whether a known model is there and whole, and what a user's own GGUF file is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from engine.backends.cache import cache_dir, written_whole
from engine.backends.gguf_header import GgufError, GgufHeader, read_header
from engine.backends.weights.table import DEFAULT_WEIGHTS, WEIGHTS, WeightsSpec
from engine.diagnostics import did_you_mean
from engine.errors import ConfigError

# A ModelPlugin, how the architecture begins, and what the names hold; the first that fits.
_FAMILIES = (
    ("qwen_coder", "qwen3", "qwen3coder"),
    ("qwen", "qwen2", ""),
    ("qwen", "qwen3", ""),
    ("function_gemma", "gemma", "functiongemma"),
    ("smollm", "llama", "smol"),
    ("llama3", "llama", "llama3"),
)


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's file, ready to be loaded.

    Attributes:
        path: The GGUF file.
        name: What the model is called.
        plugin: The ModelPlugin of its family; None when the file does not say, then it must be given.
        bases: Names under which adapters may know the model, beside its own.
    """

    path: Path
    name: str
    plugin: str | None = None
    bases: tuple[str, ...] = ()


def resolve_weights(name_or_path: str | None = None) -> Weights:
    """Return a model that is on this machine; nothing is downloaded.

    Args:
        name_or_path: A name of the table, or the path of a GGUF file; None is the default model.

    Raises:
        ConfigError: The name is unknown, the model is not here yet, or the file is no usable model.
    """
    name = name_or_path or DEFAULT_WEIGHTS
    spec = WEIGHTS.get(name.lower())
    if spec is not None:
        path = weights_path(spec)
        if not is_present(spec):
            raise ConfigError(f"the model {spec.name!r} is not on this machine: run `engine models pull {spec.name}`")
        return Weights(path, spec.name, spec.plugin, (spec.hub_id,))
    path = Path(name).expanduser()
    if name.lower().endswith(".gguf") or path.is_file():
        return weights_of_file(path)
    guess = did_you_mean(name, WEIGHTS)
    raise ConfigError(
        f"unknown model {name!r}{': ' + guess if guess else ''}; known are {', '.join(sorted(WEIGHTS))} or the path of "
        f"a .gguf file"
    )


def weights_of_file(path: Path) -> Weights:
    """Describe a user's own GGUF file.

    Raises:
        ConfigError: It cannot be read, is no GGUF file, or is damaged or an adapter.
    """
    try:
        header = read_header(path)
    except OSError as error:
        raise ConfigError(f"{path}: the model's weights cannot be read ({error.strerror})") from error
    except GgufError as error:
        raise ConfigError(f"{path} {error}; give a model in GGUF format") from error
    if header.metadata.get("general.type", "model") != "model":
        raise ConfigError(
            f"{path} is of type {header.metadata['general.type']!r}, not a model; give a model in GGUF format"
        )
    known = next((spec for spec in WEIGHTS.values() if spec.file.lower() == path.name.lower()), None)
    if known is not None:
        return Weights(path, known.name, known.plugin, (known.hub_id,))
    keys = ("general.name", "general.basename", "general.base_model.0.name", "general.base_model.0.repo_url")
    bases = tuple(str(header.metadata[key]) for key in keys if header.metadata.get(key))
    return Weights(path, path.stem, _family(header, path), bases)


def _family(header: GgufHeader, path: Path) -> str | None:
    """Return the plugin that the architecture and the names point to."""
    names = f"{path.name} {header.metadata.get('general.name')} {header.metadata.get('general.basename')}".lower()
    plain = re.sub(r"[^a-z0-9]+", "", names)
    return next(
        (plugin for plugin, begin, part in _FAMILIES if header.architecture.startswith(begin) and part in plain), None
    )


def weights_path(spec: WeightsSpec) -> Path:
    """Return where a known model's file is kept."""
    return cache_dir("models") / spec.file


def is_present(spec: WeightsSpec) -> bool:
    """Say whether the file is there and whole; its hash is computed only when it changed since the last time."""
    path = weights_path(spec)
    if not path.is_file() or path.stat().st_size != spec.size:
        return False
    if _marker(path).is_file() and _marker(path).read_text("utf-8") == _mark(path, spec):
        return True
    if file_sha256(path) != spec.sha256:
        return False
    mark_verified(spec)
    return True


def mark_verified(spec: WeightsSpec) -> None:
    """Note that the file as it is now has the right hash."""
    path = weights_path(spec)
    with written_whole(_marker(path)) as part:
        part.write_text(_mark(path, spec), "utf-8")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _marker(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _mark(path: Path, spec: WeightsSpec) -> str:
    return f"{spec.sha256} {spec.size} {path.stat().st_mtime_ns}\n"

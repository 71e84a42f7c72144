"""From a bundle's Adapter to a GGUF file that fits the embedded model."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from engine.backends.cache import cache_dir, exclusive
from engine.backends.gguf_header import GgufError, GgufHeader, read_header
from engine.backends.lora_gguf import BaseShape, convert
from engine.errors import BundleError
from engine.models.base import Adapter

# Part of the cache's file names: a change in the conversion gives new files.
_CONVERSION = 1


def adapter_file(adapter: Adapter, weights: Path) -> Path:
    """Return the adapter as a GGUF file, converting a PEFT folder into the user's cache once.

    Args:
        adapter: Has `gguf` or `peft`.
        weights: The GGUF file of the model that it sits on.

    Raises:
        BundleError: It is damaged, of a kind that cannot be converted, or made for a model of another shape.
    """
    base = _header(weights, weights.stat().st_mtime_ns)
    if adapter.gguf is not None:
        path = adapter.gguf.resolve()
    elif adapter.peft is not None:
        path = _converted(adapter.peft, adapter.digest, base)
    else:
        raise BundleError(f"adapter {adapter.name!r} has no files: the embedded model needs its path or gguf")
    _check_fits(adapter.name, path, base)
    return path


@lru_cache(maxsize=8)
def _header(path: Path, _changed: int) -> GgufHeader:
    return read_header(path)


def _converted(folder: Path, digest: str, base: GgufHeader) -> Path:
    heads = base.number("attention.head_count") or 1
    shape = BaseShape(base.architecture, heads, base.number("attention.head_count_kv") or heads)
    content = digest or _digest(folder)
    name = f"{content[:40]}-{shape.architecture}-{shape.heads}-{shape.kv_heads}-v{_CONVERSION}.gguf"
    target = cache_dir("adapters") / name
    if not target.exists():
        with exclusive(target):
            if not target.exists():
                convert(folder, shape, target)
    return target


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        path = folder / name
        if path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _check_fits(name: str, path: Path, base: GgufHeader) -> None:
    """Refuse an adapter that would keep the model from starting."""
    try:
        header = _header(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise BundleError(f"adapter {name!r}: {path} cannot be read ({error.strerror})") from error
    except GgufError as error:
        raise BundleError(f"adapter {name!r}: {path} {error}") from error
    if header.metadata.get("adapter.type") != "lora":
        raise BundleError(f"adapter {name!r}: {path} is a GGUF file, but not a LoRA adapter")
    if header.architecture != base.architecture:
        raise BundleError(
            f"adapter {name!r} was made for the architecture {header.architecture!r}, "
            f"the model is {base.architecture!r}"
        )
    for tensor, shape in header.shapes.items():
        _check_tensor(name, tensor, shape, base)


def _check_tensor(name: str, tensor: str, shape: tuple[int, ...], base: GgufHeader) -> None:
    target, _, side = tensor.rpartition(".")
    below = base.shapes.get(target)
    if below is None or side not in ("lora_a", "lora_b"):
        raise BundleError(f"adapter {name!r} changes {target or tensor!r}, which the model does not have")
    if len(shape) != 2 or len(below) != 2:
        raise BundleError(f"adapter {name!r}: {tensor} is no matrix")
    wanted, found = (below[0], shape[0]) if side == "lora_a" else (below[1], shape[1])
    if wanted != found and "token_embd" not in target:
        raise BundleError(f"adapter {name!r} does not fit the model: {tensor} is {found} wide, the model {wanted}")

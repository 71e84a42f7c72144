"""What the files of a PEFT folder say about an adapter, read before a server is asked to load it.

A server checks little: vLLM 0.32 loads an adapter whose rank is not the one that its configuration names or which is
narrower than the model, and leaves out the layers that its model lacks, all without a word. The weights themselves
are not read, only the header of `adapter_model.safetensors`: eight bytes of length (little-endian), then JSON that
names each tensor's type, shape and place (source: the format's description in the safetensors repository). Both files
are untrusted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BundleError
from engine.models.base import Adapter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LONGEST_HEADER = 100_000_000
_LAYER = re.compile(r"\.layers\.(\d+)\.")
_INPUT = re.compile(r"\.[qkv]_proj\.lora_A(?:\.\w+)?\.weight$")
_SIDE = re.compile(r"\.lora_([AB])(?:\.\w+)?\.weight$")


@dataclass(frozen=True, slots=True)
class PeftFacts:
    """A PEFT adapter.

    Attributes:
        rank: Its highest rank.
        base: The model that it was trained on, as PEFT noted it: a name or a path; empty when it did not.
        layers: One more than the highest layer that it changes; 0 when it names no layers.
        width: The width of the model's hidden state, as the attention's inputs tell; 0 when it changes none of them.
    """

    rank: int
    base: str = ""
    layers: int = 0
    width: int = 0


def read_peft(adapter: Adapter) -> PeftFacts:
    """Check an adapter's folder.

    Args:
        adapter: Has `peft`.

    Raises:
        BundleError: A file is missing or damaged, it is no LoRA adapter, or the files contradict each other.
    """
    folder = adapter.peft
    if folder is None:
        raise BundleError(f"adapter {adapter.name!r} has no PEFT folder: name it in adapters.{adapter.name}.path")
    who = f"adapter {adapter.name!r}"
    config = _config(who, folder / CONFIG)
    ranks = _ranks(who, folder / CONFIG, config)
    shapes = _shapes(who, folder / WEIGHTS)
    for name, shape in shapes.items():
        _check_rank(f"{who}: {folder / WEIGHTS}", name, shape, ranks)
    layers = [int(match[1]) + 1 for match in map(_LAYER.search, shapes) if match]
    width = next((shape[1] for name, shape in shapes.items() if _INPUT.search(name)), 0)
    return PeftFacts(max(ranks), str(config.get("base_model_name_or_path") or ""), max(layers, default=0), width)


def content_of(adapter: Adapter) -> str:
    """Return the sha256 of an adapter's files, hex: the bundle's, or that of the PEFT folder's two files.

    Raises:
        BundleError: A file cannot be read.
    """
    if adapter.digest or adapter.peft is None:
        return adapter.digest
    total = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        try:
            with (adapter.peft / name).open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise _unreadable(f"adapter {adapter.name!r}", adapter.peft / name, error) from error
    return total.hexdigest()


def version_name(adapter: Adapter) -> str:
    """Return the name under which a server has this version of an adapter: `<its name>-<12 digits of its content>`.

    Raises:
        BundleError: A file cannot be read.
    """
    return f"{adapter.name}-{content_of(adapter)[:12]}"


def _config(who: str, path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _unreadable(who, path, error) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{who}: {path} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise BundleError(f"{who}: {path} is no PEFT configuration: it holds no object")
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise BundleError(f"{who}: {path} describes an adapter of the kind {kind!r}: only LORA can be served")
    return config


def _ranks(who: str, path: Path, config: Mapping[str, Any]) -> set[int]:
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else [None])]
    if any(isinstance(rank, bool) or not isinstance(rank, int) or rank < 1 for rank in ranks):
        raise BundleError(f"{who}: {path} is no PEFT configuration: its rank (r) is {config.get('r')!r}")
    return {int(rank) for rank in ranks if rank is not None}


def _shapes(who: str, path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors, after a check that the file holds all of them."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise BundleError(f"{who}: {path} is damaged or cut off: it has no whole header")
            rows = json.loads(stream.read(length))
    except OSError as error:
        raise _unreadable(who, path, error) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{who}: {path} is damaged: its header is no JSON") from error
    try:
        tensors = {name: row for name, row in rows.items() if name != "__metadata__"}
        shapes = {name: tuple(int(part) for part in row["shape"]) for name, row in tensors.items()}
        end = max((int(row["data_offsets"][1]) for row in tensors.values()), default=0)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(f"{who}: {path} is damaged: its header describes no tensors") from error
    if end > size - 8 - length:
        raise BundleError(f"{who}: {path} is cut off: its tensors need {end:,} bytes and it has {size - 8 - length:,}")
    if not any(_SIDE.search(name) for name in shapes):
        raise BundleError(f"{who}: {path} holds no LoRA weights")
    return shapes


def _check_rank(where: str, name: str, shape: tuple[int, ...], ranks: set[int]) -> None:
    side = _SIDE.search(name)
    if side is None:
        return
    if len(shape) != 2:
        raise BundleError(f"{where}: {name} is no matrix")
    rank = shape[0] if side[1] == "A" else shape[1]
    if rank not in ranks:
        said = ", ".join(map(str, sorted(ranks)))
        raise BundleError(f"{where}: {name} has the rank {rank}, and {CONFIG} says {said}: they don't belong together")


def _unreadable(who: str, path: Path, error: OSError) -> BundleError:
    why = error.strerror or str(error)
    way = "name the folder that PEFT wrote"
    if path.name == WEIGHTS:
        way = "save the adapter as safetensors, pickles are never read"
    return BundleError(f"{who}: {path} cannot be read ({why}): {way}")

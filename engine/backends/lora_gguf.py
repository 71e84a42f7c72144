"""Turns a PEFT LoRA folder into a GGUF adapter for llama.cpp.

Source of the tensor names, the `adapter.*` keys and the scale (alpha / rank): llama.cpp's `convert_lora_to_gguf.py`.
Models of the architecture `llama` keep their query and key rows in another order in GGUF than in transformers (pairs of
the rotary embedding are neighbours), so the B matrices of q and k are reordered the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backends.cache import written_whole
from engine.errors import BundleError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
# Architecture → whether GGUF reorders the rows of q and k.
_REORDERS = {"llama": True, "qwen2": False, "qwen3": False}
_KEY = re.compile(r"^(?:base_model\.model\.)?model\.layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])(?:\.default)?\.weight$")


@dataclass(frozen=True, slots=True)
class BaseShape:
    """What the conversion must know of the base model: its architecture and its numbers of query and key heads."""

    architecture: str
    heads: int
    kv_heads: int


def convert(folder: Path, base: BaseShape, target: Path) -> None:
    """Write the adapter of a PEFT folder as GGUF, atomically.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        base: The model that it sits on.
        target: The file to write.

    Raises:
        BundleError: The adapter is damaged, or is of a kind that llama.cpp cannot apply.
        MissingExtraError: gguf or safetensors is not installed.
    """
    if base.architecture not in _REORDERS:
        known = ", ".join(sorted(_REORDERS))
        raise BundleError(
            f"{folder}: a PEFT adapter for a model of architecture {base.architecture!r} cannot be converted (known: "
            f"{known}); ship it as a GGUF file (adapters.NAME.gguf)"
        )
    alpha = _alpha(folder)
    tensors = {name: _convert_tensor(folder, name, value, base) for name, value in _load(folder).items()}
    _write(dict(tensors.values()), alpha, base, target)


def _alpha(folder: Path) -> float:
    """Return the alpha to write: llama.cpp divides it by the rank."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): a PEFT folder has one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is no PEFT configuration: {error!r}") from error
    _refuse_unsupported(path, config)
    if rank < 1:
        raise BundleError(f"{path}: r is {rank}, it must be at least 1")
    return alpha * rank**0.5 if config.get("use_rslora") else alpha


def _refuse_unsupported(path: Path, config: Mapping[str, Any]) -> None:
    wrong = [key for key in ("use_dora", "use_qalora", "use_bdlora", "fan_in_fan_out", "lora_bias") if config.get(key)]
    wrong += [
        key for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "target_parameters") if config.get(key)
    ]
    wrong += [key for key in ("layer_replication", "alora_invocation_tokens") if config.get(key)]
    if config.get("peft_type", "LORA") != "LORA":
        wrong.append(f"peft_type {config['peft_type']}")
    if config.get("bias", "none") != "none":
        wrong.append(f"bias {config['bias']}")
    if wrong:
        raise BundleError(f"{path}: {', '.join(wrong)} cannot be converted for llama.cpp; train a plain LoRA adapter")


def _load(folder: Path) -> dict[str, NDArray[np.float32]]:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise MissingExtraError("a PEFT adapter on the embedded model", "local") from error
    path = folder / "adapter_model.safetensors"
    try:
        rows = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]  # a compiled function without stubs
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror}): save the adapter as safetensors, pickles are never read"
        ) from error
    except SafetensorError as error:
        raise BundleError(f"{path} is damaged: {error}") from error
    return {name: _array(path, name, row) for name, row in rows}


def _array(path: Path, name: str, row: Mapping[str, Any]) -> NDArray[np.float32]:
    import numpy as np

    data, shape = row["data"], row["shape"]
    match row["dtype"]:
        case "BF16":  # the upper half of a float32
            wide = np.frombuffer(data, "<u2").astype(np.uint32) << 16
            values = wide.view(np.float32)
        case "F16":
            values = np.frombuffer(data, "<f2").astype(np.float32)
        case "F32":
            values = np.frombuffer(data, "<f4")
        case other:
            raise BundleError(f"{path}: tensor {name} is of type {other}; BF16, F16 and F32 can be converted")
    if not np.isfinite(values).all():
        raise BundleError(f"{path}: tensor {name} holds values that are not finite")
    return values.reshape(shape)


def _convert_tensor(
    folder: Path, key: str, value: NDArray[np.float32], base: BaseShape
) -> tuple[str, NDArray[np.float16]]:
    """Return the GGUF name of a tensor and its values in GGUF's order of rows."""
    import numpy as np

    match = _KEY.match(key)
    module = match and _NAMES.get(match[2])
    if not match or not module or value.ndim != 2:
        known = ", ".join(name.split(".")[1] for name in _NAMES)
        raise BundleError(f"{folder}: {key} cannot be converted for llama.cpp; train only these modules: {known}")
    if match[3] == "B" and module in ("attn_q", "attn_k") and _REORDERS[base.architecture]:
        heads = base.heads if module == "attn_q" else base.kv_heads
        if value.shape[0] % (2 * heads):
            raise BundleError(f"{folder}: {key} has {value.shape[0]} rows, which do not divide into {heads} heads")
        value = reorder_rows(value, heads)
    name = f"blk.{match[1]}.{module}.weight.lora_{match[3].lower()}"
    return name, np.ascontiguousarray(value, dtype=np.float16)


def reorder_rows(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Move the rows of each head from halves (transformers) to pairs (llama.cpp).

    Args:
        rows: Output rows of a projection, shape (heads · size, anything).
        heads: The number of heads.
    """
    total, width = rows.shape
    return rows.reshape(heads, 2, total // heads // 2, width).swapaxes(1, 2).reshape(total, width)


def _write(tensors: Mapping[str, NDArray[np.float16]], alpha: float, base: BaseShape, target: Path) -> None:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("a PEFT adapter on the embedded model", "local") from error
    with written_whole(target) as part:
        writer = gguf.GGUFWriter(part, base.architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        for name, values in sorted(tensors.items()):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

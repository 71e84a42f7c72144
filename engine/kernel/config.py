"""How a kernel and a client behave, with every default in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.grammar.constraint import ConstraintOptions
from engine.kernel.pool import SharedBudget
from engine.kernel.prices import Prices
from engine.manifest.bundle_model import Sampling, TaskLimits
from engine.models.base import Adapter

_SAMPLING = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Which server and model answer, and how.

    Attributes:
        model: The model's name; None is the server's default.
        base_url: The API's URL, used where no backend is given.
        api_key: The server's key, used where no backend is given.
        dialect: The server's software, used where no backend is given; `auto` asks it.
        timeout: Seconds for one request, used where no backend is given.
        sampling: How tokens are chosen, and how many at most.
        options: What a reply may look like; None is the default strategy of the model family.
        adapter: The LoRA adapter that answers; None is the bare model.
        adapters: The LoRA adapters that a call may ask for by name, instead of a model.
    """

    model: str | None = None
    base_url: str = "http://localhost:8000/v1"
    api_key: str = "EMPTY"
    dialect: str = "auto"
    timeout: float = 120.0
    sampling: Sampling = _SAMPLING
    options: ConstraintOptions | None = None
    adapter: Adapter | None = None
    adapters: tuple[Adapter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelConfig(RuntimeConfig):
    """A RuntimeConfig, and how the turn loop goes.

    Attributes:
        history: How many messages a request carries at most; a call and its result are never separated.
        on_no_call: What a turn without a tool call means.
        limits: Tokens, cost, tool calls and seconds of one `run`; None sets no limit.
        budget: What all kernels that have it may use together, such as a `Pool`; None sets no limit.
        prices: What tokens cost; needed where the cost is limited.
        max_concurrent_tools: How many calls of one turn run at once.
        run_id: Put on the events.
        task_id: Put on the events.
    """

    history: int = 50
    on_no_call: Literal["fail", "finish"] = "fail"
    limits: TaskLimits | None = None
    budget: SharedBudget | None = None
    prices: Prices | None = None
    max_concurrent_tools: int = 10
    run_id: str = ""
    task_id: str = ""

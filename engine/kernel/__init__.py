"""The kernel room: the turn loop, and the single model call."""

from engine.kernel.client import RuntimeClient
from engine.kernel.config import KernelConfig, RuntimeConfig
from engine.kernel.history import trim
from engine.kernel.loop import Kernel
from engine.kernel.pool import Ceiling, Pool, SharedBudget, Spent
from engine.kernel.prices import Prices
from engine.kernel.prompt import PromptBuilder
from engine.kernel.results import ContextProvider, KernelResult, StepResult, Termination, TerminationReason

__all__ = [
    "Ceiling",
    "ContextProvider",
    "Kernel",
    "KernelConfig",
    "KernelResult",
    "Pool",
    "Prices",
    "PromptBuilder",
    "RuntimeClient",
    "RuntimeConfig",
    "SharedBudget",
    "Spent",
    "StepResult",
    "Termination",
    "TerminationReason",
    "trim",
]

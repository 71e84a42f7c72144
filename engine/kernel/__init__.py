"""The kernel room: the turn loop, and the single model call."""

from engine.kernel.client import RuntimeClient
from engine.kernel.config import KernelConfig, RuntimeConfig
from engine.kernel.history import trim
from engine.kernel.loop import Kernel
from engine.kernel.prompt import PromptBuilder
from engine.kernel.results import ContextProvider, KernelResult, StepResult, Termination, TerminationReason

__all__ = [
    "ContextProvider",
    "Kernel",
    "KernelConfig",
    "KernelResult",
    "PromptBuilder",
    "RuntimeClient",
    "RuntimeConfig",
    "StepResult",
    "Termination",
    "TerminationReason",
    "trim",
]

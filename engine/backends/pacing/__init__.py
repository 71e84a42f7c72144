"""How many requests a run sends at once: as many as the server is good for, and none while it is away."""

from engine.backends.pacing.breaker import Breaker
from engine.backends.pacing.clock import clock_stopped, name_clock
from engine.backends.pacing.gate import Gate
from engine.backends.pacing.pace import Pace
from engine.backends.pacing.paced import PacedBackend
from engine.backends.pacing.refusals import REFUSED

__all__ = ["REFUSED", "Breaker", "Gate", "Pace", "PacedBackend", "clock_stopped", "name_clock"]

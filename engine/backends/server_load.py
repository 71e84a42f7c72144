"""How busy a server says it is: the numbers of requests in its metrics, in the text format of Prometheus.

Sources: the metrics of vLLM, SGLang and llama.cpp's server (which has them with `--metrics` only).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# The dialect → where its metrics are.
METRICS = {"vllm": "/metrics", "sglang": "/metrics", "llama_cpp": "/metrics"}
_RUNNING = ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
_WAITING = ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")
_SAMPLE = re.compile(r"^([a-z]+:[a-z_]+)(?:\{[^\n]*\})?[ \t]+([^ \t\n]+)", re.MULTILINE)
_MOST = 1e6


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """How busy a server is.

    Attributes:
        running: Requests that it works on.
        waiting: Requests that wait in it.
    """

    running: int
    waiting: int


def parse_load(text: str) -> ServerLoad | None:
    """Return the load that metrics tell, summed over a server's engines; None where they don't tell it."""
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        if name in _RUNNING or name in _WAITING:
            sums[name] = sums.get(name, 0.0) + _number(value)
    running = [sums[name] for name in _RUNNING if name in sums]
    waiting = [sums[name] for name in _WAITING if name in sums]
    return ServerLoad(int(running[0]), int(waiting[0])) if running and waiting else None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(_MOST, max(0.0, value)) if math.isfinite(value) else 0.0

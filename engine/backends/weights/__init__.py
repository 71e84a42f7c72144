"""Model weights: the table, the user's cache, downloads, and users' own GGUF files."""

from engine.backends.weights.pull import find_spec, pull
from engine.backends.weights.store import Weights, is_present, resolve_weights, weights_of_file, weights_path
from engine.backends.weights.table import DEFAULT_WEIGHTS, WEIGHTS, HubSource, WeightsSpec, WheelSource

__all__ = [
    "DEFAULT_WEIGHTS",
    "WEIGHTS",
    "HubSource",
    "Weights",
    "WeightsSpec",
    "WheelSource",
    "find_spec",
    "is_present",
    "pull",
    "resolve_weights",
    "weights_of_file",
    "weights_path",
]

"""Composition root: settings → bundles, backend, event log, change store; the only place that wires rooms."""

from __future__ import annotations

from engine.app.app import App
from engine.app.functions import discover, run
from engine.app.request import Fetch, ResumeRequest, RunRequest

__all__ = ["App", "Fetch", "ResumeRequest", "RunRequest", "discover", "run"]

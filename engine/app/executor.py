"""Where the tasks of a run are executed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.app.request import RunRequest
    from engine.backends import Backend
    from engine.manifest import EngineConfig
    from engine.run.executors.ray_runner import RayOptions


def ray_options(config: EngineConfig, request: RunRequest, backend: Backend, *, given: bool) -> RayOptions | None:
    """Return how the tasks get onto a cluster; None where they run in this process.

    Args:
        config: The project's settings.
        request: What a person asks for.
        backend: The driver's backend.
        given: Whether the backend is one that the program made itself.

    Raises:
        ConfigError: The backend cannot be made anew on other machines.
    """
    if (request.executor or config.run.executor) != "ray":
        return None
    if given:
        raise ConfigError("executor ray: workers make their own backend, so it has to be one that engine.yaml names")
    from engine.app.backend import make_backend
    from engine.run.executors.ray_runner import RayOptions

    return RayOptions(
        config.run.ray,
        partial(make_backend, config, replace(request, bundles=(), targets=())),
        computes=backend.name == "embedded",
    )

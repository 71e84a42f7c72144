"""The connection to a Ray cluster: found or made, quiet, and gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

from engine.errors import ConfigError, MissingExtraError

# Shared memory of a cluster that is made here: what travels is small.
_STORE = 256 * 1024 * 1024
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A driver that waits for a cluster that is gone ends sooner.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
}


@contextlib.asynccontextmanager
async def connected(address: str | None) -> AsyncIterator[Any]:
    """Connect to a cluster and yield the module `ray`; a connection that this program has already is used and kept.

    Args:
        address: The cluster's address; None takes the one that Ray finds, else makes one on this machine, which ends
            with this process.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There is no cluster at the address, or it cannot be used from here.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("--executor ray", "ray")
    if address is not None and address.startswith("ray://"):
        raise ConfigError(
            f"run.ray is {address}, the address of a Ray client: start the run on a machine of the cluster, with "
            f"run.ray: auto"
        )
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    # After the import, which sets levels and handlers of its own.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield ray
        return
    await asyncio.to_thread(_connect, ray, address)
    try:
        yield ray
    finally:
        await asyncio.to_thread(ray.shutdown)


def _connect(ray: Any, address: str | None) -> None:
    """Connect, or make a cluster where none was named and none is there."""
    if address is not None:
        _init(ray, address)
        return
    try:
        _init(ray, os.environ.get("RAY_ADDRESS") or "auto")
    except _NoClusterError:
        if os.environ.get("RAY_ADDRESS"):
            raise
        _init(ray, "local")


class _NoClusterError(ConfigError):
    """There is no cluster at the address."""


def _init(ray: Any, address: str) -> None:
    made = {"include_dashboard": False, "object_store_memory": _STORE} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=False, **made)
    except ConnectionError as exc:
        raise _NoClusterError(
            f"there is no Ray cluster at {address} (run.ray in engine.yaml, or RAY_ADDRESS): ray start --head makes one"
        ) from exc
    except (RuntimeError, ValueError, OSError) as exc:
        raise ConfigError(f"the Ray cluster at {address} cannot be used: {_line(exc)}") from exc


def _line(exc: BaseException) -> str:
    """Return what an error of Ray says, as one line."""
    return " ".join(str(exc).split())[:500]

"""The connection to a Ray cluster: found or made, quiet, and gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

from engine.errors import ConfigError, MissingExtraError

# Shared memory of a cluster that is made here: what travels is small.
_STORE = 256 * 1024 * 1024
# Seconds for the head of a cluster to answer: Ray itself would try for many minutes.
_ANSWER = 5.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray prints what its daemons say on stdout; that a worker died is told by the run.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
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
    """Connect to the cluster that was named, or that is there, or to a new one."""
    found = _find(address)
    if found is None or (found != "local" and not _answers(found)):
        if address is not None or os.environ.get("RAY_ADDRESS"):
            raise ConfigError(
                f"there is no Ray cluster at {found or address} (run.ray in engine.yaml, or RAY_ADDRESS): ray start "
                f"--head makes one"
            )
        found = "local"
    made = {"include_dashboard": False, "object_store_memory": _STORE} if found == "local" else {}
    try:
        ray.init(found, log_to_driver=False, logging_level=logging.CRITICAL, configure_logging=False, **made)
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as exc:
        where = "no Ray cluster can be made here" if made else f"the Ray cluster at {found} cannot be used"
        raise ConfigError(f"{where}: {' '.join(str(exc).split())[:500]}") from exc


def _find(address: str | None) -> str | None:
    """Return the address that Ray would choose; None where it finds no cluster."""
    from ray._private import services

    find: Any = services.get_ray_address_from_environment  # its annotations leave out that it takes None
    named: str | None = None
    if address not in (None, "auto"):
        named = address
    else:
        with contextlib.suppress(ConnectionError):
            named = find(address, None)
    if named is not None and named.startswith("ray://"):
        raise ConfigError(
            f"{named} is the address of a Ray client (run.ray in engine.yaml, or RAY_ADDRESS): start the run on a "
            f"machine of the cluster, with run.ray: auto"
        )
    return named


def _answers(address: str) -> bool:
    """Whether something listens where the head of a cluster should."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True

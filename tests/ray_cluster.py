"""A real Ray cluster of two nodes on this machine, in a process of its own; `python ray_cluster.py` is that process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import descendants, wait_until_gone

ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_STORE = 80 * 1024 * 1024


@dataclass(frozen=True)
class RunningCluster:
    """A cluster: its address and the process that holds it."""

    address: str
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find it."""
        return {**ENVIRONMENT, "RAY_ADDRESS": self.address}

    def workers(self) -> list[int]:
        """Return the processes of the engine's workers."""
        return [pid for pid, _ in descendants(self.pid) if title(pid).startswith("ray::Worker")]


def title(pid: int) -> str:
    """Return what a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


@contextlib.contextmanager
def ray_cluster(folder: Path) -> Iterator[RunningCluster]:
    """Start a cluster of two nodes with a CPU each, and see that nothing of it is left at the end."""
    log = folder / "cluster.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            if line.startswith("address "):
                address = line.split()[1]
                break
        assert address, log.read_text()
        marks = descendants(process.pid)
        try:
            yield RunningCluster(address, process.pid)
        finally:
            marks |= descendants(process.pid)
            process.stdin.close()
            process.wait(30)
            process.stdout.close()
            left = wait_until_gone(marks)
            for pid, _ in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, 9)
    assert not left, [title(pid) for pid, _ in left]


def serve() -> None:
    """Hold a cluster until stdin is closed."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": _STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, object_store_memory=_STORE)
    cluster.wait_for_nodes()
    print("address", cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
    time.sleep(0)


if __name__ == "__main__":
    serve()

"""The child process of the embedded backend: llama.cpp's own server on the loopback, guarded by a key.

It is run as a file, so that nothing of the engine is imported. The first line on stdin is the configuration as JSON;
the one line on stdout says `{"address": …}` or `{"error": …}`. It ends when stdin closes, and on Linux also with the
thread of the parent that started it, so it never outlives the parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever the runtime prints belongs into the log, so the answer gets a descriptor of its own.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    line = sys.stdin.readline()
    if not line:
        return
    config = json.loads(line)
    _die_with(config["parent"])
    watcher = threading.Thread(target=_leave_at_end_of_input, daemon=True)
    watcher.start()
    try:
        server = _serve(config)
        said = {"address": server.listening_address}
    except Exception as error:  # noqa: BLE001 - every failure is reported to the parent
        said = {"error": f"{type(error).__name__}: {error}"}
    answer.write(json.dumps(said) + "\n")
    answer.flush()
    if "error" in said:
        sys.stderr.flush()
        os._exit(1)
    watcher.join()


def _serve(config: dict[str, Any]) -> Any:
    """Start the server; its threads run until the process ends."""
    from xllamacpp import CommonAdapterLoraInfo, CommonParams, Server

    params = CommonParams()
    params.model.path = config["model"]
    params.model_alias = {config["name"]}
    params.n_parallel = config["parallel"]
    params.n_ctx = config["n_ctx"] * config["parallel"]
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = config["threads"]
    params.lora_adapters = [CommonAdapterLoraInfo(path, 0.0) for path in config["adapters"]]
    params.api_keys = [config["key"]]
    params.cache_ram_mib = config["cache_ram_mib"]
    params.fit_params = False
    params.ui = False
    params.verbosity = 0
    return Server(params)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)


def _leave_at_end_of_input() -> None:
    while os.read(0, 65536):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()

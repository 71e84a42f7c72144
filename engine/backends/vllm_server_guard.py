"""The guard of a vLLM server: starts it, and ends all of its processes when whoever asked for it is gone.

Run as a file, `python -I -S vllm_server_guard.py`. The first line on stdin is `{"argv", "environment", "log",
"seconds"}`; the one line on stdout says `{"pid": …, "born": …}` or `{"error": …}`. The server ends with SIGTERM to the
guard, and when stdin closes, unless the line `detach` came before. It first gets SIGTERM and `seconds` to obey; what is
left of it then is killed. The guard's exit status is the server's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 - no pathlib: it starts slowly

from engine.processes import adopt_orphans, birth, die_with_parent, kill_descendants


def main() -> int:
    """Start the server, wait for its end or for the order to end it, and leave nothing of it."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    awake = _wake_on(signal.SIGTERM, signal.SIGCHLD)
    adopt_orphans()
    line = sys.stdin.buffer.raw.readline()  # type: ignore[union-attr]  # stdin is a pipe, opened for bytes
    if not line:
        return 0
    order = json.loads(line)
    try:
        process = _start(order)
    except OSError as error:
        print(json.dumps({"error": str(error)}), flush=True)  # noqa: T201 - the protocol
        return 1
    with contextlib.suppress(OSError):
        print(json.dumps({"pid": process.pid, "born": birth(process.pid)}), flush=True)  # noqa: T201 - the protocol
    _wait(process, awake)
    _end(process, order["seconds"])
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _start(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    with open(order["log"], "ab") as log:  # noqa: PTH123 - as above
        return subprocess.Popen(
            order["argv"],
            env=order["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_before_exec,  # noqa: PLW1509 - this process has one thread
        )


def _before_exec() -> None:
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def _wake_on(*signals: signal.Signals) -> int:
    """Return a descriptor that each of these signals makes readable, with the signal's number as the byte."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return reader


def _wait(process: subprocess.Popen[bytes], awake: int) -> None:
    """Return when the server has ended, when SIGTERM came or when stdin closed without `detach`."""
    sources = [0, awake]
    while process.poll() is None:
        ready, _, _ = select.select(sources, [], [])
        if awake in ready and signal.SIGTERM in os.read(awake, 64):
            return
        if 0 in ready:
            if os.read(0, 64).strip() != b"detach":
                return
            sources.remove(0)


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kill_descendants()


if __name__ == "__main__":
    sys.exit(main())

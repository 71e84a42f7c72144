"""The guard: a small process that runs a task's commands and outlives the engine just long enough to clean up.

Started as `python -I -S guard.py PARENT_FOLDER`. It makes the task's private folder below PARENT_FOLDER and writes
`{"folder": …}`; then each line that it reads is a request `{"argv", "cwd", "env", "seconds", "output"}` and each line
that it writes the answer `{"exit_code", "stdout", "stderr", "timed_out"}`. When its standard input ends, because the
engine closed it or died in whatever way, it kills every process that a command left and removes the folder.

It uses little of the standard library and one small module of the engine, so that it starts in a few milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120 - no pathlib: it starts slowly

from engine.processes import adopt_orphans, die_with_parent, kill_descendants

_MAX_FILE_BYTES = 1 << 30
_DRAIN_SECONDS = 1.0


class _Clip:
    """Keeps the beginning and the end of a stream and counts what is between."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room < len(data) else b""
        if len(self._tail) > self._half:
            self._dropped += len(self._tail) - self._half
            del self._tail[: len(self._tail) - self._half]

    def text(self) -> str:
        middle = f"\n[… {self._dropped} bytes left out …]\n".encode() if self._dropped else b""
        return (bytes(self._head) + middle + bytes(self._tail)).decode("utf-8", "replace")


class _Engine:
    """The lifeline: requests come in by it, and its end is the end."""

    def __init__(self) -> None:
        self._buffer = b""
        self.gone = False

    def read(self) -> None:
        data = os.read(0, 1 << 16)
        self.gone = self.gone or not data
        self._buffer += data

    def request(self) -> Any:
        """Wait for the next request; None at the end."""
        while b"\n" not in self._buffer and not self.gone:
            self.read()
        if self.gone:
            return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    @staticmethod
    def answer(message: dict[str, Any]) -> None:
        data = (json.dumps(message) + "\n").encode()
        while data:
            data = data[os.write(1, data) :]


def main() -> None:
    """Serve requests until the lifeline ends."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    adopt_orphans()
    folder = tempfile.mkdtemp(prefix="engine-view-", dir=sys.argv[1])
    engine = _Engine()
    try:
        engine.answer({"folder": folder})
        while (request := engine.request()) is not None:
            answer = _run(request, engine)
            if engine.gone:
                break
            engine.answer(answer)
    except OSError:
        pass  # the engine is gone, so nobody reads the answer
    finally:
        kill_descendants()
        _remove(folder)


def _run(request: dict[str, Any], engine: _Engine) -> dict[str, Any]:
    """Run one command, its time and output limited; nothing of it is left running."""
    try:
        process = subprocess.Popen(
            request["argv"],
            cwd=request["cwd"],
            env=request["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_before_exec,  # noqa: PLW1509 - this process has one thread
        )
    except (OSError, ValueError) as error:
        return {"exit_code": 127, "stdout": "", "stderr": f"cannot start: {error}", "timed_out": False}
    with process:
        assert process.stdout is not None  # noqa: S101 - both are pipes
        assert process.stderr is not None  # noqa: S101
        clips = {process.stdout: _Clip(request["output"]), process.stderr: _Clip(request["output"])}
        timed_out = _watch(process, clips, engine, time.monotonic() + request["seconds"])
        stdout, stderr = (clip.text() for clip in clips.values())
    return {"exit_code": process.returncode, "stdout": stdout, "stderr": stderr, "timed_out": timed_out}


def _watch(process: subprocess.Popen[bytes], clips: dict[IO[bytes], _Clip], engine: _Engine, deadline: float) -> bool:
    """Collect output until the command ends, its time is over or the engine is gone; returns whether time was over."""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        for stream in clips:
            selector.register(stream, selectors.EVENT_READ)
        while process.poll() is None and not engine.gone and time.monotonic() < deadline:
            _collect(selector, clips, engine, 0.01)
        timed_out = process.poll() is None and not engine.gone
        _kill_group(process)
        process.wait()
        kill_descendants()
        drained = time.monotonic() + _DRAIN_SECONDS
        while len(selector.get_map()) > 1 and not engine.gone and time.monotonic() < drained:
            _collect(selector, clips, engine, 0.05)
    return timed_out


def _collect(selector: selectors.BaseSelector, clips: dict[IO[bytes], _Clip], engine: _Engine, seconds: float) -> None:
    for key, _ in selector.select(seconds):
        if key.fd == 0:
            engine.read()
            if engine.gone:
                selector.unregister(0)
            continue
        data = os.read(key.fd, 1 << 16)
        if data:
            clips[key.fileobj].add(data)  # type: ignore[index] # only the streams of `clips` are registered
        else:
            selector.unregister(key.fileobj)


def _before_exec() -> None:
    """Prepare the child: it dies with this process, writes no core dump and no endless file."""
    import resource

    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _remove(folder: str) -> None:
    """Remove the folder, also parts that a command made read-only."""

    def unlock(function: Any, path: str, _: Any) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)  # noqa: PTH101, PTH120 - as above
            os.chmod(path, 0o700, follow_symlinks=False) if os.chmod in os.supports_follow_symlinks else None  # noqa: PTH101
            function(path)

    for _ in range(3):
        shutil.rmtree(folder, onerror=unlock)
        if not os.path.lexists(folder):
            return


if __name__ == "__main__":
    main()

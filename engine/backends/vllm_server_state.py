"""The server of a project: one at a time, known by a file in `.engine/` that outlives the command that started it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.backends.cache import exclusive
from engine.backends.vllm_server import HEALTHY_SECONDS, Progress, VllmServer, healthy
from engine.backends.vllm_server_log import story, tail
from engine.backends.vllm_server_process import Identity
from engine.errors import BackendUnavailable, ConfigError
from engine.files import atomic_write

_FORMAT = 1
_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class ServerState:
    """A started server.

    Attributes:
        identity: Its processes.
        base_url: The API's URL.
        model: What requests call the model.
        command: What it was started with.
        log: The file that gets its log.
        since: When it was started, in seconds since 1970.
        adapters: Names of the adapters that it was started with.
    """

    identity: Identity
    base_url: str
    model: str
    command: tuple[str, ...]
    log: str
    since: float
    adapters: tuple[str, ...] = field(default=())


class ProjectServer:
    """The server of a project.

    Args:
        root: The project's root; `.engine/` is made in it when a server is started.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / ".engine"
        self._file = self._folder / "server.json"
        self.log = self._folder / "server.log"

    def current(self) -> ServerState | None:
        """Return the server that runs, or None; what a server that is gone left behind does not count.

        Raises:
            ConfigError: The file is not one that was written here.
        """
        try:
            told = json.loads(self._file.read_bytes())
            state = _read(told)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{self._file} cannot be read as the state of a server ({error}): end the server, if one runs, and "
                f"delete the file"
            ) from error
        return state if state.identity.alive else None

    def start(self, server: VllmServer, *, detached: bool = True) -> tuple[ServerState, bool]:
        """Start a server, unless the same one runs already; it may not be healthy yet.

        Args:
            server: Not started yet, with `self.log` as its log.
            detached: Let it outlive this process.

        Returns:
            The server that runs now, and whether it was started here.

        Raises:
            ConfigError: Another one runs, or the port is taken.
            BackendUnavailable: The process cannot be started.
        """
        with self._locked():
            running = self.current()
            if running is not None:
                if running.command != server.command:
                    raise ConfigError(
                        f"another server runs here, {running.model} at {running.base_url}: engine server stop ends it"
                    )
                return running, False
            server.start()
            identity = server.identity
            if identity is None:
                raise AssertionError("it was just started")
            state = ServerState(
                identity,
                server.base_url,
                server.options.served_name or server.options.model,
                server.command,
                str(self.log),
                time.time(),
                tuple(server.options.adapters),
            )
            try:
                atomic_write(self._file, json.dumps({"format": _FORMAT, **asdict(state)}, indent=2) + "\n", 0o600)
            except BaseException:
                server.stop()
                raise
            if detached:
                server.detach()
            return state, True

    def wait_until_healthy(
        self, state: ServerState, timeout: float = HEALTHY_SECONDS, progress: Progress | None = None
    ) -> None:
        """Wait for a server that somebody else started.

        Raises:
            BackendUnavailable: It ended, or was not healthy in time; it is left alone.
        """
        deadline = time.monotonic() + timeout
        while not healthy(state.base_url):
            if not state.identity.alive:
                raise BackendUnavailable(f"the vLLM server at {state.base_url} ended: {story(Path(state.log))}")
            if time.monotonic() >= deadline:
                raise BackendUnavailable(
                    f"the vLLM server at {state.base_url} was not healthy within {timeout:g} s: "
                    f"{story(Path(state.log))}"
                )
            if progress is not None:
                progress(time.time() - state.since, (tail(Path(state.log)) or [""])[-1])
            time.sleep(_POLL_SECONDS)

    def stop(self) -> ServerState | None:
        """End the server and forget it; returns which it was, None when none ran."""
        with self._locked():
            running = self.current()
            left = _read(json.loads(self._file.read_bytes())) if self._file.exists() else None
            if left is not None:
                left.identity.stop()
            self._file.unlink(missing_ok=True)
            return running

    def forget(self, state: ServerState) -> None:
        """Drop the state of a server that ended, unless another one has been started meanwhile."""
        with self._locked():
            if self._file.exists() and _read(json.loads(self._file.read_bytes())).identity == state.identity:
                self._file.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / ".gitignore").exists():
                atomic_write(self._folder / ".gitignore", "*\n")
        except OSError as error:
            raise ConfigError(f"{self._folder} cannot be made ({error.strerror})") from error
        with exclusive(self._file):
            yield


def _read(told: Any) -> ServerState:
    if told["format"] != _FORMAT:
        raise ValueError(f"its format is {told['format']!r}")
    identity = told["identity"]
    return ServerState(
        Identity(
            int(identity["guard"]), str(identity["born"]), int(identity["session"]), str(identity["session_born"])
        ),
        str(told["base_url"]),
        str(told["model"]),
        tuple(map(str, told["command"])),
        str(told["log"]),
        float(told["since"]),
        tuple(map(str, told["adapters"])),
    )

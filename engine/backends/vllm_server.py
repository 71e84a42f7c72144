"""A vLLM server on this machine: its command line, its start, its health, its end."""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypedDict, Unpack

from engine.backends.vllm_server_command import ServeOptions, find_launcher
from engine.backends.vllm_server_log import story, tail
from engine.backends.vllm_server_process import STOP_SECONDS, Identity, ServerProcess
from engine.errors import BackendUnavailable, ConfigError

HEALTHY_SECONDS = 900.0
_POLL_SECONDS = 0.25
Progress = Callable[[float, str], None]
"""Is told the seconds since the start and the last line of the log, four times a second."""


class FurtherOptions(TypedDict, total=False):
    """The options of a VllmServer that it seldom needs; each is explained at `ServeOptions`."""

    served_name: str | None
    max_lora_rank: int | None
    max_loras: int | None
    max_model_len: int | None
    data_parallel_size: int
    chat_template: str | Path | None
    dtype: str
    tool_parser: str | None
    extra: Sequence[str]


class VllmServer:
    """One vLLM server with the flags that bundles need.

    It ends with `stop`, at the end of a `with` block and with this process, however that ends, unless it was detached.
    All methods block; call them from a thread where an event loop runs (`asyncio.to_thread`).

    Args:
        model: A folder, or a name on the hub.
        port: The port; 0 takes a free one.
        host: The address to listen on.
        adapters: PEFT folders by the names that requests use; with them, others can be loaded while it runs.
        environment: Environment variables, on top of this process's.
        python: The interpreter of vLLM's environment; by default that of the `vllm` on PATH, else this one.
        log: The file that gets the log; by default a temporary one.
        stop_seconds: How long it may take to end before it is killed.
        further: What else the server is to be: served_name, max_lora_rank, max_loras, max_model_len,
            data_parallel_size, chat_template, dtype, tool_parser, extra; see `ServeOptions`.

    Raises:
        ConfigError: There is no vLLM.
        BundleError: An adapter's files cannot be used.
    """

    def __init__(  # noqa: PLR0913 - what a server can be told, each with its default
        self,
        model: str | Path,
        *,
        port: int = 8000,
        host: str = "127.0.0.1",
        adapters: Mapping[str, str | Path] | None = None,
        environment: Mapping[str, str] | None = None,
        python: str | Path | None = None,
        log: str | Path | None = None,
        stop_seconds: float = STOP_SECONDS,
        **further: Unpack[FurtherOptions],
    ) -> None:
        self.options = ServeOptions(
            model=str(model),
            host=host,
            port=port or _free_port(host),
            adapters={name: Path(folder).resolve() for name, folder in (adapters or {}).items()},
            **further,
        )
        launcher = find_launcher(python, self.options.model)
        self.command: tuple[str, ...] = (*launcher.argv, *self.options.flags())
        self.environment: dict[str, str] = launcher.environment(
            environment or {}, lora=self.options.lora, local=Path(self.options.model).is_dir()
        )
        self.log_path = Path(log).absolute() if log is not None else None
        self._given_log = log is not None
        self._stop_seconds = stop_seconds
        self._process: ServerProcess | None = None
        self._started = 0.0

    @property
    def base_url(self) -> str:
        """The API's URL, for `backend.base_url` and `--base-url`."""
        return f"{_root(self.options.host, self.options.port)}/v1"

    @property
    def running(self) -> bool:
        """Whether its process runs; it may not be healthy yet."""
        return self._process is not None and self._process.exit_status is None

    @property
    def identity(self) -> Identity | None:
        """Which processes it is; None before the start and after the end."""
        return self._process.identity if self._process is not None else None

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_healthy()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and return at once.

        Raises:
            ConfigError: It was started already, the model's folder does not exist, the port is taken, or the log cannot
                be written.
            BackendUnavailable: The process cannot be started.
        """
        if self._process is not None:
            raise ConfigError(f"the vLLM server at {self.base_url} was started already: stop() it first")
        model = self.options.model
        if model.startswith(("/", ".", "~")) and not Path(model).is_dir():
            raise ConfigError(f"the model's folder {model} does not exist: name a folder, or a model of the hub")
        check_port(self.options.host, self.options.port)
        log = self._open_log()
        try:
            self._process = ServerProcess(self.command, {**os.environ, **self.environment}, log, self._stop_seconds)
        except BaseException:
            self._drop_log()
            raise
        self._started = time.monotonic()

    def wait_until_healthy(self, timeout: float = HEALTHY_SECONDS, progress: Progress | None = None) -> None:
        """Wait until `/health` answers; if it does not, nothing is left running.

        Args:
            timeout: Seconds.
            progress: Is told how it goes.

        Raises:
            ConfigError: It was not started.
            BackendUnavailable: It ended, or was not healthy in time; the message begins with the cause that its log
                tells and holds the log's last lines.
        """
        process = self._process
        if process is None or self.log_path is None:
            raise ConfigError(f"the vLLM server at {self.base_url} was not started: start() it first")
        deadline = time.monotonic() + timeout
        try:
            while not (healthy(self.base_url) and process.exit_status is None):
                _check(process.exit_status, self.log_path, deadline, timeout)
                if progress is not None:
                    progress(time.monotonic() - self._started, (tail(self.log_path) or [""])[-1])
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Wait until it ends by itself, which it should not.

        Raises:
            BackendUnavailable: It ended; the message says why.
        """
        if self._process is None or self.log_path is None:
            raise ConfigError(f"the vLLM server at {self.base_url} was not started: start() it first")
        raise BackendUnavailable(_ended(self._process.wait(), self.log_path))

    def detach(self) -> None:
        """Let it outlive this process; `Identity.stop` ends it then."""
        if self._process is not None:
            self._process.detach()

    def stop(self) -> None:
        """End it and everything that it started; without effect when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
            self._drop_log()

    def _open_log(self) -> Path:
        if self._given_log and self.log_path is not None:
            try:
                self.log_path.write_bytes(b"")
            except OSError as error:
                raise ConfigError(f"the log {self.log_path} cannot be written ({error.strerror})") from error
            return self.log_path
        descriptor, name = tempfile.mkstemp(prefix="engine-vllm-", suffix=".log")
        os.close(descriptor)
        self.log_path = Path(name)
        return self.log_path

    def _drop_log(self) -> None:
        if not self._given_log and self.log_path is not None:
            self.log_path.unlink(missing_ok=True)
            self.log_path = None


def healthy(base_url: str, seconds: float = 2.0) -> bool:
    """Say whether a server answers `/health` with 200; proxies of the environment are not asked."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base_url.removesuffix('/v1')}/health", timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def check_port(host: str, port: int) -> None:
    """Make sure that a server can listen.

    Raises:
        ConfigError: The port is taken or not allowed, or the address is not this machine's.
    """
    try:
        _bind(host, port).close()
    except OSError as error:
        there = " by a model server" if healthy(_root(host, port), 1.0) else ""
        taken = f"taken{there}" if "in use" in str(error).lower() else f"not to be had ({error.strerror or error})"
        raise ConfigError(f"port {port} of {host} is {taken}: choose another with --port") from error


def _free_port(host: str) -> int:
    with _bind(host, 0) as listener:
        return int(listener.getsockname()[1])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Linux lets two sockets with SO_REUSEADDR bind as long as none listens.
        listener.listen(1)
    except BaseException:
        listener.close()
        raise
    return listener


def _root(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - it is replaced
    return f"http://{shown}:{port}"


def _check(status: int | None, log: Path, deadline: float, timeout: float) -> None:
    if status is not None:
        raise BackendUnavailable(_ended(status, log))
    if time.monotonic() >= deadline:
        raise BackendUnavailable(
            f"vLLM was not healthy within {timeout:g} s (give it more time with --timeout): {story(log)}"
        )


def _ended(status: int, log: Path) -> str:
    how = f"exit status {status}" if status <= 128 else f"signal {status - 128}"
    hint = ", perhaps for lack of memory" if status == 128 + 9 else ""
    return f"vLLM ended ({how}{hint}): {story(log)}"

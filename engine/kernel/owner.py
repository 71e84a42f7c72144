"""What asks a backend and closes it again, if it made it itself."""

from __future__ import annotations

from typing import Self

from engine.backends.base import Backend
from engine.kernel.config import RuntimeConfig


class BackendOwner:
    """An async context manager around a backend; leaving it closes the backend only if it was made here.

    Args:
        config: The server, where no backend is given.
        backend: Where completions come from; None is the server at `config.base_url`, opened when first asked.
    """

    def __init__(self, config: RuntimeConfig, backend: Backend | None) -> None:
        self._settings, self._backend, self._own_backend = config, backend, backend is None

    def _open_backend(self) -> Backend:
        if self._backend is None:
            from engine.backends import OpenAIBackend

            config = self._settings
            self._backend = OpenAIBackend(
                config.base_url,
                model=config.model,
                api_key=config.api_key,
                dialect=config.dialect,
                timeout=config.timeout,
            )
        return self._backend

    async def aclose(self) -> None:
        """Close the backend, if it was made here."""
        if self._own_backend and self._backend is not None:
            await self._backend.aclose()
            self._backend = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

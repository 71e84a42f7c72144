"""A bare load generator: sends ready bodies over kept connections, so many at once, and counts what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence


class Load:
    """A candidate of `worker`; the amount is the completed requests, `tokens` what they generated."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url, self._headers = f"{url}/chat/completions", headers

    async def open(self) -> None:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout)

    async def work(self, bodies: Sequence[str], at_once: int) -> tuple[float, dict[str, float]]:
        waiting = iter(bodies)

        async def lane() -> int:
            return sum([await self._send(body) for body in waiting])

        tokens = sum(await asyncio.gather(*(lane() for _ in range(min(at_once, len(bodies))))))
        return len(bodies), {"tokens": tokens}

    async def _send(self, body: str) -> int:
        async with self._session.post(self._url, data=body.encode()) as answer:
            text = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the server answered {answer.status}: {text[:500]!r}")
            return int(json.loads(text)["usage"]["completion_tokens"])

    async def close(self) -> None:
        await self._session.close()

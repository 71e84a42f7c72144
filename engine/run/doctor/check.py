"""One check and its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from engine.errors import EngineError

# Seconds that one check may take; a model that is loaded for it takes its time.
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's.

    Attributes:
        name: What was checked.
        state: ok, fail or skip.
        detail: What was found, in one line; of a failure, with the way out.
    """

    name: str
    state: Literal["ok", "fail", "skip"]
    detail: str


class BrokenError(Exception):
    """A check failed; the text says how, and what to do."""


class SkippedError(Exception):
    """A check does not apply; the text says why."""


async def checked(name: str, check: Callable[[], Awaitable[str]]) -> Check:
    """Run a check; whatever happens becomes its line.

    Args:
        name: What is checked.
        check: Returns what was found; raises SkippedError where it does not apply, anything else where it fails.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            return Check(name, "ok", _line(await check()))
    except SkippedError as reason:
        return Check(name, "skip", _line(reason))
    except TimeoutError:
        return Check(name, "fail", f"no answer within {PATIENCE:g} s: is the server overloaded?")
    except Exception as error:  # noqa: BLE001 - what breaks one check must not hide what the others find
        known = isinstance(error, EngineError | OSError | BrokenError)
        return Check(name, "fail", _line(error) if known else f"{type(error).__name__}: {_line(error)}")


def _line(text: object) -> str:
    return " ".join(str(text).split())

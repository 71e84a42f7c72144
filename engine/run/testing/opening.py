"""From what is asked to a runner that is ready."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from engine.bundle import Bundle
from engine.errors import ConfigError
from engine.run.testing.baseline import baselines
from engine.run.testing.plan import Planner
from engine.run.testing.recordings import Player, open_tapes
from engine.run.testing.request import Bench, CasesRequest
from engine.run.testing.runner import Runner, Settings


@contextlib.asynccontextmanager
async def opened(bench: Bench, request: CasesRequest) -> AsyncIterator[Runner]:
    """Load the bundles, lay out the projects of their cases and plan every trial; no model is asked.

    Args:
        bench: What is needed of the application.
        request: What is asked.

    Raises:
        BundleError: A bundle has errors.
        ConfigError: A case cannot be run as it is written, or nothing is selected.
    """
    with tempfile.TemporaryDirectory(prefix="engine-test-") as name:
        folder = await asyncio.to_thread(Path(name).resolve)
        bundles = [await asyncio.to_thread(bench.load, source) for source in request.bundles]
        _refuse_twins(bundles)
        other = await asyncio.to_thread(baselines, request.baseline, bundles, bench.load, folder)
        (folder / "cases").mkdir()
        tapes = await asyncio.to_thread(open_tapes, request, bundles)
        if isinstance(tapes, Player):
            bench = replace(bench, backend=tapes.offline)
        planner = Planner(bench, request, folder / "cases")
        async with contextlib.AsyncExitStack() as stack:
            groups = await planner.plan(bundles, other, stack)
            # Replies that are made side by side may differ from those that are made one by one.
            usual = 1 if request.replies == "record" else bench.concurrency
            settings = Settings(request.concurrency or usual, bench.seconds, tapes)
            notes = [*planner.notes, *(tapes.notes() if isinstance(tapes, Player) else ())]
            yield Runner(request, bundles, groups, settings, notes)


def _refuse_twins(bundles: Sequence[Bundle]) -> None:
    names = [bundle.name for bundle in bundles]
    twin = next((name for name in names if names.count(name) > 1), None)
    if twin is not None:
        raise ConfigError(f"two of the bundles are called '{twin}': test one at a time, or compare with --baseline")

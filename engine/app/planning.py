"""What a run is planned from: the nodes that are asked for, and what tasks took before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.app.app import App
    from engine.app.request import RunRequest
    from engine.bundle import Bundle
    from engine.discovery import Discovery
    from engine.run import Session
    from engine.run.estimate import Count, Estimate
    from engine.run.measured import Measured
    from engine.run.select import Shard
    from engine.run.since import Since


async def selection(request: RunRequest, root: Path) -> tuple[Shard | None, Since | None]:
    """Return the part of the nodes and the commit that are asked for.

    Args:
        request: What is asked for.
        root: The project's root.

    Raises:
        ConfigError: There is no such part, commit or repository.
    """
    from engine.run.select import check_shard

    shard = None if request.shard is None else check_shard(request.shard)
    if request.changed_since is None:
        return shard, None
    from engine.run.since import Since

    return shard, await asyncio.to_thread(Since, request.changed_since, root, request.targets)


async def discovered(request: RunRequest, root: Path, bundles: Sequence[Bundle], since: Since | None) -> Discovery:
    """Find the nodes that bundles may take: bundles without a query of their own, or one that has one.

    Args:
        request: What is asked for.
        root: The project's root.
        bundles: The bundles.
        since: Leaves the nodes whose text changed.
    """
    from engine.discovery import Discovery, discover_async

    if not bundles:
        return Discovery((), 0)
    named = [set(bundle.manifest.nodes.languages) for bundle in bundles]
    languages = sorted(set.union(*named)) if all(named) else None
    typed = [set(bundle.manifest.nodes.types) for bundle in bundles]
    types = sorted(set.union(*typed)) if all(typed) else None
    query = bundles[0].query
    only = since.touches if since else None
    found = await discover_async(request.targets, root=root, languages=languages, types=types, query=query, only=only)
    return replace(found, nodes=await since.changed(found.nodes, types=types, query=query)) if since else found


async def estimated(app: App, session: Session, counts: Mapping[str, Count]) -> Estimate:
    """Put together what a planned run is going to take, from earlier runs and the declared prices.

    Args:
        app: The project.
        session: The planned run.
        counts: Counted first prompts of tasks, by their ids: all of them, or a sample.
    """
    from engine.kernel.prices import Prices
    from engine.run.estimate import estimate
    from engine.run.measured import measured

    names = {task.bundle.name for task in session.plan.tasks}

    def read() -> Mapping[str, Measured]:
        with app.reader() as log:
            return measured(log, names, session.settings.described)

    known, prices = await asyncio.to_thread(read), Prices(app.config.prices)
    return estimate(session.plan, counts, known, concurrency=session.settings.concurrency, prices=prices)

"""What a run is going to take: its tasks by kind, prompt tokens, time and cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.kernel.prices import Prices, to_amount
from engine.messages import Usage
from engine.run.measured import Measured
from engine.run.plan import Task

if TYPE_CHECKING:
    from engine.run.run_plan import Plan
    from engine.run.session import Session

AT_ONCE = 32
"""Prompts that are rendered and counted at once: servers count tokens in parallel, and memory stays bounded."""

SAMPLE = 48
"""Prompts that are counted at a run's start; from these the others are estimated."""

SECONDS = 2.0
"""How long that may take."""


@dataclass(frozen=True, slots=True)
class Count:
    """The first prompt of a task, counted.

    Attributes:
        tokens: Number of prompt tokens.
        exact: Whether the model's own tokenizer counted them.
        adapter: The adapter that would answer, or None.
        model: The model that would answer.
    """

    tokens: int
    exact: bool
    adapter: str | None
    model: str


Kind = tuple[str, str, str]
"""Operation, bundle's name, node type."""


@dataclass(frozen=True, slots=True)
class Group:
    """The tasks of one kind.

    Attributes:
        operation: The operation of engine.yaml; empty for a bundle that was named itself.
        bundle: The bundle's name.
        type: The nodes' type.
        tasks: How many there are.
        cached: How many of them the cache has.
        prompt_tokens: Of the first turns of the others; None where none was counted.
    """

    operation: str
    bundle: str
    type: str
    tasks: int
    cached: int
    prompt_tokens: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run is going to take.

    Attributes:
        tasks: How many tasks there are.
        groups: The tasks by kind.
        cached: How many of them the cache has.
        saved: The tokens that the cache saves.
        counted: How many prompts were counted.
        exact: Whether the model's own tokenizer counted them.
        measured: What tasks of each bundle took before; a bundle of which nothing is known is missing.
        seconds: How long it takes; None where nothing was measured.
        cost: What it costs; None where a price or a measurement is missing.
    """

    tasks: int
    groups: tuple[Group, ...]
    cached: int
    saved: Usage
    counted: int
    exact: bool
    measured: Mapping[str, Measured]
    seconds: float | None
    cost: float | None

    @property
    def prompt_tokens(self) -> int | None:
        """Prompt tokens of the first turns that are asked for; None where a kind was not counted at all."""
        known = [group.prompt_tokens for group in self.groups]
        return None if None in known else round(sum(tokens for tokens in known if tokens is not None))

    @property
    def complete(self) -> bool:
        """Whether every prompt was counted that is asked for."""
        return self.counted >= self.tasks - self.cached


def kind_of(task: Task) -> Kind:
    """Return what kind of task it is."""
    return task.assignment.operation, task.bundle.name, task.node.type


def sample(tasks: Sequence[Task], most: int = SAMPLE) -> list[Task]:
    """Choose tasks evenly from each kind: the same ones each time, some of each kind as long as there is room."""
    kinds: dict[Kind, list[Task]] = {}
    for task in tasks:
        kinds.setdefault(kind_of(task), []).append(task)
    share = max(1, most // max(1, len(kinds)))
    chosen = [_evenly(of_kind, share) for of_kind in kinds.values()]
    return [one for turn in range(share) for rows in chosen if turn < len(rows) for one in (rows[turn],)][:most]


def _evenly(tasks: Sequence[Task], most: int) -> list[Task]:
    if len(tasks) <= most:
        return list(tasks)
    return [tasks[index * len(tasks) // most] for index in range(most)]


async def count(tasks: Sequence[Task], session: Session, *, ask: bool = True) -> dict[str, Count]:
    """Render and count the first prompts of tasks, several at once.

    Args:
        tasks: The tasks.
        session: Renders them.
        ask: Whether the server is asked to count; else the tokens are estimated.

    Returns:
        The counts by task id.

    Raises:
        EngineError: A prompt cannot be rendered.
    """
    counts: dict[str, Count] = {}
    try:
        await _count(tasks, session, counts, ask=ask)
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None
    return counts


async def count_some(tasks: Sequence[Task], session: Session, seconds: float = SECONDS) -> dict[str, Count]:
    """Count the first prompts of a sample of tasks, as far as there is time; what cannot be rendered is left out.

    Args:
        tasks: The tasks.
        session: Renders them.
        seconds: How long it may take.
    """
    counts: dict[str, Count] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _count(sample(tasks), session, counts, leniently=True)
    return counts


async def _count(
    tasks: Sequence[Task], session: Session, counts: dict[str, Count], *, ask: bool = True, leniently: bool = False
) -> None:
    """Fill in the counts; a server that could not count the first prompt is not asked about the others."""
    ignored = (EngineError, OSError) if leniently else ()  # the task itself will tell

    async def work(waiting: Iterable[Task]) -> None:
        for task in waiting:
            with contextlib.suppress(*ignored):
                one = await session.render(task, ask=ask)
                counts[task.task_id] = Count(one.tokens, one.exact, one.adapter, one.model)

    async with asyncio.TaskGroup() as group:
        await work(tasks[:1])
        ask = ask and (not counts or next(iter(counts.values())).exact)
        rest = iter(tasks[1:])
        for _ in range(min(AT_ONCE, len(tasks) - 1)):
            group.create_task(work(rest))


def estimate(
    plan: Plan, counts: Mapping[str, Count], known: Mapping[str, Measured], *, concurrency: int, prices: Prices
) -> Estimate:
    """Put together what is known of a plan.

    Args:
        plan: The plan; what the cache has takes no time.
        counts: Counted first prompts, by task id.
        known: What tasks of bundles took before.
        concurrency: Tasks at once.
        prices: The declared prices.
    """
    fresh = [task for task in plan.tasks if task.task_id not in plan.cached]
    todo = Counter(task.bundle.name for task in fresh)
    hits = plan.cached.values()
    return Estimate(
        len(plan.tasks),
        tuple(_groups(plan, counts)),
        len(plan.tasks) - len(fresh),
        sum((hit.usage for hit in hits), Usage()),
        len(counts),
        all(one.exact for one in counts.values()),
        known,
        _seconds(todo, known, concurrency),
        _cost(fresh, counts, known, prices),
    )


def _groups(plan: Plan, counts: Mapping[str, Count]) -> Iterator[Group]:
    kinds: dict[Kind, list[Task]] = {}
    for task in plan.tasks:
        kinds.setdefault(kind_of(task), []).append(task)
    for (operation, bundle, type_), tasks in sorted(kinds.items()):
        fresh = [task for task in tasks if task.task_id not in plan.cached]
        tokens = [counts[task.task_id].tokens for task in fresh if task.task_id in counts]
        mean = sum(tokens) / len(tokens) if tokens else None if fresh else 0.0
        total = None if mean is None else mean * len(fresh)
        yield Group(operation, bundle, type_, len(tasks), len(tasks) - len(fresh), total)


def _seconds(todo: Mapping[str, int], known: Mapping[str, Measured], concurrency: int) -> float | None:
    if set(todo) - set(known):
        return None
    return sum(number * known[name].mean / known[name].expected_at_once(concurrency) for name, number in todo.items())


def _cost(
    fresh: Sequence[Task], counts: Mapping[str, Count], known: Mapping[str, Measured], prices: Prices
) -> float | None:
    """Return what the tasks cost if they use what others used; None where a price or a measurement is missing."""
    seen = [(task.bundle.name, counts[task.task_id]) for task in fresh if task.task_id in counts]
    answering = {name: (one.model, one.adapter) for name, one in seen}
    total = 0
    for name, number in Counter(task.bundle.name for task in fresh).items():
        rate = prices.rate(*answering[name]) if name in answering else None
        if rate is None or name not in known:
            return None
        used = Usage(round(known[name].prompt_tokens * number), round(known[name].completion_tokens * number))
        total += rate.cost(used)
    return to_amount(total) if fresh else 0.0

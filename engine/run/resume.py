"""What the log knows of a run that goes on: what it was asked for, which tasks are left, what the others came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.events import LogReader, RunRecord, TaskRow
from engine.run.results import Earlier
from engine.run.task import BUDGET, TaskResult

BROKEN_OFF = frozenset({"cancelled", "not_stored", "server", *BUDGET})
"""Why a task was stopped that did not reach its own end: it is left to do."""

_FAILED = ("failed", "skipped")


@dataclass(frozen=True, slots=True)
class Past:
    """A run so far.

    Attributes:
        record: The run.
        planned: Whether its plan is in the log as a whole; before that nothing was started.
        left: The tasks that are not done, in the order of the plan.
        earlier: What the others came to.
    """

    record: RunRecord
    planned: bool
    left: tuple[TaskRow, ...]
    earlier: Earlier

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.record.run_id

    @property
    def request(self) -> Mapping[str, Any]:
        """What was asked for, as JSON values."""
        found = self.record.summary.get("request")
        return found if isinstance(found, Mapping) else {}

    @property
    def apply(self) -> bool:
        """Whether all changes are to be accepted at the end."""
        settings = self.record.summary.get("settings")
        return isinstance(settings, Mapping) and bool(settings.get("apply"))

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, not even to say how it ended."""
        return self.planned and not self.left and self.record.status in ("finished", "failed")


@dataclass(frozen=True, slots=True)
class Settled:
    """What a task came to that need not run.

    Attributes:
        result: Its result.
        told: The files of its changes that the log has heard of.
    """

    result: TaskResult
    told: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a session goes on with.

    Attributes:
        past: The run so far.
        settled: What tasks came to that need not run: their changes are stored already, or their node is gone.
        notes: What a person should know, such as a bundle that is another one now.
        rows: Returns the rows of all tasks that had ended, for those that come after them.
        auto_accept: Whether the changes of a row's task are accepted at the end.
    """

    past: Past
    settled: tuple[Settled, ...] = ()
    notes: tuple[str, ...] = ()
    rows: Callable[[], Sequence[TaskRow]] = field(default=tuple, repr=False)
    auto_accept: Callable[[TaskRow], bool] = field(default=lambda row: False, repr=False)  # noqa: ARG005 - of any row

    def offered(self, *, everything: bool) -> list[str]:
        """Return the tasks that ended before and whose changes are accepted at the end; blocks.

        Args:
            everything: Of all tasks, not only of those whose bundle says so.
        """
        return [row.task_id for row in self.rows() if row.changes and (everything or self.auto_accept(row))]


def read_past(log: Path, run_id: str, status: str, *, failed: bool = False) -> Past:
    """Read how far a run got.

    Args:
        log: The file of the event log.
        run_id: The run.
        status: How it had ended.
        failed: Whether tasks that failed, that hit a limit of their own or were skipped are left to do as well.

    Raises:
        ConfigError: The log does not say what the run was asked for.
    """
    with LogReader(log) as reader:
        record = reader.run(run_id)
        if record is None or not record.summary.get("request"):
            raise ConfigError(
                f"the event log does not say what run {run_id} was asked for: an engine that could not go on with runs "
                "wrote it; start a new run with engine run"
            )
        states = ("planned", "running", "stopped", *(_FAILED if failed else ()))
        left = [row for row in reader.tasks(run_id, states) if failed or is_left(row)]
        sums = reader.task_sums(run_id)
        planned = any(event["type"] == "run:planned" for event in reader.events(run_id, limit=100))
        return Past(replace(record, status=status), planned, tuple(left), _earlier(record, sums, left))


def is_left(row: TaskRow) -> bool:
    """Whether a task has not come to an end of its own."""
    return row.state in ("planned", "running") or (row.state == "stopped" and row.reason in BROKEN_OFF)


def _earlier(record: RunRecord, sums: Iterable[tuple[str, int, int, int, int, int]], left: list[TaskRow]) -> Earlier:
    outcomes: Counter[str] = Counter()
    changes = cached = saved = 0
    for state, from_cache, count, offered, prompt, completion in sums:
        outcomes[state] += count
        changes += offered
        cached += count if from_cache else 0
        saved += prompt + completion if from_cache else 0
    outcomes -= Counter(row.state for row in left)
    changes -= sum(row.changes for row in left)
    cached -= sum(row.cached for row in left)
    seconds = record.summary.get("seconds")
    spent = float(seconds) if isinstance(seconds, int | float) else 0.0
    return Earlier(dict(outcomes), changes, cached, record.used, spent, saved)

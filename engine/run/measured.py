"""How long tasks took in earlier runs, as the event log has it."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from engine.events import LogReader, RunRecord

_RUNS = 20  # the newest, so that what changed long ago does not count
_TASKS = 500  # of one run: more tell no more
_ALIKE = ("backend", "model", "adapter")  # settings without which two runs cannot be compared


@dataclass(frozen=True, slots=True)
class Measured:
    """What a bundle's tasks took in the newest run that can be compared.

    Attributes:
        run_id: The run.
        tasks: How many tasks it rests on.
        median: Seconds of a task, of half of them at most.
        mean: Seconds of a task.
        prompt_tokens: Of a task, all turns together; the mean.
        completion_tokens: Of a task; the mean.
        concurrency: Tasks at once that the run was allowed; None where the log does not say.
        at_once: Tasks that ran at once on average.
    """

    run_id: str
    tasks: int
    median: float
    mean: float
    prompt_tokens: float
    completion_tokens: float
    concurrency: int | None
    at_once: float

    @property
    def tokens_per_second(self) -> float:
        """Completion tokens per second of all tasks together."""
        return self.completion_tokens / self.mean * self.at_once if self.mean else 0.0

    def expected_at_once(self, concurrency: int) -> float:
        """Estimate how many tasks run at once under another limit: as many of those allowed as then."""
        if self.concurrency is None:
            return max(1.0, min(self.at_once, concurrency))
        return max(1.0, min(concurrency, self.at_once * concurrency / self.concurrency))


def measured(reader: LogReader, bundles: Collection[str], settings: Mapping[str, Any]) -> dict[str, Measured]:
    """Find what tasks of bundles took; bundles of which no such run is known are left out.

    Args:
        reader: The event log.
        bundles: Their names.
        settings: Those of the planned run, for the log; only runs with the same backend, model and adapter count.
    """
    found: dict[str, Measured] = {}
    for record in reader.runs(_RUNS):
        missing = set(bundles) - set(found)
        if not missing:
            break
        ran = record.summary.get("bundles")
        if isinstance(ran, list) and any(name in ran for name in missing) and _alike(record, settings):
            found |= {name: one for name, one in _of_run(reader, record).items() if name in missing}
    return found


def _settings(record: RunRecord) -> Mapping[str, Any]:
    found = record.summary.get("settings")
    return found if isinstance(found, Mapping) else {}


def _number(value: object) -> float:
    """Return a number of a log that may be of anybody."""
    return float(value) if isinstance(value, int | float) else 0.0


def _alike(record: RunRecord, settings: Mapping[str, Any]) -> bool:
    theirs = _settings(record)
    return all(theirs.get(key) == settings.get(key) for key in _ALIKE)


def _of_run(reader: LogReader, record: RunRecord) -> dict[str, Measured]:
    rows: dict[str, list[tuple[float, int, int]]] = {}
    for bundle, seconds, prompt, completion in reader.task_times(record.run_id, _TASKS):
        rows.setdefault(bundle, []).append((seconds, prompt, completion))
    everything = [row[0] for of_bundle in rows.values() for row in of_bundle]
    at_once = _at_once(record.summary, statistics.fmean(everything)) if everything else 1.0
    concurrency = _settings(record).get("concurrency")
    return {
        bundle: Measured(
            record.run_id,
            len(of_bundle),
            statistics.median(row[0] for row in of_bundle),
            statistics.fmean(row[0] for row in of_bundle),
            statistics.fmean(row[1] for row in of_bundle),
            statistics.fmean(row[2] for row in of_bundle),
            concurrency if isinstance(concurrency, int) and concurrency > 0 else None,
            at_once,
        )
        for bundle, of_bundle in rows.items()
    }


def _at_once(summary: Mapping[str, Any], mean: float) -> float:
    """Return how many tasks ran at once on average: 1 where the run did not end in good order."""
    seconds = _number(summary.get("seconds"))
    ran = sum(_number(summary.get(key)) for key in ("finished", "failed", "stopped")) - _number(summary.get("cached"))
    return max(1.0, ran * mean / seconds) if seconds > 0 else 1.0

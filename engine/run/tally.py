"""How far a run is: a pure fold of its events, for every view of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from engine.events import TaskRow, TaskSum, Used
from engine.events.used import NOTHING, lost, replied
from engine.messages import Usage
from engine.run.flights import Ending, Flight, place_of
from engine.run.rates import Window

if TYPE_CHECKING:
    from engine.run.results import Earlier

_FAILURES = 20
_CAUSES = 50
_ENOUGH = 8
_OTHER = "other"


class _Ended(NamedTuple):
    bundle: str
    outcome: str
    cause: str
    cached: bool


@dataclass(slots=True)
class Tally:
    """The sums of a run and its tasks in flight; `add` takes the events as the log gives them, in their order.

    Attributes:
        run_id: The run.
        status: planning, running, or what the run's end said: finished, failed, stopped, interrupted.
        started: When the run, or the part of it that goes on, began; None before.
        now: The time of the newest event.
        planned: Number of tasks, as far as it was said.
        counts: Ended tasks by outcome.
        bundles: Ended tasks by bundle's name and outcome.
        expected: Tasks that are known to come from the cache, ended or not.
        cached: Ended tasks whose result came from the cache.
        changes: Changes offered.
        used: Tokens, their cost and tool calls, of all tries; without what the cache saved.
        saved_tokens: What the results from the cache had cost.
        flights: Tasks that run, by id, the oldest first.
        endings: The newest tasks that ended without being finished.
        causes: How many ended so, by outcome and cause.
        pace: How many requests at once the server gets, and why; None where that was never changed.
        settings: What the run was started with; its budget is the one in force.
    """

    run_id: str = ""
    status: str = "planning"
    started: float | None = None
    now: float = 0.0
    planned: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    bundles: dict[str, Counter[str]] = field(default_factory=dict)
    expected: int = 0
    cached: int = 0
    changes: int = 0
    used: Used = NOTHING
    saved_tokens: int = 0
    flights: dict[str, Flight] = field(default_factory=dict)
    endings: deque[Ending] = field(default_factory=lambda: deque(maxlen=_FAILURES))
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
    pace: tuple[int, str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    _ended: dict[str, _Ended] = field(default_factory=dict, repr=False)
    _tasks: Window | None = field(default=None, repr=False)
    _tokens: Window | None = field(default=None, repr=False)

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event; of kinds that tell nothing here, only the time."""
        self.now = max(self.now, float(event.get("time") or 0.0))
        take = self._HANDLERS.get(event["type"])
        if take is not None:
            take(self, event)

    @property
    def done(self) -> int:
        """Number of ended tasks."""
        return self.counts.total()

    @property
    def total(self) -> int:
        """Number of tasks: as planned, or as many as there certainly are."""
        return max(self.planned, self.done + len(self.flights))

    @property
    def unfinished(self) -> int:
        """Number of ended tasks that did not finish."""
        return self.done - self.counts["finished"]

    @property
    def broken_off(self) -> int:
        """Number of ended tasks that are left to do all the same: the run ended before they did."""
        from engine.run.resume import BROKEN_OFF

        return sum(number for (_, cause), number in self.causes.items() if cause in BROKEN_OFF)

    @property
    def is_over(self) -> bool:
        """Whether the run ended."""
        return self.status not in ("planning", "running")

    def clock(self, now: float) -> float:
        """Return the time that counts: that of the end where the run is over."""
        return self.now if self.is_over else max(now, self.now)

    def end(self, status: str, ended: float | None = None) -> None:
        """Take note that the run is over, also without a word of its own."""
        self.status = status
        self.now = max(self.now, ended or 0.0)
        self.flights.clear()
        self.pace = None

    @property
    def cost(self) -> float | None:
        """What the tokens cost at the declared prices; None where one is missing, or nothing was used yet."""
        return self.used.cost if self.used.usage.total_tokens else None

    def tasks_per_second(self, now: float) -> float | None:
        """Return how many tasks end per second of late, those from the cache aside; None before the first."""
        return self._tasks.rate(self.clock(now)) if self._tasks else None

    def tokens_per_second(self, now: float) -> float | None:
        """Return how many tokens the model writes per second of late; None before the first."""
        return self._tokens.rate(self.clock(now)) if self._tokens else None

    def seconds_left(self, now: float) -> float | None:
        """Estimate how long the rest takes at the pace of late; None where that is not known.

        Args:
            now: The time, in seconds since 1970.
        """
        left = self.total - self.done - max(0, self.expected - self.cached)
        if left <= 0 or self.is_over:
            return 0.0
        if self._tasks is None or self._tasks.count() < min(_ENOUGH, 1 + len(self.flights) // 4):
            return None  # of many that started together only the quickest ended yet
        rate = self.tasks_per_second(now)
        return left / rate if rate else None

    def go_on(self, earlier: Earlier) -> None:
        """Count what tasks came to before the run was gone on with."""
        self.counts.update(earlier.outcomes)
        self.cached += earlier.cached
        self.saved_tokens += earlier.saved
        self.changes += earlier.changes
        self.used = self.used.plus(earlier.used)

    def take_up(self) -> None:
        """Forget the ends of the tasks that were broken off: they are tried again."""
        from engine.run.resume import BROKEN_OFF

        for task_id in [task_id for task_id, ended in self._ended.items() if ended.cause in BROKEN_OFF]:
            self._uncount(task_id)

    def restore(self, sums: Iterable[TaskSum], used: Used, rows: Iterable[TaskRow], started: float) -> None:
        """Begin in the midst of a run, at the number that the sums are of.

        Args:
            sums: What its tasks add up to.
            used: What it used.
            rows: Its tasks that run, and those that ended without being finished.
            started: When the run, or the part of it that goes on, began.
        """
        self.status, self.started, self.now, self.used = "running", started, max(self.now, started), used
        for row in sums:
            self.planned += row.tasks
            if row.state not in ("planned", "running"):
                self._restore_sum(row)
        for one in rows:
            self._restore_row(one)

    def _restore_sum(self, row: TaskSum) -> None:
        self.counts[row.state] += row.tasks
        self.bundles.setdefault(row.bundle, Counter())[row.state] += row.tasks
        self.changes += row.changes
        if row.cached:
            self.cached += row.tasks
            self.saved_tokens += row.prompt_tokens + row.completion_tokens

    def _restore_row(self, row: TaskRow) -> None:
        place = f"{row.file}:{row.line} {row.node}"
        if row.state == "running":
            self.flights[row.task_id] = Flight(row.task_id, row.bundle, place)
            return
        self._ended[row.task_id] = _Ended(row.bundle, row.state, row.reason, bool(row.cached))
        self.causes[row.state, row.reason] += 1
        self.endings.append(Ending(row.task_id, row.bundle, place, row.state, row.reason, row.error or row.reason))

    def glance(self, events: Iterable[Mapping[str, Any]], *, whole: bool = True) -> None:
        """Learn from the newest events that `restore` counted what tasks in flight do, and the pace.

        Args:
            events: The events up to the number of the sums, in order.
            whole: Whether the tasks that ended all did so since `started`.
        """
        for event in events:
            self.now = max(self.now, float(event.get("time") or 0.0))
            if self._tasks is None:
                self._tasks, self._tokens = Window(self.now), Window(self.now)
            take = self._GLANCES.get(event["type"])
            if take is not None:
                take(self, event)
        if self._tasks is None or not self._tasks.count():
            self._tasks = Window(self.started or self.now)
            ran = self.done - self.cached - self.counts["skipped"]
            if ran > 0 and whole:
                self._tasks.add(self.now, ran)

    # -- one method per kind of event

    def _begin(self, event: Mapping[str, Any]) -> None:
        self.run_id, self.status = str(event.get("run_id", "")), "running"
        self.started = float(event.get("time") or 0.0)
        self._tasks, self._tokens = Window(self.now), Window(self.now)
        self.flights.clear()
        self.pace = None

    def _run_started(self, event: Mapping[str, Any]) -> None:
        self._begin(event)
        self.settings = event.get("settings") or {}

    def _run_resumed(self, event: Mapping[str, Any]) -> None:
        self._begin(event)
        if event.get("budget") is not None:
            self.settings = {**self.settings, "budget": event["budget"]}
        self.planned = max(self.planned, event["done"] + event["left"])
        self.take_up()

    def _run_planned(self, event: Mapping[str, Any]) -> None:
        self.planned = event["tasks"]
        self.expected = int(event.get("cached") or 0)

    def _run_finished(self, event: Mapping[str, Any]) -> None:
        self.end(event["status"])

    def _pace_changed(self, event: Mapping[str, Any]) -> None:
        self.pace = (event["limit"], event["reason"])

    def _task_started(self, event: Mapping[str, Any]) -> None:
        task_id = event["task_id"]
        self._uncount(task_id)
        self.flights.pop(task_id, None)
        self.flights[task_id] = Flight(task_id, event["bundle"], place_of(event), self.now)

    def _task_finished(self, event: Mapping[str, Any]) -> None:
        task_id, bundle, outcome = event["task_id"], event["bundle"], event["outcome"]
        self._uncount(task_id)
        self.flights.pop(task_id, None)
        cached = bool(event.get("cached"))
        self._ended[task_id] = _Ended(bundle, outcome, event.get("reason") or "", cached)
        self.counts[outcome] += 1
        self.bundles.setdefault(bundle, Counter())[outcome] += 1
        self.cached += cached
        self.changes += len(event.get("changed_files") or ())
        if cached:
            self.saved_tokens += sum(_tokens(event))
        self._pass(event)
        if outcome != "finished":
            self._note_ending(event)

    def _pass(self, event: Mapping[str, Any]) -> None:
        """Count a task for the pace, unless it took no time."""
        if not event.get("cached") and event["outcome"] != "skipped":
            self._tasks = self._tasks or Window(self.now)
            self._tasks.add(self.now)

    def _note_ending(self, event: Mapping[str, Any]) -> None:
        cause, outcome = event.get("reason") or "", event["outcome"]
        key = (outcome, cause)
        self.causes[key if key in self.causes or len(self.causes) < _CAUSES else (outcome, _OTHER)] += 1
        words = event.get("error") or event.get("summary") or cause
        self.endings.append(Ending(event["task_id"], event["bundle"], place_of(event), outcome, cause, words))

    def _uncount(self, task_id: str) -> None:
        """Forget that a task ended: it is tried again."""
        known = self._ended.pop(task_id, None)
        if known is None:
            return
        self.counts[known.outcome] -= 1
        self.bundles[known.bundle][known.outcome] -= 1
        self.cached -= known.cached
        if known.outcome != "finished":
            key = (known.outcome, known.cause)
            self.causes[key if self.causes[key] else (known.outcome, _OTHER)] -= 1
            self.endings = deque((one for one in self.endings if one.task_id != task_id), _FAILURES)

    def _turn(self, event: Mapping[str, Any], doing: str) -> None:
        flight = self.flights.get(event["task_id"])
        if flight is not None:
            flight.turn, flight.doing, flight.since = event["turn"], doing, self.now

    def _model_requested(self, event: Mapping[str, Any]) -> None:
        self._turn(event, "waits for the model")

    def _model_responded(self, event: Mapping[str, Any]) -> None:
        self.used = self.used.plus(replied(Usage(*_tokens(event)), event.get("cost")))
        self._replied(event)

    def _replied(self, event: Mapping[str, Any]) -> None:
        self._turn(event, "reads on")
        self._tokens = self._tokens or Window(self.now)
        self._tokens.add(self.now, _tokens(event)[1])

    def _model_lost(self, event: Mapping[str, Any]) -> None:
        self.used = self.used.plus(lost(Usage(*_tokens(event)), event.get("cost")))
        self._reply_lost(event)

    def _reply_lost(self, event: Mapping[str, Any]) -> None:
        self._turn(event, "lost a reply")

    def _tool_called(self, event: Mapping[str, Any]) -> None:
        self.used = self.used.plus(Used(tool_calls=1))
        self._tool_runs(event)

    def _tool_runs(self, event: Mapping[str, Any]) -> None:
        self._turn(event, f"runs {event['tool']}")

    def _tool_returned(self, event: Mapping[str, Any]) -> None:
        self._turn(event, "reads on")

    _HANDLERS: ClassVar[dict[str, Callable[[Tally, Mapping[str, Any]], None]]] = {
        "run:started": _run_started,
        "run:resumed": _run_resumed,
        "run:planned": _run_planned,
        "run:finished": _run_finished,
        "pace:changed": _pace_changed,
        "task:started": _task_started,
        "task:finished": _task_finished,
        "model:requested": _model_requested,
        "model:responded": _model_responded,
        "model:lost": _model_lost,
        "tool:called": _tool_called,
        "tool:returned": _tool_returned,
    }
    TAKEN: ClassVar[frozenset[str]] = frozenset(_HANDLERS)
    """The types of events that tell something."""

    # What events tell of those that they are about, beside the sums.
    _GLANCES: ClassVar[dict[str, Callable[[Tally, Mapping[str, Any]], None]]] = {
        "pace:changed": _pace_changed,
        "task:finished": _pass,
        "model:requested": _model_requested,
        "model:responded": _replied,
        "model:lost": _reply_lost,
        "tool:called": _tool_runs,
        "tool:returned": _tool_returned,
    }


def _tokens(event: Mapping[str, Any]) -> tuple[int, int]:
    """Return the prompt and the completion tokens that an event tells of."""
    usage = event.get("usage") or {}
    return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)

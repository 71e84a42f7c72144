"""One preview: the pinned node's request, then its run, told event by event; an ordinary run of one task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from engine.app import App, RunRequest
from engine.backends import StreamTap
from engine.events import ErrorOccurred, ModelRequested, ModelResponded, ToolCalled, ToolReturned
from engine.run import Review, RunResult, Session, Task
from engine.run.enforcement import Enforcer
from engine.tui.dev.difference import compare
from engine.tui.dev.events import (
    DevEvent,
    Finished,
    NodeMissing,
    NodeRow,
    NotRun,
    Piece,
    Pinned,
    PromptRendered,
    Replied,
    Said,
    ToolRan,
    TurnStarted,
)
from engine.tui.dev.pin import Pin
from engine.tui.dev.words import prompt_text, tool_lines
from engine.workspace import ChangeStore, Decision

Tell = Callable[[DevEvent], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Where completions come from, and which constraints were seen in force there: once is enough for all previews.

    Attributes:
        backend: The backend.
        enforcer: Remembers them.
        key: What the backend was made for.
    """

    backend: StreamTap
    enforcer: Enforcer
    key: object = None


@dataclass(slots=True)
class Texts:
    """What the last preview of a node came to; None where it never got so far."""

    prompt: str | None = None
    output: str | None = None
    change: str | None = None


@dataclass(slots=True)
class Previewer:
    """Makes previews, one after the other, and remembers the last texts of each node to compare the next with.

    Attributes:
        app: The project.
        request: What is asked of each run, but for the bundle.
        tell: Gets the events.
        run: Whether the model is asked at all.
        pin: The node; follows it.
        run_ids: Runs whose changes still wait in the change store.
        offered: The run whose change can be accepted, or None.
        busy: Whether the newest preview has yet to come to its result.
        ended: Whether the end of the present one was told; what comes then is tidying up.
    """

    app: App
    request: RunRequest
    tell: Tell
    run: bool
    pin: Pin
    run_ids: set[str] = field(default_factory=set)
    offered: str | None = None
    busy: bool = False
    ended: bool = False
    _texts: dict[str, Texts] = field(default_factory=dict)
    _listening: bool = False

    def hear(self, text: str) -> None:
        """Hand on a piece of a reply; what the server answers outside of turns is no reply of the bundle's."""
        if self._listening:
            self.tell(Piece(text))

    async def make(self, request: RunRequest, source: Source, began: float) -> None:
        """Make one preview.

        Args:
            request: The run, with the bundle.
            source: Where completions come from.
            began: `time.perf_counter()` when the reason for it was heard of.

        Raises:
            EngineError: It cannot be made.
        """
        async with self.app.session(request, backend=source.backend, enforcer=source.enforcer) as session:
            task = self._find(session)
            if task is None:
                return
            rendered = await session.render(task)
            texts = self._texts.setdefault(task.node.qualified_name, Texts())
            prompt = prompt_text(rendered)
            self.tell(PromptRendered(rendered, compare(texts.prompt, prompt), time.perf_counter() - began))
            texts.prompt = prompt
            if self.run:
                await self._run(session, task, texts)
            else:
                self._end(NotRun())

    def _find(self, session: Session) -> Task | None:
        plan = session.plan
        rows = tuple(_row(task) for task in plan.tasks)
        task = self.pin.find(plan.tasks)
        if task is None:
            wanted = self.pin.wanted
            reason = plan.why_no_task([wanted] if wanted else [])
            self._end(NodeMissing(wanted, "; ".join([reason, *plan.notes]), rows))
            return None
        self.pin = self.pin.at(task.node)
        place = f"{task.node.file_path}::{task.node.qualified_name}"
        self.tell(Pinned(_row(task), place, rows, tuple(plan.notes)))
        return task

    async def _run(self, session: Session, task: Task, texts: Texts) -> None:
        session.plan = replace(session.plan, tasks=(task,))
        for line in await session.check():
            self.tell(Said(f"warning: {line}"))
        self.run_ids.add(session.run_id)
        story = _Story(self)
        try:
            result = await session.run([story])
        finally:
            self._listening = False
        self._finish(result, story, texts)
        await self.drop(keep=self.offered)

    def _finish(self, result: RunResult, story: _Story, texts: Texts) -> None:
        (task,) = result.tasks
        words = task.error or task.summary
        output = "\n".join([*story.lines, f"{task.outcome}: {words or task.reason}"])
        change = "".join(change.diff() for change in task.changes).rstrip("\n")
        self.offered = result.run_id if task.changes and task.outcome == "finished" else None
        event = Finished(
            task.outcome,
            task.reason,
            words,
            compare(texts.output, output),
            compare(texts.change, change),
            len(task.changes),
            task.turns,
            task.usage.total_tokens,
            task.seconds,
        )
        texts.output, texts.change, self.busy = output, change, False
        self._end(event)

    def _end(self, event: DevEvent) -> None:
        self.ended = True
        self.tell(event)

    async def drop(self, keep: str | None = None) -> None:
        """Reject what previews offered and nobody took, but that of one run."""
        for run_id in self.run_ids - {keep}:
            await asyncio.to_thread(lambda run_id: self._review(run_id).reject(), run_id)
            self.run_ids.discard(run_id)

    async def accept(self) -> tuple[Decision, ...]:
        """Write what the last preview offered into the project."""
        assert self.offered is not None  # noqa: S101 - the loop looks first
        review = await asyncio.to_thread(self._review, self.offered)
        decisions = tuple(await asyncio.to_thread(review.accept))
        if any(decision.state == "accepted" for decision in decisions):
            self.offered = None
        return decisions

    def _review(self, run_id: str) -> Review:
        # Not by way of the log: a run that was cancelled early is not in it.
        return Review(self.app.root, ChangeStore(self.app.root), run_id)

    def listen(self, *, on: bool) -> None:
        """Say whether what the backend streams is a reply of the bundle's."""
        self._listening = on


class _Story:
    """An observer: tells the loop's view, and writes down what a preview is compared by: no times, no counts."""

    def __init__(self, previewer: Previewer) -> None:
        self.lines: list[str] = []
        self._previewer, self._tell = previewer, previewer.tell
        self._calls: dict[str, ToolCalled] = {}

    async def on_model_request(self, event: ModelRequested) -> None:
        self._previewer.listen(on=True)
        self.lines.append(f"[turn {event.turn}]")
        self._tell(TurnStarted(event.turn, event.model, event.adapter))

    async def on_model_response(self, event: ModelResponded) -> None:
        self._previewer.listen(on=False)
        self.lines += event.text.split("\n") if event.text else []
        self._tell(Replied(event.turn, event.text, event.usage.completion_tokens))

    async def on_tool_call(self, event: ToolCalled) -> None:
        self._calls[event.call_id] = event

    async def on_tool_result(self, event: ToolReturned) -> None:
        arguments = self._calls[event.call_id].arguments
        ran = ToolRan(event.tool, arguments, event.content, event.is_error)
        self.lines += tool_lines(ran)
        self._tell(ran)

    async def on_error(self, event: ErrorOccurred) -> None:
        self.lines.append(f"! {event.error_type}: {event.message}")


def _row(task: Task) -> NodeRow:
    node = task.node
    return NodeRow(node.node_id, node.qualified_name, node.type, node.start_line)

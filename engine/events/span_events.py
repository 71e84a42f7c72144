"""Events become spans: run → task → model call and tool call.

Names and attributes follow OpenTelemetry's conventions for generative AI, as they were in November 2026
(https://github.com/open-telemetry/semantic-conventions-genai); what they have no word for begins with `engine.`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.events.encode import dump
from engine.events.span_content import input_messages, output_messages
from engine.events.spans import Attributes, OpenSpan, SpanTree, after, clean

Data = Mapping[str, Any]
Measure = Callable[[Attributes, float, Data | None], None]
Key = tuple[str, str]
"""A run and a task."""
_COUNTS = ("finished", "failed", "stopped", "skipped", "cached", "changes")
_BROKEN_OFF = {"outcome": "stopped", "reason": "interrupted"}


class SpanMaker:
    """Makes spans of the events of runs, which come in their order.

    Args:
        tree: Begins and ends them.
        content: Put prompts, replies, arguments, results and the words of errors into the spans.
        measure: Called with the attributes, seconds and token counts of each model call.
    """

    def __init__(self, tree: SpanTree, *, content: bool = False, measure: Measure | None = None) -> None:
        self._tree, self._content, self._measure = tree, content, measure
        self._runs: dict[str, OpenSpan] = {}
        self._tasks: dict[Key, OpenSpan] = {}
        self._known: dict[str, Attributes] = {}  # of runs that have ended, too: they may go on
        self._kinds: dict[str, Callable[[Key, Data, int], None]] = {
            "run:started": self._run_started,
            "run:resumed": self._run_resumed,
            "run:planned": self._run_planned,
            "run:finished": self._run_finished,
            "task:started": self._task_started,
            "task:finished": self._task_finished,
            "model:requested": self._model_requested,
            "model:responded": self._model_responded,
            "tool:called": self._tool_called,
            "tool:returned": self._tool_returned,
            "model:lost": self._reply_lost,
            "error:occurred": self._error_occurred,
        }

    def feed(self, kind: str, key: Key, data: Data, now: int) -> None:
        """Hear of an event.

        Args:
            kind: Its type, such as `tool:called`.
            key: The run and the task.
            data: Its fields.
            now: When it happened, in nanoseconds since 1970.
        """
        handle = self._kinds.get(kind)
        if handle is not None:
            handle(key, data, now)

    def close(self, now: int) -> None:
        """End what is still open, as of a run that was broken off."""
        for run_id in {*self._runs, *(run_id for run_id, _ in self._tasks)}:
            self._run_finished((run_id, ""), {"status": "interrupted"}, now)

    def _run_started(self, key: Key, data: Data, now: int) -> None:
        settings = data.get("settings") or {}
        self._open_run(key[0], ", ".join(data["bundles"]), settings.get("backend"), now, targets=list(data["targets"]))

    def _run_resumed(self, key: Key, data: Data, now: int) -> None:
        before = self._runs.get(key[0])
        if before is not None:  # in the log the part that was broken off comes first
            self._run_finished(key, {"status": "interrupted"}, max(before.last, before.start))
        kept = self._known.get(key[0], {})
        self._open_run(key[0], kept.get("name", ""), kept.get("backend"), now, done=data["done"], left=data["left"])

    def _open_run(self, run_id: str, name: str, backend: str | None, now: int, **more: Any) -> None:
        attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": name or None,
            "engine.run.id": run_id,
            **{f"engine.run.{word}": value for word, value in more.items()},
        }
        run = self._tree.begin((run_id, "run"), f"invoke_workflow {name}".rstrip(), attributes, now, None)
        run.keep = self._known[run_id] = {"name": name, "backend": backend}
        self._runs[run_id] = run

    def _run_planned(self, key: Key, data: Data, now: int) -> None:  # noqa: ARG002 - as all of them
        run = self._runs.get(key[0])
        if run is not None:
            run.span.set_attributes(
                clean({f"engine.run.{word}": data.get(word) for word in ("tasks", "nodes", "files")})
            )

    def _run_finished(self, key: Key, data: Data, now: int) -> None:
        for each in [each for each in self._tasks if each[0] == key[0]]:
            self._task_finished(each, _BROKEN_OFF, now)
        run = self._runs.pop(key[0], None)
        if run is not None:
            run.span.set_attributes(clean({f"engine.run.{word}": data.get(word) for word in ("status", *_COUNTS)}))
            status = str(data["status"])
            self._tree.end(run, now, above=None, error=None if status == "finished" else status)

    def _task_started(self, key: Key, data: Data, now: int) -> None:
        if key in self._tasks:
            self._task_finished(key, _BROKEN_OFF, now)
        run_id, task_id = key
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": data["bundle"],
            "gen_ai.conversation.id": f"{run_id}/{task_id}",
            "code.file.path": data["file"],
            "code.function.name": data["node"],
            "code.line.number": data["line"],
            "engine.run.id": run_id,
            "engine.task.id": task_id,
        }
        run = self._runs.get(run_id)
        task = self._tree.begin((run_id, "task", task_id), f"invoke_agent {data['bundle']}", attributes, now, run)
        task.keep = {"gen_ai.provider.name": (run.keep.get("backend") if run else None) or "_OTHER"}
        self._tasks[key] = task

    def _task_finished(self, key: Key, data: Data, now: int) -> None:
        if key not in self._tasks:  # from the cache, or skipped: it never began
            self._task_started(key, data, now)
        task = self._tasks.pop(key)
        for opened in task.below.values():
            self._tree.end(opened, now, above=task, error="cancelled")
        usage = data.get("usage") or {}
        attributes = {f"engine.task.{word}": data.get(word) for word in ("outcome", "reason", "attempts", "cached")}
        attributes["gen_ai.usage.input_tokens"] = usage.get("prompt_tokens")
        attributes["gen_ai.usage.output_tokens"] = usage.get("completion_tokens")
        task.span.set_attributes(clean(attributes))
        error = None if data["outcome"] == "finished" else str(data["reason"] or data["outcome"])
        self._tree.end(task, now, above=self._runs.get(key[0]), error=error, words=self._words(data.get("error")))

    def _model_requested(self, key: Key, data: Data, now: int) -> None:
        task = self._tasks.get(key)
        if task is None:
            return
        model = data["model"]
        keep = {"gen_ai.operation.name": "chat", **task.keep, "gen_ai.request.model": model}
        more = {f"engine.{word}": data[word] for word in ("turn", "adapter", "constraint")}
        if self._content:
            more["gen_ai.input.messages"] = dump(input_messages(data["messages"]))
        place = (key[0], "task", key[1], f"chat {data['turn']}")
        title = f"chat {model or ''}".rstrip()
        client = task.keep["gen_ai.provider.name"] != "embedded"
        task.below["chat"] = self._tree.begin(place, title, keep | more, now, task, client=client)
        task.below["chat"].keep = keep

    def _model_responded(self, key: Key, data: Data, now: int) -> None:  # noqa: ARG002 - it tells how long it took
        task, call = self._take(key, "chat")
        if task is None or call is None:
            return
        usage, model = data["usage"], data["model"]
        answer = {
            "gen_ai.response.model": model,
            "gen_ai.response.finish_reasons": [data["finish_reason"]],
            "gen_ai.usage.input_tokens": usage["prompt_tokens"],
            "gen_ai.usage.output_tokens": usage["completion_tokens"],
            "gen_ai.usage.cache_read.input_tokens": usage.get("cached_tokens") or None,
        }
        if self._content:
            answer["gen_ai.output.messages"] = dump(output_messages(data["text"], data["finish_reason"]))
        call.span.set_attributes(clean(answer))
        self._tree.end(call, after(call, data["duration_ms"]), above=task)
        if self._measure is not None:
            self._measure(clean(call.keep | {"gen_ai.response.model": model}), data["duration_ms"] / 1000, usage)

    def _reply_lost(self, key: Key, data: Data, now: int) -> None:  # noqa: ARG002 - the error that follows ends the call
        task = self._tasks.get(key)
        call = task.below.get("chat") if task is not None else None
        if call is not None:
            usage = data["usage"]
            tokens = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
            call.span.set_attributes(clean({f"gen_ai.usage.{name}": number for name, number in tokens.items()}))

    def _error_occurred(self, key: Key, data: Data, now: int) -> None:
        task, call = self._take(key, "chat")
        if task is None or call is None:
            return
        error = str(data["error_type"])
        self._tree.end(call, now, above=task, error=error, words=self._words(data["message"]))
        if self._measure is not None:
            self._measure(clean(call.keep | {"error.type": error}), max(0, now - call.start) / 1e9, None)

    def _tool_called(self, key: Key, data: Data, now: int) -> None:
        task = self._tasks.get(key)
        if task is None:
            return
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": data["tool"],
            "gen_ai.tool.call.id": data["call_id"],
            "gen_ai.tool.type": "function",
            "engine.turn": data["turn"],
        }
        if self._content:
            attributes["gen_ai.tool.call.arguments"] = dump(data["arguments"])
        name = f"tool {data['turn']} {data['call_id']}"
        title = f"execute_tool {data['tool']}"
        task.below[name] = self._tree.begin((key[0], "task", key[1], name), title, attributes, now, task)

    def _tool_returned(self, key: Key, data: Data, now: int) -> None:  # noqa: ARG002 - it tells how long it took
        task, call = self._take(key, f"tool {data['turn']} {data['call_id']}")
        if task is None or call is None:
            return
        result = {"engine.tool.outcome": data["outcome"]}
        if self._content:
            result["gen_ai.tool.call.result"] = data["content"]
        call.span.set_attributes(clean(result))
        error = "tool_error" if data["is_error"] else None
        self._tree.end(call, after(call, data["duration_ms"]), above=task, error=error)

    def _take(self, key: Key, name: str) -> tuple[OpenSpan | None, OpenSpan | None]:
        """Return a task and what was open below it."""
        task = self._tasks.get(key)
        return task, task.below.pop(name, None) if task is not None else None

    def _words(self, text: Any) -> str:
        """Return an error's words where they may be told: they may quote a reply or the user's code."""
        return str(text) if self._content and text else ""

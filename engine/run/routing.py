"""Which adapter answers the next turn, and which adapters a run needs.

The first of these that is there decides:

| | | |
|---|---|---|
| 1 | `step(model=…)`, `run(model=…)`, `client.run(model=…)` | programs only; an adapter of the bundle, else a model |
| 2 | `model_override` of a context provider's result | the first provider in the manifest's order that has one |
| 3 | the manifest's `routing` (`when`, `after_tool`) | the first rule that matches |
| 4 | `--adapter` | `none` switches off all adapters, 2 and 3 included |
| 5 | the manifest's `model.adapter` | |
| 6 | the bare model | `--model`, else the operation's `model`, the manifest's `model.id`, the backend's default |

3 to 5 choose an adapter, on the model of 6. A name of 1 and 2 that is an adapter of the bundle does so too; any other
is a model of the server and answers without an adapter. An adapter that was trained on another model is left out,
unless it was asked for by name (1, 2, 4): then that is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from engine.backends import Backend
from engine.errors import BundleError, ConfigError, PromptError
from engine.models import Adapter
from engine.prompts import Expression
from engine.run.plan import Assignment, Task
from engine.run.variables import task_variables

_PRIORITIES = {"high": 0, "normal": 1, "low": 2}


class Routes:
    """The manifest's `routing` and the default adapter of an assignment; `fixed` when there is no rule to evaluate."""

    def __init__(self, assignment: Assignment) -> None:
        rules = assignment.bundle.manifest.routing if assignment.adapters else ()
        self._rules = [(Expression(rule.when) if rule.when else None, rule.after_tool, rule.adapter) for rule in rules]
        self._default = assignment.adapter if assignment.adapters else None
        self.fixed = not self._rules

    def choose(self, variables: Mapping[str, Any], last_tools: Sequence[str] = ()) -> str | None:
        """Return the name of the next turn's adapter; the first rule that matches wins.

        Args:
            variables: What `when` can read.
            last_tools: The tools that the last turn called.

        Raises:
            PromptError: A `when` failed.
        """
        for when, after_tool, name in self._rules:
            if after_tool is not None and after_tool not in last_tools:
                continue
            if when is not None and not when.evaluate(variables):
                continue
            return name
        return self._default


class Router:
    """The routes of one task; adapters that the backend's model cannot carry are left out."""

    def __init__(self, task: Task, backend: Backend) -> None:
        self._assignment, self._routes = task.assignment, Routes(task.assignment)
        self._usable = {name: adapter for name, adapter in task.bundle.adapters.items() if backend.accepts(adapter)}
        self._providers = [item.name for item in task.bundle.manifest.context]

    @property
    def default_name(self) -> str | None:
        """The adapter that answers when no route matches, or None."""
        name = self._assignment.adapter if self._assignment.adapters else None
        return name if name in self._usable else None

    def choose(self, variables: Mapping[str, Any], last_tools: Sequence[str] = ()) -> Adapter | None:
        """Return the adapter that the routes choose for the next turn.

        Args:
            variables: What `when` can read.
            last_tools: The tools that the last turn called.

        Raises:
            PromptError: A `when` failed.
        """
        return self._usable.get(self._routes.choose(variables, last_tools) or "")

    def answers(self, variables: Mapping[str, Any], last_tools: Sequence[str] = ()) -> dict[str, Any]:
        """Return who answers the next turn, as a kernel's context provider says it.

        Args:
            variables: What `when` can read; `context` holds the context providers' results.
            last_tools: The tools that the last turn called.

        Raises:
            PromptError: A `when` failed.
            BundleError: A `model_override` is no name.
        """
        adapter, named = self.choose(variables, last_tools), self.override(variables["context"])
        return {"adapter": adapter, "model_override": named}

    def override(self, context: Mapping[str, Any]) -> str | None:
        """Return who answers the next turn, if a context provider says so: an adapter of the bundle, or a model.

        Args:
            context: The providers' results by name.

        Raises:
            BundleError: A `model_override` is no name.
        """
        for provider in self._providers:
            result = context.get(provider)
            named = result.get("model_override") if isinstance(result, Mapping) else None
            if named is None:
                continue
            if not isinstance(named, str) or not named:
                raise BundleError(
                    f"the model_override of the context provider '{provider}' is {named!r}: it is the name of an "
                    f"adapter or of a model"
                )
            off = named in self._assignment.bundle.adapters and not self._assignment.adapters
            return None if off else named
        return None


def grouped(tasks: Iterable[Task]) -> list[Task]:
    """Order tasks so that those of one adapter run together: servers change adapters at a cost.

    Tasks of a higher priority come first, then the groups in the order in which their first task came; inside a group
    the order stays. What counts is the model and the adapter of the first turn, as far as the manifest tells before
    the run.
    """
    given = list(tasks)
    ranked = zip((_PRIORITIES[task.assignment.priority] for task in given), adapter_groups(given), given, strict=True)
    return [task for *_, task in sorted(ranked, key=lambda row: row[:2])]


def adapter_groups(tasks: Iterable[Task]) -> Iterator[int]:
    """Yield a number for each task: the same for those whose first turns the same model and adapter answer.

    The numbers go up from 0, in the order in which the first task of each group comes.
    """
    routes: dict[int, Routes] = {}
    groups: dict[tuple[str | None, str], int] = {}
    for task in tasks:
        one = routes.setdefault(id(task.assignment), Routes(task.assignment))
        yield groups.setdefault((task.assignment.model, _identity(task, one)), len(groups))


def _identity(task: Task, routes: Routes) -> str:
    """Return what tells the first turn's adapter from others, also from those of other bundles; empty for none."""
    name = task.assignment.adapter
    if not routes.fixed:
        with suppress(PromptError):  # it reads what only the run knows
            name = routes.choose(task_variables(task, {}, adapter=name))
    adapter = task.bundle.adapters.get(name or "")
    return (adapter.digest or adapter.served_name or adapter.name) if adapter is not None else ""


def needed_adapters(assignment: Assignment) -> list[Adapter]:
    """Return the adapters that may come to answer; where there are context providers, each of the bundle's may."""
    if not assignment.adapters:
        return []
    manifest = assignment.bundle.manifest
    names = {assignment.adapter, *(rule.adapter for rule in manifest.routing)}
    return [one for name, one in assignment.bundle.adapters.items() if manifest.context or name in names]


async def prepare(backend: Backend, assignments: Sequence[Assignment]) -> list[str]:
    """Have the models and adapters that a run needs.

    Returns:
        Which adapters are left out, and why.

    Raises:
        BackendError: A model or an adapter cannot be had.
        BundleError: An adapter's files cannot be used.
        ConfigError: The adapter that the person named was trained on another model.
    """
    adapters = dict.fromkeys(adapter for one in assignments for adapter in needed_adapters(one))
    await backend.prepare(
        list(adapters), list(dict.fromkeys(one.model for one in assignments if one.model is not None))
    )
    notes = []
    for one in assignments:
        for adapter in needed_adapters(one):
            if backend.accepts(adapter):
                continue
            why = f"it was trained on {adapter.base}" if adapter.base else "it has no files that can be used here"
            said = f"the adapter '{adapter.name}' of bundle '{one.bundle.name}' does not fit the model: {why}"
            if one.insists and adapter.name == one.adapter:
                raise ConfigError(f"{said}; choose the model with --model, or leave --adapter out")
            notes.append(f"{said}; it is left out")
    return notes

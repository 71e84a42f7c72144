"""The first request of a task, exactly as it would be sent, without sending it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.errors import BackendError
from engine.grammar import Constraint
from engine.kernel.prompt import PromptBuilder
from engine.kernel.routing import choose
from engine.run.plan import Task
from engine.run.stage import Services, Stage
from engine.run.task import kernel_config

CHARACTERS_PER_TOKEN = 3.5


@dataclass(frozen=True, slots=True)
class Rendered:
    """A task's first request.

    Attributes:
        node: `file::name` of the node.
        model: The model's name.
        adapter: The adapter that would answer, or None.
        messages: The wire messages.
        tools: The tool schemas.
        constraint: What the reply may look like.
        tokens: Number of prompt tokens.
        exact: Whether the model's own tokenizer counted them.
    """

    node: str
    model: str
    adapter: str | None
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    constraint: Constraint
    tokens: int
    exact: bool

    def sections(self) -> list[tuple[str, str]]:
        """Return it for people: headings with what stands below them, in order; not yet made printable."""
        value = self.constraint.value
        exactly = "counted by the model's own tokenizer" if self.exact else "estimated: no tokenizer could be asked"
        return [
            (f"# {self.node}  (model {self.model}, adapter {self.adapter or 'none'})", ""),
            *((f"[{message['role']}]", str(message["content"])) for message in self.messages),
            ("[tools]", "\n".join(json.dumps(tool, ensure_ascii=False) for tool in self.tools)),
            (
                f"[constraint: {self.constraint.kind}, {self.constraint.strategy}]",
                value if isinstance(value, str) else json.dumps(value, indent=2),
            ),
            (f"prompt tokens: {self.tokens} ({exactly})", ""),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


async def render_task(task: Task, services: Services, *, ask: bool = True) -> Rendered:
    """Render a task's first request; context providers run, the model does not.

    Args:
        task: The task.
        services: What the tasks of the run share.
        ask: Whether the server is asked to count the tokens, and which model it has.
    """
    bundle, plugin = task.bundle, task.assignment.plugin
    kinds, answers = None, False
    with contextlib.suppress(BackendError):  # what it has decides which adapters fit, and how mode auto is written
        kinds = await services.backend.kinds() if ask else None
        answers = ask
    async with Stage(task, services) as stage:
        prompt = await stage.prompt()
        who = choose(kernel_config(task, ""), stage.router.answers(stage.variables), None)
    system = next((message.content for message in prompt if message.role == "system"), None)
    rest = [message for message in prompt if message.role != "system"]
    messages = plugin.build_messages(None, system, bundle.tool_schemas, rest)
    model, counted = who.model, None
    if answers:  # a request can be rendered while its server is down, and without asking it again and again
        with contextlib.suppress(BackendError):
            counted = await services.backend.count_tokens(messages)
            model = model or await services.backend.model_name()
    estimate = round(sum(len(str(message["content"])) for message in messages) / CHARACTERS_PER_TOKEN)
    return Rendered(
        f"{task.node.file_path}::{task.node.qualified_name}",
        model or "the server's default",
        who.adapter.name if who.adapter is not None else None,
        tuple(messages),
        tuple(asdict(schema) for schema in bundle.tool_schemas),
        PromptBuilder(plugin, bundle.constraint_options()).constraint(bundle.tool_schemas, kinds or None),
        estimate if counted is None else counted,
        counted is not None,
    )

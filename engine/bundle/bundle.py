"""A bundle: resolved, checked and frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.bundle.cases import BundleCase
from engine.bundle.inputs import node_inputs
from engine.bundle.values import resolve_params
from engine.grammar.constraint import ConstraintOptions
from engine.manifest import Manifest
from engine.messages import Message, ToolSchema
from engine.models.base import Adapter, ModelPlugin

if TYPE_CHECKING:
    from engine.grammar.argument_check import ArgumentChecker
    from engine.manifest.bundle_model import ContextSpec, ScriptTool
    from engine.prompts import Expression, Templates
    from engine.tools import Script, ScriptRunner, Tool


class NodeLike(Protocol):
    """What a bundle asks of a code node; discovery's CodeNode is one."""

    @property
    def language(self) -> str: ...  # noqa: D102 - the name says it
    @property
    def type(self) -> str: ...  # noqa: D102 - the name says it


@dataclass(frozen=True, slots=True)
class BundleTool:
    """A script tool of a bundle: as the manifest has it, its script, what the model sees, and what checks its calls."""

    spec: ScriptTool
    script: Script
    schema: ToolSchema
    checker: ArgumentChecker = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class BundleContext:
    """A context provider: as the manifest has it, and its script."""

    spec: ContextSpec
    script: Script


@dataclass(frozen=True)
class Bundle:
    """A bundle that may run: it has no error.

    Attributes:
        manifest: The typed manifest.
        root: The folder, or the zip file.
        digest: sha256 over the sorted names and contents of its files, hex.
        templates: Its templates.
        tools: Its tools in the manifest's order.
        context: Its context providers in the manifest's order.
        adapters: Its adapters by name.
        prompt_names: The templates of the system message (or None) and of the user message.
        custom: The grammar of strategy custom: EBNF text, or a structural tag.
        query: The text of the tree-sitter query, or None.
        cases: The cases that test it; no part of the digest.
    """

    manifest: Manifest
    root: Path
    digest: str
    templates: Templates
    tools: tuple[BundleTool, ...]
    context: tuple[BundleContext, ...]
    adapters: Mapping[str, Adapter]
    prompt_names: tuple[str | None, str]
    custom: str | Mapping[str, Any] | None = None
    query: str | None = None
    cases: tuple[BundleCase, ...] = ()

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.manifest.name

    @property
    def tool_schemas(self) -> list[ToolSchema]:
        """The tools as the model sees them."""
        return [tool.schema for tool in self.tools]

    @property
    def has_turn_context(self) -> bool:
        """Whether a context provider runs before each turn."""
        return any(item.spec.each == "turn" for item in self.context)

    def get_plugin(self, override_name: str | None = None) -> ModelPlugin:
        """Return the model plugin.

        Args:
            override_name: A plugin to take instead of the manifest's.

        Raises:
            ConfigError: There is no such plugin.
        """
        from engine.models import get_plugin

        return get_plugin(override_name or self.manifest.model.plugin)

    def render_prompt(self, inputs: Mapping[str, Any]) -> list[Message]:
        """Return the messages of the first turn: system (when there is one) and user.

        Args:
            inputs: The variables of `engine.prompts.prompt_scope`; a missing one raises when a template reads it.

        Raises:
            PromptError: With the file and line of the template.
        """
        system, user = self.prompt_names
        messages = [Message("system", self.templates.render(system, inputs))] if system else []
        return [*messages, Message("user", self.templates.render(user, inputs))]

    def constraint_options(self) -> ConstraintOptions:
        """Return what the manifest's `grammar` asks for."""
        spec = self.manifest.grammar
        return ConstraintOptions(
            spec.strategy,
            spec.mode,
            spec.parallel_calls,
            spec.text,
            self.custom,
            max_tokens=self.manifest.model.sampling.max_tokens,
        )

    def resolve_params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return all params, defaults filled in.

        Raises:
            ConfigError: A name does not exist, a value does not fit, or one without a default is missing.
        """
        return resolve_params(self.manifest.params, values, self.name)

    def takes(self, node: NodeLike, params: Mapping[str, Any]) -> bool:
        """Tell whether the bundle takes a code node; a bundle with a query takes what the query finds.

        Args:
            node: The node; `nodes.when` reads its attributes.
            params: All params of the bundle.

        Raises:
            PromptError: `nodes.when` fails for this node.
        """
        nodes = self.manifest.nodes
        if nodes.languages and node.language not in nodes.languages:
            return False
        if nodes.types and node.type not in nodes.types:
            return False
        return self._when is None or bool(self._when.evaluate({"node": node, "params": dict(params)}))

    def make_tools(self, runner: ScriptRunner) -> list[Tool]:
        """Return the tools, ready to be called.

        Args:
            runner: Runs the scripts; owned by the caller.
        """
        from engine.bundle.toolset import make_tool

        return [make_tool(tool, runner) for tool in self.tools]

    def bound_inputs(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the engine fills into the tools' inputs, for `ToolEnvironment.inputs`.

        The node's aliases stand under their own names, the values of a tool's `bind` under `tool.input`, so that what
        one tool binds never reaches another.

        Args:
            variables: The variables of the prompts.

        Raises:
            PromptError: An expression of a `bind` fails.
        """
        bound = node_inputs(variables)
        for tool, name, expression in self._binds:
            bound[f"{tool}.{name}"] = expression.evaluate(variables)
        return bound

    async def run_context(
        self,
        runner: ScriptRunner,
        externals: Mapping[str, Callable[..., Any]],
        *,
        each: Literal["run", "turn"],
        inputs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Run context providers and return their results by name.

        Args:
            runner: Runs the scripts.
            externals: Host functions by name.
            each: `run` runs all providers, `turn` only those that are renewed before each turn.
            inputs: The variables of the prompts; scripts may declare the flat node names among them (`node_text` …).

        Raises:
            ToolError: A provider failed; the message names it.
        """
        from engine.bundle.toolset import run_provider

        given = node_inputs(inputs or {})
        chosen = [item for item in self.context if each == "run" or item.spec.each == "turn"]
        return {item.spec.name: await run_provider(item, runner, given, externals) for item in chosen}

    @cached_property
    def _when(self) -> Expression | None:
        from engine.prompts import Expression

        source = self.manifest.nodes.when
        return Expression(source) if source is not None else None

    @cached_property
    def _binds(self) -> Sequence[tuple[str, str, Expression]]:
        from engine.prompts import Expression

        return [
            (tool.schema.name, name, Expression(source))
            for tool in self.tools
            for name, source in tool.spec.bind.items()
        ]

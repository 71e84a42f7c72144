"""The templates of one bundle: parsed once, checked without rendering, rendered under a budget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

from jinja2 import BaseLoader, Environment, Template, TemplateNotFound, nodes
from jinja2.exceptions import TemplateError

from engine.diagnostics import Diagnostic
from engine.errors import PromptError
from engine.prompts.budget import CURRENT, Budget, BudgetError, RenderLimits
from engine.prompts.environment import PromptEnvironment
from engine.prompts.failures import render_diagnostic, syntax_diagnostic
from engine.prompts.layers import Layers
from engine.prompts.scan import Scanner
from engine.prompts.scope import Scope
from engine.prompts.values import plain

MAX_SOURCE = 1024 * 1024
SYNTAX_ERRORS = (TemplateError, SyntaxError, ValueError, RecursionError, MemoryError)


class Templates:
    """The templates of one bundle, in memory.

    Args:
        sources: The text of each template by its posix path in the bundle; includes reach these and nothing else.
        root: The bundle's path as the user would type it, for the file of a diagnostic.
        limits: What one render may use.
        layers: Where templates of parent bundles lie.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        root: str,
        limits: RenderLimits | None = None,
        *,
        layers: Layers | None = None,
    ) -> None:
        self.sources = MappingProxyType(dict(sources))
        self.root = root
        self.layers = layers or Layers()
        self._limits = limits or RenderLimits()
        self._trees: dict[str, nodes.Template | Diagnostic] = {}
        self._lock = threading.RLock()
        self._environment = PromptEnvironment(loader=_Loader(self._compile), cache_size=-1, resolve=self.layers.resolve)

    def file(self, name: str) -> str:
        """Return the path of a template as the user would type it."""
        return self.layers.files.get(name) or (f"{self.root}/{name}" if self.root else name)

    def parse(self, name: str) -> nodes.Template | Diagnostic:
        """Return the tree of a template, or the finding when it has a syntax error.

        Raises:
            KeyError: The template does not exist.
        """
        if name not in self._trees:
            source = self.sources[name]
            try:
                if len(source) > MAX_SOURCE:
                    raise ValueError(f"the template is longer than {MAX_SOURCE} characters")
                self._trees[name] = self._environment._parse(source, name, None)  # noqa: SLF001 - parse() prepares tracebacks
            except SYNTAX_ERRORS as error:
                self._trees[name] = syntax_diagnostic(error, self.file(name), source)
        return self._trees[name]

    def check(self, name: str, scope: Scope) -> list[Diagnostic]:
        """Return the findings of a template and of those that it reaches, sorted; renders nothing."""
        with self._lock:
            return Scanner(self).check(name, scope)

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """Return the text of a template; the same input gives the same bytes.

        Args:
            name: A key of `sources`.
            variables: Plain data, or dataclasses of it.

        Raises:
            PromptError: With the file and line of what failed.
        """
        token = CURRENT.set(Budget(self._limits))
        try:
            values = {key: plain(value) for key, value in variables.items()}
            return self._collect(self._environment.get_template(name), values)
        except Exception as error:
            found = (
                error.diagnostics[0] if isinstance(error, PromptError) else render_diagnostic(error, self.file, name)
            )
            place = f"{found.span.file}:{found.span.line}"
            raise PromptError(f"{place}: {found.message}", [found]) from error
        finally:
            CURRENT.reset(token)

    def _collect(self, template: Template, values: dict[str, Any]) -> str:
        parts, length = [], 0
        for part in template.root_render_func(template.new_context(values)):
            length += len(part)
            if length > self._limits.output:
                raise BudgetError(f"the text is longer than {self._limits.output} characters")
            parts.append(part)
        return "".join(parts)

    def _compile(self, name: str) -> tuple[Any, Diagnostic | None]:
        if name not in self.sources:
            raise TemplateNotFound(name)
        with self._lock:
            tree = self.parse(name)
            if isinstance(tree, Diagnostic):
                return None, tree
            del self._trees[name]  # metering changes the tree in place
        try:
            return self._environment.compile(self._environment.metered(tree), name, name), None
        except SYNTAX_ERRORS as error:
            return None, syntax_diagnostic(error, self.file(name), self.sources[name])


class _Loader(BaseLoader):
    def __init__(self, compile_source: Callable[[str], tuple[Any, Diagnostic | None]]) -> None:
        self._compile = compile_source

    def load(self, environment: Environment, name: str, globals: MutableMapping[str, Any] | None = None) -> Template:  # noqa: A002 - Jinja's name
        code, problem = self._compile(name)
        if problem is not None:
            raise PromptError(f"{problem.span.file}:{problem.span.line}: {problem.message}", [problem])
        return environment.template_class.from_code(environment, code, globals or {}, None)

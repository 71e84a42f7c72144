"""Jinja expressions of a manifest: `nodes.when`, `routing.when`, `bind`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import GeneratorType
from typing import Any

from jinja2 import Template, nodes
from jinja2.parser import Parser

from engine.diagnostics import Diagnostic, Span
from engine.errors import PromptError
from engine.prompts.budget import CURRENT, Budget, RenderLimits, weigh
from engine.prompts.environment import PromptEnvironment
from engine.prompts.failures import one_line, render_diagnostic
from engine.prompts.scan import scan_expression
from engine.prompts.scope import Scope
from engine.prompts.templates import SYNTAX_ERRORS
from engine.prompts.values import plain

_NAME = "<expression>"
_MAX_SOURCE = 10_000


@cache
def _environment() -> PromptEnvironment:
    return PromptEnvironment()


def _parse(source: str) -> nodes.Expr:
    if len(source) > _MAX_SOURCE:
        raise ValueError(f"the expression is longer than {_MAX_SOURCE} characters")
    parser = Parser(_environment(), source, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        parser.fail("unexpected text after the expression")
    tree.set_environment(_environment())
    return tree


class Expression:
    """An expression, compiled once; evaluated in the same sandbox and under the same budget as templates.

    Raises:
        PromptError: It has a syntax error.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            tree = nodes.Template([nodes.Assign(nodes.Name("result", "store"), _parse(source), lineno=1)], lineno=1)
            environment = _environment()
            code = environment.compile(environment.metered(tree), _NAME, _NAME)
        except SYNTAX_ERRORS as error:
            finding = Diagnostic("R009", f"{source!r}: {one_line(error)}", Span(_NAME))
            raise PromptError(f"the expression {one_line(finding.message)}", [finding]) from error
        self._template = Template.from_code(environment, code, environment.make_globals(None))

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Return the value as plain data.

        Raises:
            PromptError: An undefined variable, an operation that failed, or a budget that is used up.
        """
        token = CURRENT.set(Budget(RenderLimits()))
        try:
            context = self._template.new_context({key: plain(value) for key, value in variables.items()})
            for _ in self._template.root_render_func(context):
                pass
            value = context.vars["result"]
            value = list(value) if isinstance(value, (GeneratorType, range)) else value
            weigh(value)
        except Exception as error:
            found = render_diagnostic(error, str, _NAME)
            raise PromptError(f"the expression {self.source!r} failed: {found.message}", [found]) from error
        finally:
            CURRENT.reset(token)
        return value


def check_expression(source: str, scope: Scope, span: Span) -> list[Diagnostic]:
    """Return R009 for a syntax error, and for each unknown name, attribute, filter and test.

    Args:
        source: The expression.
        scope: The names that exist.
        span: Where the manifest has it.
    """
    try:
        problems = scan_expression(_parse(source), scope, source, _environment())
    except SYNTAX_ERRORS as error:
        problems = [Diagnostic("R009", one_line(getattr(error, "message", error)), span)]
    return [Diagnostic("R009", f"the expression {source!r}: {found.message}", span, found.help) for found in problems]

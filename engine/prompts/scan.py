"""The static check of templates: one walk over Jinja's tree that knows which names exist where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from jinja2 import nodes

from engine.diagnostics import Diagnostic, Span, did_you_mean
from engine.prompts.columns import Columns
from engine.prompts.environment import GLOBAL_NAMES, PromptEnvironment
from engine.prompts.layers import PARENT
from engine.prompts.scope import Scope

if TYPE_CHECKING:
    from engine.prompts.templates import Templates

_KEYWORDS: dict[type, str] = {
    nodes.Extends: "extends",
    nodes.FromImport: "from",
    nodes.Import: "import",
    nodes.Include: "include",
}

Names = Mapping[str, frozenset[str] | None]

_MAX_VISITS = 200
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})
_GLOBALS = dict.fromkeys((*GLOBAL_NAMES, "self"))
_BY_FILTER_NAME = frozenset({"map"})
_BY_TEST_NAME = {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}


class Scanner:
    """Checks a template and the templates that it reaches."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._seen: set[tuple[str, frozenset[str]]] = set()
        self._columns: dict[str, Columns] = {}
        self.found: set[Diagnostic] = set()

    def check(self, name: str, scope: Scope) -> list[Diagnostic]:
        """Return all findings, sorted."""
        if name not in self._templates.sources:
            return [
                Diagnostic(
                    "P004", f"the template '{name}' is not a file of the bundle", Span(self._templates.file(name))
                )
            ]
        self.visit(name, _GLOBALS | dict(scope.names), (name,))
        return sorted(self.found, key=lambda item: item.sort_key)

    def visit(self, name: str, names: Names, chain: tuple[str, ...]) -> None:
        """Check one template with these names in sight, once per set of names; `chain` is what extends it."""
        key = (name, frozenset(names))
        if key in self._seen or len(self._seen) >= _MAX_VISITS:
            return
        self._seen.add(key)
        tree = self._templates.parse(name)
        if isinstance(tree, Diagnostic):
            self.found.add(tree)
            return
        columns = self._columns.setdefault(name, Columns(self._templates.sources[name]))
        walk = Walk(tree.environment, self._templates.file(name), columns, self.found.add)
        walk.reach = partial(self._reach, chain)
        walk.template(tree, names, self._tops(name))

    def _reach(self, chain: tuple[str, ...], walk: Walk, node: Any, names: Names) -> None:
        place = (node, _KEYWORDS[type(node)], "")
        for written in _constant_names(node.template):
            if written is None:
                walk.report("P004", place, "the name of an included template must be a literal text")
                continue
            name = self._templates.layers.resolve(written, chain[-1])
            if isinstance(node, nodes.Extends) and name in chain:
                walk.report("P006", place, f"the template extends itself: {' → '.join([*chain, name])}")
            elif name in self._templates.sources:
                self.visit(name, names, (*chain, name) if isinstance(node, nodes.Extends) else (name,))
            elif not getattr(node, "ignore_missing", False) or name.startswith(("/", "..")):
                walk.report("P004", place, *self._unknown(name))

    def _unknown(self, name: str) -> tuple[str, str | None]:
        """Return the message and the hint for a template that does not exist."""
        level = name.count(PARENT)
        if level > self._templates.layers.depth:
            known = "it builds on none" if level == 1 else f"there are {level - 1}"
            return f"'{name}' is a template of a bundle that this one builds on, and {known}", None
        where = "the bundle" if not level else "the parent bundle"
        there = [item.rpartition(PARENT)[2] for item in self._templates.sources if item.count(PARENT) == level]
        hint = did_you_mean(name.rpartition(PARENT)[2], there)
        hint = hint.replace("'", f"'{PARENT * level}", 1) if hint else None
        return f"the template '{name}' is not a file of {where}", hint

    def _tops(self, name: str, seen: tuple[str, ...] = ()) -> set[str]:
        """Return the names that a template, and those that it extends, assign at their top level."""
        tree = self._templates.parse(name) if name in self._templates.sources and name not in seen else None
        if not isinstance(tree, nodes.Template):
            return set()
        names = _assigned(tree.body)
        for node in tree.body:
            if isinstance(node, nodes.Extends):
                for above in filter(None, _constant_names(node.template)):
                    names |= self._tops(self._templates.layers.resolve(above, name), (*seen, name))
        return names


def scan_expression(tree: nodes.Expr, scope: Scope, source: str, environment: PromptEnvironment) -> list[Diagnostic]:
    """Return the findings (P002, P003, P005) of one expression."""
    found: list[Diagnostic] = []
    walk = Walk(environment, "<expression>", Columns(source, whole=True), found.append)
    walk.root(tree, dict.fromkeys(GLOBAL_NAMES) | dict(scope.names))
    return found


class Walk:
    """A walk over one template; `names` maps each name in sight to its attributes and grows with each assignment."""

    def __init__(self, environment: Any, file: str, columns: Columns, add: Callable[[Diagnostic], None]) -> None:
        self.reach: Callable[[Walk, Any, Names], None] = lambda *_: None
        self._environment = environment
        self._file = file
        self._columns = columns
        self._add = add
        self._top: Names = {}
        self._blocks: Names = {}
        self._tree: nodes.Node = nodes.Template([])

    def report(self, code: str, at: tuple[Any, str, str], message: str, hint: str | None = None) -> None:
        """Add a finding at a name: the node, the name, and the regular expression of what stands before it."""
        node, name, before = at
        line = node.lineno
        same = (item for item in self._tree.find_all(type(node)) if item.lineno == line and _key(item) == _key(node))
        nth = next((number for number, item in enumerate(same) if item is node), 0)
        column = self._columns.find(line, name, before, nth)
        text = f"{message}; {hint}" if hint else message
        self._add(Diagnostic(code, text, Span(self._file, line, column, line, column + len(name))))

    def template(self, tree: nodes.Template, names: Names, tops: Iterable[str]) -> None:
        """Walk a whole template.

        Args:
            tree: The template.
            names: The names in sight.
            tops: Names that it, and those that it extends, assign at their top level: its blocks see them.
        """
        self._tree = tree
        self._top = _GLOBALS | dict.fromkeys(_assigned(tree.body))
        self._blocks = {**names, **_GLOBALS, **dict.fromkeys(tops)}
        self._body(tree.body, dict(names))

    def root(self, tree: nodes.Expr, names: Names) -> None:
        """Walk a whole expression."""
        self._tree = nodes.Output([tree])
        self.expression(tree, names)

    def _body(self, body: Iterable[nodes.Node], names: dict[str, Any]) -> None:
        for node in body:
            handler = _STATEMENTS.get(type(node))
            if handler is not None:
                handler(self, node, names)
            else:
                self.expression(node, names)

    def expression(self, node: nodes.Node, names: Names) -> None:
        """Walk an expression, or any node that binds no names."""
        kind = type(node)
        if kind is nodes.Name:
            self._name(node, names)
            return
        if kind in {nodes.Getattr, nodes.Getitem}:
            self._attribute(node, names)
        elif kind in {nodes.Filter, nodes.Test}:
            names = self._filter_or_test(node, names)
        elif kind in {nodes.CondExpr, nodes.And}:
            names = {**names, **_tested(node)}
        for field in kind.fields:  # the tree's own iterators take twice the time
            value = getattr(node, field)
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, nodes.Node) and type(child) is not nodes.Const:
                    self.expression(child, names)

    def _name(self, node: Any, names: Names) -> None:
        if node.ctx == "load" and node.name not in names:
            hint = did_you_mean(node.name, names)
            self.report("P002", (node, node.name, ""), f"'{node.name}' is not defined", hint)

    def _attribute(self, node: Any, names: Names) -> None:
        owner = node.node.name if isinstance(node.node, nodes.Name) else None
        attributes = names.get(owner) if owner else None
        name = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if attributes is None or not isinstance(name, str) or name in attributes:
            return
        if name in _MAPPING_METHODS and isinstance(node, nodes.Getattr):
            return
        message = f"'{owner}' has no attribute '{name}'"
        place = (node.node, str(owner), "")
        if isinstance(node, nodes.Getattr):
            place = (node, name, rf"(?<![\w.]){owner}\s*\.\s*")
        self.report("P003", place, message, did_you_mean(name, sorted(attributes)))

    def _filter_or_test(self, node: Any, names: Names) -> Names:
        is_filter = isinstance(node, nodes.Filter)
        self._known(node.name, node, is_filter)
        args = [getattr(item, "value", None) for item in node.args]
        if is_filter and node.name in _BY_FILTER_NAME and args and isinstance(args[0], str):
            self._known(args[0], node, is_filter=True)
        at = _BY_TEST_NAME.get(node.name) if is_filter else None
        if at is not None and len(args) > at and isinstance(name := args[at], str):
            self._known(name, node, is_filter=False)
        guards = {"default", "d"} if is_filter else {"defined", "undefined"}
        root = _root(node.node) if node.name in guards else None
        return {**names, root: None} if root else names

    def _known(self, name: str, node: Any, is_filter: bool) -> None:
        table = self._environment.filters if is_filter else self._environment.tests
        if name not in table:
            kind = "filter" if is_filter else "test"
            before = r"\|\s*" if isinstance(node, nodes.Filter) else r"\bis\s+(?:not\s+)?"
            self.report("P005", (node, node.name, before), f"there is no {kind} '{name}'", did_you_mean(name, table))

    def _for(self, node: nodes.For, names: dict[str, Any]) -> None:
        self.expression(node.iter, names)
        inner = names | dict.fromkeys(_targets(node.target))
        if node.test is not None:
            self.expression(node.test, inner)
        self._body(node.body, inner | {"loop": None})
        self._body(node.else_, dict(names))

    def _if(self, node: nodes.If, names: dict[str, Any]) -> None:
        tested = _tested(node.test)
        self.expression(node.test, names | tested)
        inner = names | tested
        before = dict(inner)
        self._body(node.body, inner)
        for branch in (node.elif_, node.else_):
            self._body(branch, names)
        names.update({name: inner[name] for name in inner.keys() - before.keys()})

    def _assign(self, node: nodes.Assign, names: dict[str, Any]) -> None:
        self.expression(node.node, names)
        self._bind(node.target, names)

    def _assign_block(self, node: nodes.AssignBlock, names: dict[str, Any]) -> None:
        if node.filter is not None:
            self.expression(node.filter, names)
        self._body(node.body, dict(names))
        self._bind(node.target, names)

    def _bind(self, target: nodes.Node, names: dict[str, Any]) -> None:
        for child in [target] if isinstance(target, nodes.NSRef) else target.find_all(nodes.NSRef):
            if child.name not in names:
                hint = did_you_mean(child.name, names)
                self.report("P002", (child, child.name, ""), f"'{child.name}' is not defined", hint)
        names.update(dict.fromkeys(_targets(target)))

    def _macro(self, node: Any, names: dict[str, Any]) -> None:
        inner = {**self._top, **names, "varargs": None, "kwargs": None, "caller": None}
        if isinstance(node, nodes.Macro):
            names[node.name] = None
        else:
            self.expression(node.call, names)
        inner.update(dict.fromkeys(item.name for item in node.args))
        for default in node.defaults:
            self.expression(default, inner)
        self._body(node.body, inner)

    def _block(self, node: nodes.Block, names: dict[str, Any]) -> None:
        around = (
            names if node.scoped else {}
        )  # a block sees the variables of loops around it only when it asks for them
        self._body(node.body, {**self._blocks, **around, "super": None})

    def _with(self, node: nodes.With, names: dict[str, Any]) -> None:
        for value in node.values:
            self.expression(value, names)
        self._body(node.body, names | dict.fromkeys(name for target in node.targets for name in _targets(target)))

    def _filter_block(self, node: nodes.FilterBlock, names: dict[str, Any]) -> None:
        self.expression(node.filter, names)
        self._body(node.body, dict(names))

    def _scope(self, node: Any, names: dict[str, Any]) -> None:
        self._body(node.body, dict(names))

    def _output(self, node: nodes.Output, names: dict[str, Any]) -> None:
        for child in node.nodes:
            if type(child) is not nodes.TemplateData:
                self.expression(child, names)

    def _include(self, node: Any, names: dict[str, Any]) -> None:
        self.expression(node.template, names)
        sees = {**names, **self._top} if getattr(node, "with_context", True) else _GLOBALS
        self.reach(self, node, sees)
        if isinstance(node, nodes.Import):
            names[node.target] = None
        elif isinstance(node, nodes.FromImport):
            names.update(dict.fromkeys(item if isinstance(item, str) else item[1] for item in node.names))


_STATEMENTS: dict[type[nodes.Node], Callable[[Walk, Any, dict[str, Any]], None]] = {
    nodes.Assign: Walk._assign,  # noqa: SLF001 - the walk's own table
    nodes.AssignBlock: Walk._assign_block,  # noqa: SLF001
    nodes.Block: Walk._block,  # noqa: SLF001
    nodes.CallBlock: Walk._macro,  # noqa: SLF001
    nodes.Extends: Walk._include,  # noqa: SLF001
    nodes.FilterBlock: Walk._filter_block,  # noqa: SLF001
    nodes.For: Walk._for,  # noqa: SLF001
    nodes.FromImport: Walk._include,  # noqa: SLF001
    nodes.If: Walk._if,  # noqa: SLF001
    nodes.Import: Walk._include,  # noqa: SLF001
    nodes.Include: Walk._include,  # noqa: SLF001
    nodes.Macro: Walk._macro,  # noqa: SLF001
    nodes.Output: Walk._output,  # noqa: SLF001
    nodes.Scope: Walk._scope,  # noqa: SLF001
    nodes.With: Walk._with,  # noqa: SLF001
}


def _key(node: Any) -> tuple[Any, ...]:
    """Return what nodes of one type share that read the same in the source."""
    return (
        getattr(node, "name", None),
        getattr(node, "attr", None),
        getattr(getattr(node, "node", None), "name", None),
    )


def _targets(target: nodes.Node) -> list[str]:
    found = [target] if isinstance(target, nodes.Name) else target.find_all(nodes.Name)
    return [node.name for node in found]


def _assigned(body: Iterable[nodes.Node]) -> set[str]:
    """Return the names that a template assigns at its top level: its macros and blocks see them."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, (nodes.Assign, nodes.AssignBlock)):
            names.update(_targets(node.target))
        elif isinstance(node, nodes.Macro):
            names.add(node.name)
        elif isinstance(node, nodes.Import):
            names.add(node.target)
        elif isinstance(node, nodes.FromImport):
            names.update(item if isinstance(item, str) else item[1] for item in node.names)
        elif isinstance(node, nodes.If):
            names |= _assigned([*node.body, *node.elif_, *node.else_])
    return names


def _tested(node: nodes.Node) -> dict[str, None]:
    """Return the names that a condition tests with `is defined`."""
    tests = [node] if isinstance(node, nodes.Test) else node.find_all(nodes.Test)
    roots = (_root(test.node) for test in tests if test.name in {"defined", "undefined"})
    return dict.fromkeys(name for name in roots if name)


def _root(node: Any) -> str | None:
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        node = node.node
    return node.name if isinstance(node, nodes.Name) else None


def _constant_names(node: nodes.Expr) -> list[str | None]:
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return [name for item in node.items for name in _constant_names(item)]
    return [None]

"""The sandboxed, strict Jinja environment: only plain data is reachable, and all work is charged to the budget."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import BlockReference, LoopContext, Macro, TemplateReference
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from engine.prompts.budget import CALL, BudgetError, check_length, kind_of, settle, spend, text_of, weigh
from engine.prompts.filters import FILTERS, TESTS, join_texts, percent, replace
from engine.prompts.rewrite import Metered

_TEXT_METHODS = frozenset(
    {"capitalize", "casefold", "count", "endswith", "find", "index", "lower", "lstrip", "partition", "removeprefix"}
    | {
        "removesuffix",
        "rfind",
        "rindex",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
    }
    | {"swapcase", "title", "upper", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower"}
    | {"isnumeric", "isspace", "istitle", "isupper"}
)
_DICT_METHODS = frozenset({"get", "items", "keys", "values"})
_LIST_METHODS = frozenset({"count", "index"})
_LOOP_NAMES = frozenset(
    {"changed", "cycle", "depth", "depth0", "first", "index", "index0", "last", "length", "nextitem", "previtem"}
    | {"revindex", "revindex0"}
)
_GROUP_NAMES = frozenset({"grouper", "list"})
GLOBAL_NAMES = ("dict", "namespace", "range")


class Allowed:
    """A function that templates may call."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call it."""
        return self._function(*args, **named)


def _range(*args: int) -> range:
    result = range(*args)
    check_length(len(result) * 40)  # at most 100 000 items
    return result


def _items(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda: list(method())


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """Jinja without anything that reaches out of the data it is given."""

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(self, *, resolve: Callable[[str, str], str] | None = None, **options: Any) -> None:
        self._resolve = resolve
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
            optimized=False,  # constant expressions are evaluated under a budget, not while compiling
            auto_reload=False,
            finalize=_finalize,
            **options,
        )
        self.globals.clear()
        self.globals.update(dict=Allowed(dict), namespace=Allowed(Namespace), range=Allowed(_range))
        self.filters.clear()
        self.filters.update(FILTERS)
        self.tests.clear()
        self.tests.update(TESTS)
        self.tick, self.tilde, self.built = Allowed(spend), Allowed(_tilde), Allowed(settle)

    def metered(self, tree: nodes.Template) -> nodes.Template:
        """Return the tree with its charges added; the tree is changed in place."""
        Metered().visit(tree)
        tree.set_environment(self)
        return tree

    def get_template(self, name: Any, parent: str | None = None, globals: Any = None) -> Any:  # noqa: A002 - Jinja's name
        """Load a template of the bundle; each load is charged."""
        if not isinstance(name, str):
            raise SecurityError(f"a template's name is text, not {kind_of(name)}")
        spend(CALL * 5)
        return super().get_template(name, parent, globals)

    def join_path(self, template: str, parent: str) -> str:
        """Return which template a name means in another template."""
        return self._resolve(template, parent) if self._resolve else template

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `obj.attribute`: a key of a mapping, an allowed method of plain data, or undefined."""
        if isinstance(obj, Undefined):
            return getattr(obj, "name")  # noqa: B009 - raises the error that names the variable
        if attribute.startswith("_"):
            raise SecurityError(f"the attribute {attribute!r} is not reachable from a template")
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        found = _attribute(obj, attribute)
        return self._missing(obj, attribute) if found is None else found[0]

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return `obj[argument]`; for text falls back to `getattr`, as Jinja does."""
        if isinstance(obj, Undefined):
            return getattr(obj, "name")  # noqa: B009 - as above
        if isinstance(obj, (str, list, tuple, dict, range)):
            try:
                return settle(obj[argument]) if isinstance(argument, slice) else obj[argument]
            except (LookupError, TypeError):
                pass
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        return self._missing(obj, argument)

    def call(__self, __context: Any, __obj: Any, /, *args: Any, **named: Any) -> Any:  # noqa: N805 - as Jinja calls it
        """Call a macro, a block, `loop`, or a function that was allowed."""
        spend(CALL)
        if isinstance(__obj, Undefined):
            return __obj()
        bound = __obj.__self__ if isinstance(__obj, MethodType) else __obj
        if not isinstance(bound, (Allowed, Macro, BlockReference, LoopContext)):
            raise SecurityError(f"{kind_of(__obj)} cannot be called")
        return settle(__context.call(__obj, *args, **named))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute an operation that can grow a value."""
        if operator == "%" and isinstance(left, str):
            return settle(percent(left, right))
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * max(right, 0) > 65536:
                raise BudgetError("a power is larger than 65536 bits")
        elif operator == "*":
            check_length(_length(left, right))
        elif operator == "+" and isinstance(left, (str, list, tuple)):
            check_length(weigh(left) + weigh(right))
        return settle(super().call_binop(context, operator, left, right))

    def _missing(self, obj: Any, name: Any) -> Any:
        kind = "mapping" if isinstance(obj, dict) else type(obj).__name__
        return self.undefined(f"{name!r} does not exist in this {kind}", obj=obj, name=str(name))


def _length(left: Any, right: Any) -> int:
    for value, times in ((left, right), (right, left)):
        if isinstance(value, (str, list, tuple)) and isinstance(times, int):
            return weigh(value) * max(times, 0)
    return 0


def _attribute(obj: Any, name: str) -> tuple[Any] | None:
    """Return the attribute in a tuple, or None when it is not one of those that templates may read."""
    if isinstance(obj, str):
        return _text_method(obj, name)
    if isinstance(obj, dict) and name in _DICT_METHODS:
        method = getattr(obj, name)
        return (Allowed(method if name == "get" else _items(method)),)
    if isinstance(obj, (list, tuple)):
        if name in _LIST_METHODS:
            return (Allowed(getattr(obj, name)),)
        return (getattr(obj, name),) if name in _GROUP_NAMES and hasattr(obj, name) else None
    if isinstance(obj, LoopContext):
        return (getattr(obj, name),) if name in _LOOP_NAMES else None
    return _part(obj, name)


def _text_method(text: str, name: str) -> tuple[Any] | None:
    if name == "join":
        return (Allowed(partial(join_texts, text)),)
    if name == "replace":
        return (Allowed(partial(replace, text)),)
    return (Allowed(getattr(str(text), name)),) if name in _TEXT_METHODS else None


def _part(obj: Any, name: str) -> tuple[Any] | None:
    try:
        if isinstance(obj, (Namespace, TemplateReference)):
            return (obj[name] if isinstance(obj, TemplateReference) else getattr(obj, name),)
    except (KeyError, AttributeError):
        return None
    value = vars(obj).get(name) if type(obj).__name__ == "TemplateModule" else None
    return (value,) if value is not None else None


@pass_context
def _finalize(_context: Any, value: Any) -> str:
    return text_of(value)


def _tilde(*values: Any) -> str:
    parts = [text_of(value) for value in values]
    check_length(sum(map(len, parts)))
    return "".join(parts)

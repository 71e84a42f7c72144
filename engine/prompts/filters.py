"""The filters that templates may use.

Jinja's harmless ones as they are, those that can grow a value rewritten with bounds, and `dedent`.
"""

from __future__ import annotations

import functools
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.tests import TESTS as JINJA_TESTS
from markupsafe import escape as html_escape

from engine.prompts.budget import CALL, BudgetError, check_length, settle, spend, text_of, weigh

# These turn whatever they get into text, so what they get must be plain data; the number is the value's place.
_ON_TEXT = {
    "capitalize": 0,
    "lower": 0,
    "title": 0,
    "trim": 0,
    "truncate": 1,
    "upper": 0,
    "urlencode": 0,
    "wordcount": 0,
}
_AS_THEY_ARE = (
    *(
        "abs",
        "count",
        "d",
        "default",
        "dictsort",
        "filesizeformat",
        "first",
        "float",
        "groupby",
        "int",
        "items",
        "last",
    ),
    *(
        "length",
        "list",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "select",
        "selectattr",
        "sort",
        "unique",
    ),
)


def dedent(text: str) -> str:
    """Return the source of a node whose first line has lost its indentation: the later lines lose theirs too.

    How much was lost is read from the later lines: their common indent, less one level (at most 4) where they are a
    body alone, with neither a closing bracket nor a decorated definition at that indent.
    """
    first, newline, rest = text_of(text).partition("\n")
    indents = [len(line) - len(line.lstrip(" \t")) for line in rest.splitlines() if line.strip()]
    if not newline or not indents or first[:1].isspace():
        return textwrap.dedent(text)
    outer = min(indents)
    heads = [
        line.lstrip()[0]
        for line, width in zip((x for x in rest.splitlines() if x.strip()), indents, strict=True)
        if width == outer
    ]
    if not first.startswith("@") and not set(heads) & set(")]}"):
        outer -= min(4, outer)
    lines = [line[outer:] if line[:outer].isspace() else line.lstrip() for line in rest.split("\n")]
    return first + newline + "\n".join(lines) if outer else text


def format_text(template: str, *args: Any, **named: Any) -> str:
    """The `format` filter: printf-style, with bounded widths."""
    if args and named:
        raise TypeError("format takes positional or named arguments, not both")
    return percent(str(template), named or args)


def percent(template: str, values: Any) -> str:
    """Return `template % values` after checking how long it can become.

    Raises:
        BudgetError: A width or the whole text is too long.
    """
    widths = list(_widths(template))
    if any(width > 999 for width in widths):
        raise BudgetError("a format width or precision is larger than 999")
    check_length(len(template) + sum(widths) + len(widths) * weigh(values))
    return str(template % values)


def _widths(template: str) -> Iterator[int]:
    at = 0
    while (at := template.find("%", at)) >= 0:
        at += 1
        at = _skip_key(template, at)
        yield 0
        number = ""
        while at < len(template) and template[at] in "#0- +.*123456789":
            if template[at] == "*":
                raise BudgetError("a format width or precision may not be *")
            number = number + template[at] if template[at].isdigit() else ""
            at += 1
            if number:
                yield int(number[-9:])
        at += 1


def _skip_key(template: str, at: int) -> int:
    if template[at : at + 1] != "(":
        return at
    depth = 0
    while at < len(template):
        depth += {"(": 1, ")": -1}.get(template[at], 0)
        at += 1
        if not depth:
            break
    return at


def replace(text: str, old: str, new: str, count: int | None = None) -> str:
    """`replace`: refuses a result that is too long before building it."""
    text, old, new = text_of(text), text_of(old), text_of(new)
    times = text.count(old) if count is None or count < 0 else min(count, text.count(old))
    check_length(len(text) + times * len(new))
    return text.replace(old, new, -1 if count is None else count)


def join_texts(separator: str, items: Iterable[Any]) -> str:
    """`separator.join(items)` with everything turned to text and the length bounded."""
    parts, length = [], 0
    for item in items:
        spend(1)
        parts.append(text_of(item))
        length += len(parts[-1]) + len(separator)
        check_length(length)
    return separator.join(parts)


def _attribute_of(environment: Any, path: str | int, item: Any) -> Any:
    for part in str(path).split("."):
        item = environment.getitem(item, int(part) if part.isdigit() else part)
    return item


def _join(environment: Any, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    items = value if attribute is None else (_attribute_of(environment, attribute, item) for item in value)
    return join_texts(text_of(d), items)


def _sum(environment: Any, iterable: Iterable[Any], attribute: str | int | None = None, start: float = 0) -> Any:
    total = start
    for item in iterable:
        number = item if attribute is None else _attribute_of(environment, attribute, item)
        if not isinstance(number, (int, float)) or not isinstance(total, (int, float)):
            raise TypeError("sum adds numbers only")
        total += number
    return total


_join.jinja_pass_arg = JINJA_FILTERS["max"].jinja_pass_arg  # type: ignore[attr-defined]  # pass the environment
_sum.jinja_pass_arg = _join.jinja_pass_arg  # type: ignore[attr-defined]


def _center(value: str, width: int = 80) -> str:
    check_length(max(width, 0))
    return text_of(value).center(width)


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    if isinstance(width, int) and width > 1000:
        raise BudgetError("indent takes a width up to 1000")
    margin = text_of(width) if isinstance(width, str) else " " * width
    text = text_of(s)
    check_length(len(text) + (text.count("\n") + 1) * len(margin))
    lines = text.splitlines()
    kept = [line if not line and not blank else margin + line for line in lines[1:]]
    head = (margin if first else "") + lines[0] if lines else ""
    return "\n".join([head, *kept] if lines else [head])


def _wordwrap(s: str, width: int = 79, break_long_words: bool = True, wrapstring: str = "\n") -> str:
    text = text_of(s)
    if len(text) > 65536 or len(wrapstring) > 100:
        raise BudgetError("wordwrap takes at most 65536 characters and a wrapstring of 100")
    wrap = functools.partial(
        textwrap.wrap, width=width, expand_tabs=False, replace_whitespace=False, break_long_words=break_long_words
    )
    return wrapstring.join(wrapstring.join(wrap(line)) for line in text.splitlines())


def _tojson(value: Any, indent: int | None = None) -> str:
    weight = weigh(value)
    if indent is not None and (weight > 262144 or not 0 <= indent <= 8):
        raise BudgetError("tojson with an indent takes at most 262144 characters and an indent of 8")
    separators = (",", ": ") if indent is not None else (", ", ": ")
    return json.dumps(
        list(value) if isinstance(value, range) else value, ensure_ascii=False, indent=indent, separators=separators
    )


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > 100:
        raise BudgetError("round takes a precision from -100 to 100")
    return float(JINJA_FILTERS["round"](value, precision, method))


def _bounded(name: str, keyword: str) -> Callable[..., Any]:
    function = JINJA_FILTERS[name]

    def bounded(value: Any, *args: Any, **named: Any) -> Any:
        number = args[0] if args else named.get(keyword, 0)
        if not isinstance(number, int) or number > 10000:
            raise BudgetError(f"{name} takes a number up to 10000")
        return function(value, *args, **named)

    return bounded


def _metered(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def metered(*args: Any, **named: Any) -> Any:
        spend(CALL)
        return settle(function(*args, **named))

    return metered


def _on_plain(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def on_plain(*args: Any, **named: Any) -> Any:
        weigh(args[at])
        return function(*args, **named)

    return on_plain


def _table() -> dict[str, Callable[..., Any]]:
    own: dict[str, Callable[..., Any]] = {
        "batch": _bounded("batch", "linecount"),
        "center": _center,
        "dedent": dedent,
        "e": lambda value: str(html_escape(text_of(value))),
        "escape": lambda value: str(html_escape(text_of(value))),
        "forceescape": lambda value: str(html_escape(text_of(value))),
        "format": format_text,
        "indent": _indent,
        "join": _join,
        "replace": replace,
        "round": _round,
        "safe": text_of,
        "slice": _bounded("slice", "slices"),
        "string": text_of,
        "sum": _sum,
        "tojson": _tojson,
        "wordwrap": _wordwrap,
    }
    table = {name: JINJA_FILTERS[name] for name in _AS_THEY_ARE} | own
    table |= {name: _on_plain(JINJA_FILTERS[name], at) for name, at in _ON_TEXT.items()}
    return {name: _metered(function) for name, function in sorted(table.items())}


FILTERS = _table()
"""Every filter by name."""

_JINJA_TESTS: dict[str, Any] = dict(JINJA_TESTS)
TESTS = _JINJA_TESTS | {name: _on_plain(_JINJA_TESTS[name], 0) for name in ("lower", "upper")}
"""Every test by name."""

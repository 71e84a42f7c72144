"""hypothesis strategies: JSON Schemas that the typed strategy expresses exactly, with values that fit or nearly do."""

from hypothesis import strategies as st

# Texts near the marks of the wire formats, where a scanner or a grammar goes wrong first.
TRICKY = (
    *(
        "<",
        "<<<<<<<<<<<<",
        "<escape",
        "escape>",
        "<e<escape<",
        "<escap e>",
        "</parameter",
        "/parameter>",
        "\n</parameter>",
    ),
    *("\n", "\n\n", " 1 ", "12", "null", "True", '"a"', "[1]", "{", "}", "</function>", "<end_function_call>", "; "),
    *("</tool_call>", "<tool_call>", '{"name": "', "\\/", "<\\/parameter>", "<parameter=a>", "a<escape>b"),
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(TRICKY)
NAMES = ("alpha", "b", "count", "näme", "is_ok", "x-y", 'quo"te')
PATTERNS = (
    (r"^[A-Z][^.]*\.$", st.from_regex(r"\A[A-Z][^.]{0,8}\.\Z")),
    (r"^[a-z]+(-[a-z0-9]+)*$", st.from_regex(r"\A[a-z]{1,4}(-[a-z0-9]{1,3}){0,2}\Z")),
    (r"^(?:GET|POST) /\S{0,9}$", st.from_regex(r"\A(?:GET|POST) /[a-zé]{0,9}\Z")),
    (r"ab+c", st.from_regex(r"\A[x\"]{0,2}ab{1,3}c[\\]?\Z")),
    (r"^\d{4}-\d\d-\d\d$", st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")),
    (r"^[^\\\"\n]{2,5}$", st.from_regex(r"\A[a-z😀]{2,5}\Z")),
    (r"^[^\n]+;$", st.from_regex(r"\A[a<>/e]{1,9};\Z")),
)


def _bounded(draw, low_key, high_key, low, high):
    least = draw(st.none() | st.integers(low, high))
    most = draw(st.none() | st.integers(low if least is None else least, high))
    return {key: value for key, value in ((low_key, least), (high_key, most)) if value is not None}


@st.composite
def _strings(draw):
    if draw(st.booleans()):
        pattern, values = draw(st.sampled_from(PATTERNS))
        return {"type": "string", "pattern": pattern}, values
    bounds = _bounded(draw, "minLength", "maxLength", 0, 6)
    low, high = bounds.get("minLength", 0), bounds.get("maxLength", 12)
    alphabet = st.characters(exclude_categories=("Cs",))
    return {"type": "string", **bounds}, st.text(alphabet, min_size=low, max_size=max(low, high))


@st.composite
def _integers(draw):
    bounds = _bounded(draw, "minimum", "maximum", -1500, 1500)
    return {"type": "integer", **bounds}, st.integers(bounds.get("minimum", -(10**9)), bounds.get("maximum", 10**9))


@st.composite
def _numbers(draw):
    bounds = _bounded(draw, "minimum", "maximum", -20, 20)
    bounds = {key: value / 4 for key, value in bounds.items()}
    low, high = bounds.get("minimum", -1000), bounds.get("maximum", 1000)
    return {"type": "number", **bounds}, st.integers(round(low * 4), round(high * 4)).map(lambda n: n / 4)


@st.composite
def _enums(draw):
    values = draw(st.lists(TEXT | st.integers(-9, 9) | st.none(), min_size=1, max_size=4, unique_by=repr))
    if len(values) == 1 and draw(st.booleans()):
        return {"const": values[0]}, st.just(values[0])
    return {"enum": values}, st.sampled_from(values)


@st.composite
def _arrays(draw, inner):
    schema, values = draw(inner)
    bounds = _bounded(draw, "minItems", "maxItems", 0, 3)
    low, high = bounds.get("minItems", 0), bounds.get("maxItems", 3)
    return {"type": "array", "items": schema, **bounds}, st.lists(values, min_size=low, max_size=max(low, high))


@st.composite
def _objects(draw, inner, max_size=4):
    names = draw(st.lists(st.sampled_from(NAMES), max_size=max_size, unique=True))
    parts = {name: draw(inner) for name in names}
    required = [name for name in names if draw(st.booleans())]
    schema = {
        "type": "object",
        "properties": {name: part[0] for name, part in parts.items()},
        "required": required,
        "additionalProperties": False,
    }
    must = {name: parts[name][1] for name in names if name in required}
    may = {name: parts[name][1] for name in names if name not in required}
    return schema, st.fixed_dictionaries(must, optional=may)


@st.composite
def _maps(draw, inner):
    schema, values = draw(inner)
    return {"type": "object", "additionalProperties": schema}, st.dictionaries(TEXT, values, max_size=3)


@st.composite
def _unions(draw, inner):
    parts = draw(st.lists(inner, min_size=1, max_size=3))
    return {"anyOf": [schema for schema, _ in parts]}, st.one_of([values for _, values in parts])


@st.composite
def _nullable(draw):
    schema, values = draw(_strings() | _integers())
    return {**schema, "type": [schema["type"], "null"]}, values | st.none()


_FLAT = st.one_of(
    _strings(),
    _integers(),
    _numbers(),
    _enums(),
    _nullable(),
    st.just(({"type": "boolean"}, st.booleans())),
    st.just(({"type": "null"}, st.none())),
)
_NESTED = st.recursive(
    _FLAT, lambda inner: st.one_of(_arrays(inner), _objects(inner), _maps(inner), _unions(inner)), max_leaves=5
)
TOOL_SCHEMAS = _objects(_NESTED)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2000, 2000) | st.sampled_from((0.5, -2.25, 7.0)) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def mutated(draw, value):
    """Return the value with one part replaced, removed or added; it may still fit the schema."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        return draw(_mutated_object(value))
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(mutated(value[at])), *value[at + 1 :]]
    if isinstance(value, str) and draw(st.booleans()):
        return draw(st.sampled_from((value + "!", value[:-1], value.upper(), value + value)))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and draw(st.booleans()):
        return value + draw(st.sampled_from((-1, 1, 0.25, 1000)))
    return draw(ANY_JSON)


@st.composite
def _mutated_object(draw, value):
    name = draw(st.sampled_from(sorted(value)))
    kind = draw(st.sampled_from(("replace", "remove", "add", "descend", "descend")))
    if kind == "remove":
        return {key: inner for key, inner in value.items() if key != name}
    if kind == "add":
        return {**value, draw(st.sampled_from((*NAMES, "other"))): draw(ANY_JSON)}
    return {**value, name: draw(ANY_JSON if kind == "replace" else mutated(value[name]))}

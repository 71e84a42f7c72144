"""A deterministic generator of tool sets: names, types, bounds and shapes as real tools have them."""

import random

from engine.messages import ToolSchema

VERBS = ("add", "find", "rename", "report", "set", "write", "check", "split")
THINGS = ("note", "test", "symbol", "issue", "limit", "docstring", "file", "user")
FIELDS = ("name", "summary", "path", "count", "level", "tags", "kind", "enabled", "ratio", "owner", "line", "reason")
PATTERNS = (
    r"^[A-Z][^.]*\.$",
    r"^[a-z_][a-z0-9_]{0,15}$",
    r"^v\d+\.\d+$",
    r"^(src|tests)/[a-z]+\.py$",
    r"^#[0-9a-f]{6}$",
)
REQUESTS = (
    "Rename the user to Ada.",
    "Note that the parser fails on empty input.",
    "The function returns the sum of two integers. Document it.",
    "Report the third failing test.",
    "Set the limit to 42 and say why.",
    "Check line 7 of src/main.py.",
    "",
    "Hello! How are you today?",
)


def _string(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return {"type": "string"}
    if kind == 1:
        return {"type": "string", "pattern": rng.choice(PATTERNS), "maxLength": 24}
    if kind == 2:
        return {
            "type": "string",
            "enum": rng.sample(["low", "normal", "high", "n/a", "größer", "a b"], rng.randint(2, 4)),
        }
    if kind == 3:
        return {"type": ["string", "null"], "maxLength": rng.randint(5, 16)}
    return {"type": "string", "minLength": rng.randint(0, 8), "maxLength": rng.randint(8, 24)}


def _number(rng):
    kind = rng.randrange(4)
    if kind == 0:
        return {"type": "integer", "minimum": rng.randint(-50, 5), "maximum": rng.randint(6, 5000)}
    if kind == 1:
        return {"type": "number", "minimum": 0, "maximum": rng.choice((1, 0.5, 100))}
    return {"type": rng.choice(("integer", "number"))}


def _flat(rng):
    kind = rng.randrange(6)
    if kind < 3:
        return _string(rng)
    return _number(rng) if kind < 5 else {"type": "boolean"}


def _schema(rng, depth=0):
    kind = rng.randrange(10)
    if kind < 6 or depth > 0:
        return _flat(rng)
    if kind == 6:
        return {"type": "array", "items": _flat(rng), "minItems": rng.randint(0, 1), "maxItems": rng.randint(1, 2)}
    if kind == 7:
        return _object(rng, depth + 1, 2)
    if kind == 8:
        return {"anyOf": [_flat(rng), {"type": "null"}]}
    return {"type": "array", "items": _flat(rng)}


def _object(rng, depth, most):
    names = rng.sample(FIELDS, rng.randint(1, most))
    properties = {name: _schema(rng, depth) for name in names}
    required = [name for name in names if rng.random() < 0.7]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def toolset(seed):
    """Return one to five tools and a request."""
    rng = random.Random(seed)
    names = rng.sample([f"{verb}_{thing}" for verb in VERBS for thing in THINGS], rng.randint(1, 5))
    tools = [
        ToolSchema(name, name.replace("_", " ").capitalize() + ".", _object(rng, 0, rng.choice((1, 1, 2, 3))))
        for name in names
    ]
    return tools, rng.choice(REQUESTS)

"""Regular expressions of bundles, matched in linear time.

A `pattern` comes from a bundle and meets text of a model, so Python's backtracking `re` could be made to hang. The
engine of pydantic-core (Rust's `regex`) has no backtracking; it has no look-around or back-references either.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any


class PatternError(ValueError):
    """A pattern that the engine does not support."""


@lru_cache(maxsize=512)
def _validator(pattern: str) -> Any:
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError as error:
        raise PatternError(f"{pattern!r} is not a regular expression without look-around or back-references") from error


def check_pattern(pattern: str) -> None:
    """Compile a pattern.

    Raises:
        PatternError: It is not valid, or uses look-around or back-references.
    """
    _validator(pattern)


def matches(pattern: str, text: str) -> bool:
    """Say whether a pattern is found anywhere in a text."""
    return bool(_validator(pattern).isinstance_python(text))

"""Regular expressions that people write into manifests and cases: RE2, so that none of them can hang."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def as_pattern(value: object) -> str | None:
    """Return the regular expression that a text between slashes stands for; None for any other value."""
    if isinstance(value, str) and len(value) > 2 and value[0] == value[-1] == "/":
        return value[1:-1]
    return None


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Any:
    """Compile a regular expression; what comes back has `search`.

    Raises:
        ValueError: RE2 cannot compile it; the text says why.
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{text} (RE2 has neither lookaround nor backreferences)") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair") from error

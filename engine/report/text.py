"""Text that others wrote, fit for a page: HTML's own characters are escaped by the templates."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# What drives a terminal or turns the order of letters around has no place in a page: control characters but tab and
# line feed, the marks of bidirectional text, what cannot be encoded, and line separators that scripts trip over.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def plain(value: object) -> str:
    """Return a value as text, with what has no place in a page spelled out."""
    return _UNFIT.sub(lambda found: f"\\u{ord(found[0]):04x}", str(value).replace("\r\n", "\n"))


def clip(text: str, limit: int) -> str:
    """Return a text, or its beginning and how much is left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… {len(text) - limit} more characters"


def short(text: object, limit: int = 120) -> str:
    """Return a text as one line that is not too long."""
    line = " ".join(plain(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def count(number: float) -> str:
    """Return a number with its thousands apart, by thin spaces."""
    return f"{number:,.0f}".replace(",", "\u202f")


def amount(number: float) -> str:
    """Return a number in few digits: `950`, `12.3k`, `4.5M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}" if abs(number) < 999.5 * size else f"{number / size:.0f}{unit}"
    return f"{number:.3g}" if number else "0"


def duration(seconds: float) -> str:
    """Return a time span: `85 ms`, `1.24 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms" if seconds > 0 else "0 s"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def moment(seconds: float) -> str:
    """Return a point in time, of this machine's time zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def percent(part: float, whole: float) -> str:
    """Return a share."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"

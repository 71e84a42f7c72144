"""Module docstring."""

import functools


@functools.cache
def cached(value: int) -> int:
    """Return it."""
    return value


class Outer:
    # a comment before the docstring
    """Outer "doc"."""

    class Inner:
        def method(self) -> None:
            """A raw \N{BULLET} string."""

    @property
    def size(self) -> int:
        "one " "two"
        return 1

    @size.setter
    def size(self, value: int) -> None:
        def check() -> None:
            pass

    async def wait(self):
        f"""not a docstring"""


if True:

    def cached(value):
        b"bytes are no docstring"

lambda_is_no_node = lambda: None

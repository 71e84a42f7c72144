"""What a `.pym` script imports: `from engine.pym import Input, external`.

The engine reads these declarations from the script's text and takes them out before the sandbox runs it, so nothing
here runs there. The module exists for editors and type checkers, and says so to whoever runs a script with Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

__all__ = ["Input", "external"]

F = TypeVar("F", bound=Callable[..., Any])


def Input(name: str, default: Any = None, *, description: str = "") -> Any:  # noqa: N802 - reads as a type in scripts
    """Declare an input and assign it to an annotated variable of the same name.

    Args:
        name: The name of the variable that it is assigned to.
        default: Its value when it is left out; without one the input is required.
        description: What the model reads.

    Raises:
        RuntimeError: Always, outside of the engine.
    """
    del default, description
    _refuse(f"the input {name!r}")


def external(function: F) -> F:
    """Declare a function that the engine provides; its body is `...`.

    Raises:
        RuntimeError: Always, outside of the engine.
    """
    _refuse(f"the external {function.__name__!r}")


def _refuse(what: str) -> NoReturn:
    raise RuntimeError(f"{what} exists inside the engine only: run the script as a tool of a bundle, not with Python")

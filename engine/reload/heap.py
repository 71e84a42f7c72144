"""Keeps the garbage collector from walking over hundreds of bundles between a save and its generation."""

from __future__ import annotations

import gc


class Heap:
    """Sets aside what is in memory while bundles are watched.

    A full collection takes a tenth of a second with a few hundred bundles in memory, and their checks would cause one
    every now and then. What is set aside is still freed by its reference counts; cycles in it wait for `give_back`.
    """

    def __init__(self) -> None:
        self._is_ours = False

    def set_aside(self) -> None:
        """Have everything that is alive now left alone, unless the program does so itself."""
        if self._is_ours or not gc.get_freeze_count():
            gc.collect()
            gc.freeze()
            self._is_ours = True

    def give_back(self) -> None:
        """Undo it."""
        if self._is_ours:
            gc.unfreeze()
            self._is_ours = False

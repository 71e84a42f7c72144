"""What looks like half of a change waits a little: a file that is deleted and made anew, a copy that goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.bundle.bundle import Bundle
from engine.bundle.source import BundleSource, Entry

# Seconds: what waits is taken as it is after `GRACE` without another change, and after `PATIENCE` at the latest.
GRACE, PATIENCE = 0.15, 2.0


@dataclass
class Settling:
    """What waits, by name.

    Attributes:
        given_up: What did not come back and is kept all the same.
    """

    given_up: set[str] = field(default_factory=set)
    _first: dict[str, float] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)

    def wait(self, key: str, now: float) -> bool:
        """Let something wait; False when it has waited long enough."""
        end = self._first.setdefault(key, now) + PATIENCE
        if now >= end:
            return False
        self._due[key] = min(now + GRACE, end)
        return True

    def settle(self, key: str) -> None:
        """Something needs no longer wait."""
        self._first.pop(key, None)
        self._due.pop(key, None)
        self.given_up.discard(key)

    def give_up(self, key: str) -> None:
        """Something does not come back for now."""
        self.settle(key)
        self.given_up.add(key)

    def waits(self, key: str) -> bool:
        """Whether something waits."""
        return key in self._due

    def is_known(self, key: str) -> bool:
        """Whether something waits, or has waited and is looked at now."""
        return key in self._first

    def due(self) -> float | None:
        """Return when something has waited long enough."""
        return min(self._due.values(), default=None)

    def take_due(self, now: float) -> set[str]:
        """Return what has waited long enough."""
        found = {key for key, due in self._due.items() if due <= now}
        for key in found:
            del self._due[key]
        return found


def changed_files(old: BundleSource, new: BundleSource) -> list[str]:
    """Return the names of files that were added, removed or written, inherited ones included."""
    return sorted(name for name in {*old.files, *new.files} if not _same(old.files.get(name), new.files.get(name)))


def is_half_done(old: BundleSource | None, new: BundleSource, *, was_valid: bool, is_valid: bool) -> bool:
    """Whether a change looks as if the rest of it was about to come.

    Args:
        old: The bundle as it was taken; None for a new one.
        new: The bundle as it is now.
        was_valid: Whether it had no error.
        is_valid: Whether it has none now.
    """
    if old is None:
        return not is_valid
    names = changed_files(old, new)
    if not is_valid:
        return new.zipped or any(_vanished(old.files.get(name), new.files.get(name)) for name in names)
    # Files beside the others change nothing yet, and may be renamed in a moment; large ones are still being copied.
    added = was_valid and all(name not in old.files for name in names)
    return bool(names) and (added or all(is_large(old, name) or is_large(new, name) for name in names))


def is_large(source: BundleSource, name: str) -> bool:
    """Whether a file is too large to be held in memory."""
    entry = source.files.get(name)
    return entry is not None and entry.content is None


def same_bundle(old: Bundle, new: Bundle) -> bool:
    """Whether two bundles do the same in the same place."""
    return old.digest == new.digest and old.root == new.root and old.manifest == new.manifest


def _same(old: Entry | None, new: Entry | None) -> bool:
    if old is None or new is None:
        return old is new
    if old.content is None or new.content is None:
        return old == new
    return old.content == new.content


def _vanished(old: Entry | None, new: Entry | None) -> bool:
    return old is not None and old.size > 0 and (new is None or new.size == 0)

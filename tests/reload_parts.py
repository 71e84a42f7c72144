"""A watcher under test: waits for reloads, and proves that nothing came by an edit that must come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from projects import MANIFEST, make_bundle

from engine.reload import Reload, Watcher

PROMPT = "prompts/user.md.j2"
TOOL = "tools/add_comment.pym"
_PATIENCE = 60


class Watched:
    """A watcher of `root` that has a bundle `marker` beside those under test."""

    def __init__(self, watcher: Watcher, marker: Path) -> None:
        self.watcher, self._marker, self._marks = watcher, marker, 0

    @property
    def catalog(self):
        return self.watcher.catalog

    async def next(self) -> Reload:
        """Return the next reload."""
        return await asyncio.wait_for(anext(self.watcher), _PATIENCE)

    async def until(self, found: Callable[[Reload], bool]) -> list[Reload]:
        """Return the reloads up to the first that is looked for, with that one last."""
        seen = [await self.next()]
        while not found(seen[-1]):
            seen.append(await self.next())
        return seen

    async def before_mark(self) -> list[Reload]:
        """Edit the marker, wait for its reload, and return those that came before it."""
        self._marks += 1
        (self._marker / PROMPT).write_text(f"mark {self._marks}")
        return (await self.until(lambda reload: "marker" in reload.changed))[:-1]


def named(name: str) -> str:
    """Return the manifest of a bundle of this name."""
    return MANIFEST.replace("name: note", f"name: {name}")


def text_of(watched: Watched, name: str = "note") -> str:
    """Return the user's prompt of a bundle in force."""
    bundle = watched.catalog.get(name)
    return bundle.templates.sources[bundle.prompt_names[1]]


@contextlib.asynccontextmanager
async def watching(root: Path, *paths: Path, **options) -> AsyncIterator[Watched]:
    """Watch a folder with the bundle `note` and others that are there, and the marker."""
    make_bundle(root / "note")
    make_bundle(root / "zz-marker", named("marker"))
    async with Watcher([root, *paths], **options) as watcher:
        yield Watched(watcher, root / "zz-marker")

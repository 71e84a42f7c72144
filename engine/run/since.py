"""`--changed-since`: the nodes whose text is not what it was at a commit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.discovery import CodeNode
from engine.discovery.past import nodes_of
from engine.errors import ConfigError
from engine.run.git import Difference, commit_of, contents, difference, has_commit, place_of, submodules

_NOTHING = Difference({}, {}, {})


@dataclass(slots=True)
class _Repository:
    """A work tree beside one of its commits; those of its submodules are looked at when a file of theirs is."""

    top: Path
    files: Difference
    inner: dict[str, _Repository | None] = field(default_factory=dict)

    @classmethod
    def at(cls, top: Path, commit: str | None) -> _Repository:
        """Compare with a commit; None for a repository that is new."""
        files = difference(top, commit) if commit else _NOTHING
        return cls(top, files, dict.fromkeys(submodules(top)))

    def before(self, path: str) -> tuple[Path, str | None] | None:
        """Return the repository and the id of what a file was; None for a file that is what it was."""
        for link in self.inner:
            if path.startswith(f"{link}/"):
                return self._submodule(link).before(path.removeprefix(f"{link}/"))
        if path in self.files.differing:
            return self.top, self.files.differing[path]
        return None if path in self.files.blobs else (self.top, None)

    def _submodule(self, link: str) -> _Repository:
        known = self.inner[link]
        if known is None:
            top, commit = self.top / link, self.files.links.get(link)
            if commit is not None and not has_commit(top, commit):
                raise ConfigError(f"the submodule {top} lacks its commit {commit}: run git -C {top} fetch")
            known = self.inner[link] = _Repository.at(top, commit)
        return known


@dataclass(frozen=True, slots=True)
class _Part:
    """A repository that holds the project, or a part of it: their paths begin differently."""

    of_project: str
    of_repository: str
    repository: _Repository


class Since:
    """The project as it was at a commit.

    Where the project's root lies in no repository, each target's own counts.

    Args:
        ref: A branch, a tag or another name of a commit.
        root: The project's root.
        targets: Files and folders.

    Raises:
        ConfigError: There is no repository, or no such commit.
    """

    def __init__(self, ref: str, root: Path, targets: Sequence[str | Path]) -> None:
        root = root.resolve()
        place = place_of(root)
        if place is not None:
            found = {"": (place.top, place.prefix)}
        else:
            tops = [_top(Path(target)) for target in targets]
            found = {f"{Path(os.path.relpath(top, root)).as_posix()}/": (top, "") for top in tops}
        self._parts = [
            _Part(of_project, of_repository, _Repository.at(top, commit_of(top, ref)))
            for of_project, (top, of_repository) in sorted(found.items(), reverse=True)  # the innermost first
        ]

    def touches(self, path: str) -> bool:
        """Whether a file, by its path below the root, may differ from what it was; a new one does."""
        return self._before(path) is not None

    async def changed(
        self, nodes: Sequence[CodeNode], *, types: Sequence[str] | None = None, query: str | None = None
    ) -> tuple[CodeNode, ...]:
        """Return the nodes whose text is not what it was, line ends aside; new ones among them.

        Args:
            nodes: Nodes of files that `touches` takes.
            types: The types that they were looked for by.
            query: The query that they were looked for by.
        """
        paths = list(dict.fromkeys(node.file_path for node in nodes))
        old = await nodes_of(lambda folder: self._write(folder, paths), types=types, query=query)
        texts = {node.node_id: _plain(node.text) for node in old}
        return tuple(node for node in nodes if texts.get(node.node_id) != _plain(node.text))

    def _write(self, folder: Path, paths: Sequence[str]) -> Iterator[str]:
        """Write what files were under the names that they have now."""
        wanted: dict[Path, dict[str, str]] = {}
        for path in paths:
            top, blob = self._before(path) or (folder, None)
            if blob is not None:
                wanted.setdefault(top, {})[path] = blob
        for top, blobs in wanted.items():
            for path, data in zip(blobs, contents(top, list(blobs.values())), strict=True):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
                yield path

    def _before(self, path: str) -> tuple[Path, str | None] | None:
        for part in self._parts:
            if path.startswith(part.of_project):
                return part.repository.before(part.of_repository + path.removeprefix(part.of_project))
        return None  # the repositories of all targets are known


def _top(target: Path) -> Path:
    place = target.resolve()
    if not place.exists():
        raise ConfigError(f"{str(target)!r}: no such file or folder; name one that exists")
    found = place_of(place if place.is_dir() else place.parent)
    if found is None:
        raise ConfigError(f"{target} is in no git repository: --changed-since compares with a commit")
    return found.top


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")

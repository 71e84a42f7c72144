"""What git knows of a project's files; git is only asked, nothing is changed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError

# A hook of git runs with the repository that it belongs to in these; ours is found from the folder.
_PLACES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)
_LINK = b"160000"  # the mode of a submodule


@dataclass(frozen=True, slots=True)
class Place:
    """Where a folder lies in its repository.

    Attributes:
        top: The top of the work tree.
        prefix: The folder's path below it, with a slash at its end; empty for the top.
    """

    top: Path
    prefix: str


@dataclass(frozen=True, slots=True)
class Difference:
    """How the files of a work tree differ from a commit.

    Attributes:
        blobs: The commit's files by path: the ids of their contents.
        links: Its submodules by path: the ids of their commits.
        differing: Paths of files that may differ from it, and what they were there: None for nothing.
    """

    blobs: dict[str, str]
    links: dict[str, str]
    differing: dict[str, str | None]


def place_of(folder: Path) -> Place | None:
    """Return where a folder lies in its repository; None where it is in none."""
    ran = _git(folder, "rev-parse", "--show-toplevel", "--show-prefix")
    if ran.returncode == 0:
        top, prefix = os.fsdecode(ran.stdout).split("\n")[:2]
        return Place(Path(top), prefix)
    said = _said(ran)
    if "not a git repository" in said or "must be run in a work tree" in said:
        return None
    raise ConfigError(f"git cannot be asked about {folder}: {said}")


def commit_of(top: Path, ref: str) -> str:
    """Return the id of the commit that a name stands for.

    Raises:
        ConfigError: It stands for none here.
    """
    # The name is checked before git sees it: what begins with a dash would be an option.
    found = _parsed(top, ref) if ref and not ref.startswith("-") and ref.isprintable() else None
    commit = _parsed(top, f"{found}^{{commit}}") if found else None  # of a tag, its commit; of a file, none
    if commit is not None:
        return commit
    shallow = _git(top, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    way_out = "this clone is shallow: fetch more of it with git fetch" if shallow else "git log shows what there is"
    raise ConfigError(f"git knows no commit {ref!r} in {top}; name a branch, a tag or a commit ({way_out})")


def _parsed(top: Path, name: str) -> str | None:
    ran = _git(top, "rev-parse", "--verify", "--quiet", name)
    return ran.stdout.decode("ascii").strip() if ran.returncode == 0 else None


def has_commit(top: Path, commit: str) -> bool:
    """Whether a repository holds a commit, by its id."""
    return _git(top, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def difference(top: Path, commit: str) -> Difference:
    """Compare the files as they are now, staged or not, with a commit; renamed files are found as git finds them."""
    blobs: dict[str, str] = {}
    links: dict[str, str] = {}
    for row in _rows(top, "ls-tree", "-r", "-z", "--full-tree", commit):
        head, _, path = row.partition(b"\t")
        mode, _, name = head.split(b" ")
        (links if mode == _LINK else blobs)[os.fsdecode(path)] = name.decode("ascii")
    differing: dict[str, str | None] = {}
    changes = _rows(top, "diff-index", "-z", "-M", "--raw", "--no-abbrev", "--ignore-submodules=all", commit)
    for head in changes:
        changed = os.fsdecode(next(changes))
        fields = head.split(b" ")
        if fields[4].startswith(b"R"):
            differing[os.fsdecode(next(changes))] = fields[2].decode("ascii")
        differing.setdefault(changed, blobs.get(changed))
    return Difference(blobs, links, differing)


def submodules(top: Path) -> list[str]:
    """Return the paths of the submodules that are checked out."""
    links = [row.partition(b"\t")[2] for row in _rows(top, "ls-files", "-s", "-z") if row.startswith(_LINK)]
    return [path for path in map(os.fsdecode, links) if (top / path / ".git").exists()]


def contents(top: Path, blobs: Sequence[str]) -> Iterator[bytes]:
    """Yield contents by their ids, one after the other.

    Raises:
        ConfigError: The repository does not hold one of them.
    """
    with tempfile.TemporaryFile() as asked:
        asked.write("".join(f"{blob}\n" for blob in blobs).encode("ascii"))
        asked.seek(0)
        argv = ["git", "-C", str(top), "cat-file", "--batch"]
        with subprocess.Popen(
            argv, stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
        ) as child:
            assert child.stdout is not None  # noqa: S101 - it is a pipe
            for blob in blobs:
                head = child.stdout.readline().split()
                if len(head) != 3:
                    child.kill()
                    raise ConfigError(f"git lacks the content {blob} in {top}; fetch it with git fetch --refetch")
                data = child.stdout.read(int(head[2]) + 1)
                yield data[:-1]


def _rows(top: Path, *arguments: str) -> Iterator[bytes]:
    ran = _git(top, *arguments)
    if ran.returncode:
        raise ConfigError(f"git {arguments[0]} failed in {top}: {_said(ran)}")
    return iter(ran.stdout.split(b"\0")[:-1])


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # core.fsmonitor may name a program, which the files of a project shall not start.
    argv = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=_environment())
    except OSError as error:
        raise ConfigError(
            f"git cannot be run ({error.strerror or error}); install it to select what changed"
        ) from error


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _PLACES}
    return {**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def _said(ran: subprocess.CompletedProcess[bytes]) -> str:
    lines = ran.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else f"exit code {ran.returncode}"

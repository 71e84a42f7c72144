"""Why the cache has nothing for a task: what differs between now and the nearest entry, part by part."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from engine.manifest.bundle_model import Permissions
from engine.run.cache.entry import Entry
from engine.run.cache.holds import Holds
from engine.run.cache.key import TaskKey
from engine.run.cache.record import Read, text_digest
from engine.run.cache.store import TaskCache

Verdict = Literal["hit", "miss", "empty", "uncachable", "kept"]
_NEAREST = 50  # entries that are compared
_DIFF = 12  # lines of the node's text that are shown
_READS = {
    "file": "read file {}",
    "exists": "whether {} exists",
    "folder": "what is in the folder {}",
    "search": "what the search {} finds",
    "tree": "the files of the project, which a command saw",
    "place": "whether {} can be written",
    "link": "where {} leads",
    "program": "the program {}",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One part that differs.

    Attributes:
        what: The part, such as `param style` or `read file src/a.py`.
        then: What it was; empty where only a digest is known, or it was not there.
        now: What it is.
        diff: Lines of a text that show where it differs.
    """

    what: str
    then: str = ""
    now: str = ""
    diff: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = f": {self.then or 'nothing'} → {self.now or 'nothing'}" if self.then or self.now else " changed"
        return f"{self.what}{shown}"


@dataclass(frozen=True, slots=True)
class Why:
    """What became of the question.

    Attributes:
        verdict: There is an entry that holds; there is none; there is no entry to compare with; none is ever kept; or,
            where an entry was asked about and no task, it is there.
        about: The task, `file::name` and bundle, or the entry.
        key: What the result would be stored under, hex.
        nearest: The key of the entry that it was compared with; None where there is none.
        stored: When that was stored, in seconds since 1970 UTC.
        differences: What differs; for `uncachable` why.
    """

    verdict: Verdict
    about: str
    key: str = ""
    nearest: str | None = None
    stored: float | None = None
    differences: tuple[Difference, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Side:
    """One of two things that are compared: a task as it is now, or an entry."""

    parts: Mapping[str, str]
    node: Mapping[str, Any]
    note: str


def explain_now(cache: TaskCache, key: TaskKey, about: str, holds: Holds, permissions: Permissions) -> Why:
    """Compare a task as it is now with the nearest entry.

    Args:
        cache: The cache.
        key: What the task's result would be stored under.
        about: The task, for people.
        holds: Answers what was read.
        permissions: The bundle's permissions.
    """
    now = Side(key.scene.parts, json.loads(key.node), key.note)
    found: list[tuple[list[Difference], Entry]] = []
    for entry in _candidates(cache, key.digest, key.scene.bundle, str(now.node["node_id"])):
        side = _side(cache, entry)
        if side.node.get("node_id") != now.node["node_id"]:
            differences = [*_parts(side.parts, now.parts), Difference("node", entry.place, about)]
        else:
            differences = [*compare(side, now), *_source(entry, now)]
            differences += [_difference(read) for read in _others(entry.questions, holds, permissions)]
        found.append((differences, entry))
    return _nearest(found, about, key.digest)


def explain_entry(cache: TaskCache, entry: Entry) -> Why:
    """Compare an entry with the nearest other one."""
    own, found = _side(cache, entry), list[tuple[list[Difference], Entry]]()
    for other in _candidates(cache, entry.key, entry.bundle, entry.node_id, without=entry.id):
        side = _side(cache, other)
        if other.node_id != entry.node_id:
            differences = [*_parts(side.parts, own.parts), Difference("node", other.place, entry.place)]
        else:
            changed = {(read.kind, read.subject) for read in {*other.questions} ^ {*entry.questions}}
            differences = [*compare(side, own), *(_difference(Read(*one, "")) for one in sorted(changed))]
        found.append((differences, other))
    return replace(_nearest(found, f"{entry.place} with {entry.bundle}", entry.key), verdict="kept")


def compare(then: Side, now: Side) -> list[Difference]:
    """Return what differs between two sides, the bundle's parts first."""
    found = [*_parts(then.parts, now.parts), *_fields(then.node, now.node)]
    if then.note != now.note:
        found.append(Difference("note", json.dumps(then.note), json.dumps(now.note)))
    return found


def _candidates(cache: TaskCache, key: str, bundle: str, node_id: str, without: int | None = None) -> list[Entry]:
    """Return the entries of a node, or of other nodes of the bundle where it has none, but for one of them."""
    own = [entry for entry in cache.near("node_id", node_id, _NEAREST) if entry.bundle == bundle]
    same = [entry for entry in cache.near("key", key, _NEAREST) if entry.id not in {one.id for one in own}]
    found = [entry for entry in (*own, *same) if entry.id != without]
    return found or [entry for entry in cache.near("bundle", bundle, _NEAREST) if entry.id != without]


def _nearest(found: Sequence[tuple[list[Difference], Entry]], about: str, key: str) -> Why:
    if not found:
        return Why("empty", about, key)
    differences, entry = min(found, key=lambda row: (len(row[0]), -row[1].id))
    return Why("miss" if differences else "hit", about, key, entry.key, entry.stored, tuple(differences))


def _side(cache: TaskCache, entry: Entry) -> Side:
    return Side(json.loads(cache.parts(entry.scene) or "{}"), json.loads(entry.node), entry.note)


def _parts(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if "bundle digest" in changed:
        known = [name for name in changed if name.startswith(("bundle.yaml ", "bundle file ", "adapter "))]
        if not known:
            yield Difference("another file of the bundle")
        changed.remove("bundle digest")
    else:  # the cases that test a bundle are no part of it
        changed = [name for name in changed if not name.startswith(("bundle.yaml ", "bundle file "))]
    for name in changed:
        yield _part(name, then.get(name, ""), now.get(name, ""))


def _part(name: str, then: str, now: str) -> Difference:
    if not name.startswith("bundle file ") and name != "model weights":
        return Difference(name, _short(then), _short(now))
    if then and now:
        return Difference(name)
    return Difference(name, "there" if then else "", "there" if now else "")


def _fields(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted({*then, *now}):
        old, new = then.get(name), now.get(name)
        if old == new:
            continue
        if name == "text":
            lines = difflib.unified_diff(str(old).splitlines(), str(new).splitlines(), lineterm="", n=1)
            yield Difference("node text", diff=tuple(list(lines)[2 : 2 + _DIFF]))
        else:
            yield Difference(f"node {name}", _short(json.dumps(old)), _short(json.dumps(new)))


def _source(entry: Entry, now: Side) -> Iterator[Difference]:
    """Yield that the tools saw another source than the prompt, as when a file changed while a task ran."""
    text = str(now.node["text"]).replace("\r\n", "\n")
    if entry.source not in (None, text_digest(text)) and json.loads(entry.node).get("text") == now.node["text"]:
        yield Difference("the node's source, which changed while the task ran")


def _others(reads: Sequence[Read], holds: Holds, permissions: Permissions) -> list[Read]:
    return [read for read in reads if not holds.same(read, permissions)]


def _difference(read: Read) -> Difference:
    subject = " for ".join(json.loads(read.subject)) if read.kind == "search" else read.subject
    return Difference(_READS.get(read.kind, read.kind + " {}").format(subject))


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"

"""Merges a manifest over that of its parent, before the schema is looked at; every part keeps its origin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.bundle.extends import rules
from engine.diagnostics import Diagnostic, did_you_mean
from engine.manifest import Document, JsonPath, dotted
from engine.manifest.origins import MergedPositions, Origin, origin_of


@dataclass(frozen=True, slots=True)
class _Part:
    """A value and where it was written."""

    value: Any
    origin: Origin

    def at(self, step: str | int) -> _Part:
        """Return a part of it."""
        return _Part(self.value[step], self.origin.at(step))


def merge(parent: Document, child: Document) -> Document:
    """Return a manifest with what it inherits.

    Mappings are merged by key, `tools` and `context` by name, everything else is replaced; null and `remove: true`
    remove. `extends` is used up, `format` and `name` are never inherited. The result's `diagnostics` are those of
    both documents, and X005 for what removes nothing.

    Args:
        parent: The parent's manifest, itself merged.
        child: The manifest as read.
    """
    merger = _Merger(child)
    base = {key: value for key, value in parent.data.items() if key not in ("extends", *rules.OWN_KEYS)}
    over = {key: value for key, value in child.data.items() if key != "extends"}
    whole = merger.mapping((), _Part(base, origin_of(parent.positions)), _Part(over, origin_of(child.positions)))
    positions = MergedPositions(child.file, whole.origin)
    return Document(
        child.file,
        child.text,
        whole.value,
        positions,
        (*parent.diagnostics, *child.diagnostics, *merger.findings),
        merger.carried(parent.tainted, child.tainted, parent, positions),
        merger.carried(parent.odd_keys, child.odd_keys, parent, positions),
        (child, *(parent.parts or (parent,))),
    )


Places = dict[str, dict[int, int]]
"""For each named list that was merged, the new index of its entries."""


@dataclass(slots=True)
class _Merger:
    child: Document
    findings: list[Diagnostic] = field(default_factory=list)
    base_places: Places = field(default_factory=dict)
    over_places: Places = field(default_factory=dict)

    def carried(
        self, base: Iterable[JsonPath], over: Iterable[JsonPath], parent: Document, merged: MergedPositions
    ) -> frozenset[JsonPath]:
        """Return those paths of the two documents that the merged one has from them, as they are there."""
        sides = ((base, parent, self.base_places), (over, self.child, self.over_places))
        return frozenset(
            here
            for paths, document, places in sides
            for path in paths
            if (here := _moved(path, places)) in merged and merged.value(here) == document.positions.value(path)
        )

    def mapping(self, path: JsonPath, base: _Part, over: _Part) -> _Part:
        """Merge two mappings: the inherited keys in their order, then the new ones."""
        parts = self._inherited(path, base, over)
        for key, value in over.value.items():
            if key in base.value:
                continue
            if value is None and not rules.is_null_a_value((*path, key)):
                self._removes_nothing((*path, key), base.value, over.at(key).origin)
            else:
                parts[key] = self._value((*path, key), None, over.at(key))
        data = {key: part.value for key, part in parts.items()}
        below: dict[str | int, Origin] = {key: part.origin for key, part in parts.items()}
        return _Part(data, Origin(over.origin.positions, over.origin.path, below))

    def _inherited(self, path: JsonPath, base: _Part, over: _Part) -> dict[str, _Part]:
        parts = {}
        dropped = rules.partners(path, over.value)
        for key in base.value:
            if key not in over.value:
                if key not in dropped:
                    parts[key] = base.at(key)
            elif over.value[key] is not None or rules.is_null_a_value((*path, key)):
                parts[key] = self._value((*path, key), base.at(key), over.at(key))
        return parts

    def _value(self, path: JsonPath, base: _Part | None, over: _Part) -> _Part:
        if rules.is_whole(path):
            return over
        if isinstance(over.value, dict):
            if base is None or not isinstance(base.value, dict):
                base = _Part({}, over.origin)
            return self.mapping(path, base, over)
        if len(path) == 1 and path[0] in rules.NAMED and isinstance(over.value, list):
            if base is None or not isinstance(base.value, list):
                base = _Part([], over.origin)
            return self._named(str(path[0]), base, over)
        return over

    def _named(self, key: str, base: _Part, over: _Part) -> _Part:
        """Merge two lists by name: inherited entries keep their place, new ones come last."""
        entries: list[_Part | None] = [base.at(index) for index in range(len(base.value))]
        names = [rules.name_of(key, item) for item in base.value]
        places: dict[int, int] = {}
        for index, entry in enumerate(over.value):
            name, part = rules.name_of(key, entry), over.at(index)
            found = names.index(name) if name is not None and name in names else None
            if rules.removes(entry):
                self._remove(key, index, names, found, part)
            elif found is None:
                places[index] = len(entries)
                entries.append(self._entry(key, index, None, part))
            else:
                places[index] = found
                entries[found] = self._entry(key, index, entries[found], part)
            if found is not None:
                names[found] = None  # a second entry of this name is a duplicate, which has its own finding
                if rules.removes(entry):
                    entries[found] = None
        return self._listed(key, entries, len(base.value), places, over.origin)

    def _listed(
        self, key: str, entries: list[_Part | None], inherited: int, places: dict[int, int], origin: Origin
    ) -> _Part:
        kept = [(place, entry) for place, entry in enumerate(entries) if entry is not None]
        final = {place: index for index, (place, _) in enumerate(kept)}
        self.base_places[key] = {place: final[place] for place in range(inherited) if place in final}
        self.over_places[key] = {index: final[place] for index, place in places.items() if place in final}
        below: dict[str | int, Origin] = {index: entry.origin for index, (_, entry) in enumerate(kept)}
        return _Part([entry.value for _, entry in kept], Origin(origin.positions, origin.path, below))

    def _entry(self, key: str, index: int, base: _Part | None, over: _Part) -> _Part:
        if base is None and not isinstance(over.value, dict):
            return over
        inherited, given = _spelled_out(base), _spelled_out(over)
        if inherited is None or given is None or rules.is_other_kind(inherited.value, given.value):
            inherited = _Part({}, over.origin)
        return over if given is None else self.mapping((key, index), inherited, given)

    def _remove(self, key: str, index: int, names: list[object], found: int | None, part: _Part) -> None:
        entry: Mapping[str, Any] = part.value
        if found is None:
            name = rules.name_of(key, entry)
            known = [item for item in names if isinstance(item, str)]
            hint = did_you_mean(name, known) if isinstance(name, str) else None
            shown = f"'{name}'" if isinstance(name, str) else "an entry without a name"
            message = f"{key}[{index}] removes {shown}, which is not inherited" + (f": {hint}" if hint else "")
            help_text = f"inherited: {', '.join(known)}" if known else f"no {key} are inherited"
            self.findings.append(Diagnostic("X005", message, part.origin.positions.value(part.origin.path), help_text))
            return
        for word in rules.words_beside(entry):
            origin = part.at(word).origin
            message = f"{key}[{index}] removes '{names[found]}', so it cannot give '{word}' as well"
            help_text = "keep one; to replace an entry as a whole, remove it and add another after it"
            self.findings.append(Diagnostic("X005", message, origin.positions.key(origin.path), help_text))

    def _removes_nothing(self, path: JsonPath, known: Mapping[str, Any], origin: Origin) -> None:
        hint = did_you_mean(str(path[-1]), known)
        name = dotted(self.child.positions.written(origin.path))
        message = f"{name}: null removes what is inherited, and nothing of that name is" + (f": {hint}" if hint else "")
        help_text = f"inherited: {', '.join(known)}" if known else "leave it out, or give a value"
        self.findings.append(Diagnostic("X005", message, origin.positions.value(origin.path), help_text))


def _moved(path: JsonPath, places: Places) -> JsonPath:
    """Return where a path of one document is in the merged one; a path that exists nowhere when it is gone."""
    if len(path) < 2 or path[0] not in places:
        return path
    return (path[0], places[str(path[0])].get(int(path[1]), -1), *path[2:])


def _spelled_out(part: _Part | None) -> _Part | None:
    """Return an entry as a mapping, its shorthand spelled out; None when it is neither."""
    if part is None or isinstance(part.value, dict):
        return part
    if not isinstance(part.value, str):
        return None
    origin = part.origin
    below: dict[str | int, Origin] = {"path": Origin(origin.positions, origin.path)}
    return _Part({"path": part.value}, Origin(origin.positions, origin.path, below))

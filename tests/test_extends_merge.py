"""Merging of manifests: mappings by key, tools and context by name, null and `remove`; every value keeps its place."""

import copy
import inspect
import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from mutations import VALUES, mutate

from engine.bundle.extends import merge
from engine.bundle.extends.resolved import leaves
from engine.bundle.extends.rules import EXCLUSIVE
from engine.manifest import Document, bundle_model, read_manifest, read_yaml, validator
from engine.manifest.export import schema_text
from engine.manifest.schema import extending_validator

WHOLE = read_yaml((Path(__file__).parent / "data" / "full_bundle.yaml").read_text(encoding="utf-8"), "whole").data
EXPORTED = Draft202012Validator(json.loads(schema_text("bundle")))
MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def document(data: Any, file: str) -> Document:
    return read_yaml(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False), file)


def merged(parent: Any, child: Any) -> Document:
    return merge(document(parent, "parent"), document(child, "child"))


def data(parent: str, child: str) -> Any:
    return merged(parent, child).data


# -- the rules


# Parent, child and what is to come of them.
RULES = """
a: {b: 1, c: 2} | a: {c: 3, d: 4} | a: {b: 1, c: 3, d: 4}
a: {b: {c: 1}} | a: {b: {d: 2}} | a: {b: {c: 1, d: 2}}
a: [1, 2] | a: [3] | a: [3]
a: text | a: {b: 1} | a: {b: 1}
a: {b: 1} | a: text | a: text
a: {b: 1, c: 2} | a: {b: null} | a: {c: 2}
{a: {b: 1}, c: 1} | a: null | c: 1
{name: p, format: 1, version: '1'} | name: c | {version: '1', name: c}
{extends: ../x, a: 1} | {extends: ../y, b: 2} | {a: 1, b: 2}
model: {plugin: q, role: r} | model: {id: x} | model: {plugin: q, id: x}
model: {plugin: q, id: x} | model: {role: r} | model: {plugin: q, role: r}
model: {id: x} | model: {id: y, role: r} | model: {id: y, role: r}
model: {role: r} | model: {role: null, id: y} | model: {id: y}
nodes: {query: q.scm} | nodes: {types: [file]} | nodes: {types: [file]}
adapters: {a: {path: p, gguf: g, base: b}} | adapters: {a: {name: n}} | adapters: {a: {base: b, name: n}}
adapters: {a: {name: n}} | adapters: {a: {path: p}} | adapters: {a: {path: p}}
adapters: {a: {name: n}} | adapters: {b: {name: m}} | adapters: {a: {name: n}, b: {name: m}}
grammar: {strategy: custom, file: g} | grammar: {strategy: typed} | grammar: {strategy: typed}
grammar: {strategy: custom, file: g} | grammar: {strategy: custom@1} | grammar: {strategy: custom@1, file: g}
params: {s: {type: string, default: a}} | params: {s: {default: b}} | params: {s: {type: string, default: b}}
params: {s: {default: {a: 1}}} | params: {s: {default: {b: 2}}} | params: {s: {default: {b: 2}}}
params: {s: {type: string}} | params: {s: {default: null}} | params: {s: {type: string, default: null}}
params: {s: {enum: [a], type: string}} | params: {s: {enum: null}} | params: {s: {type: string}}
params: {s: {items: {a: 1}}} | params: {s: {const: {a: null}}} | params: {s: {items: {a: 1}, const: {a: null}}}
tools: [a.pym, b.pym] | tools: [c.pym] | tools: [a.pym, b.pym, c.pym]
tools: [a.pym, b.pym] | tools: [{name: a, bind: {x: y}}] | tools: [{path: a.pym, name: a, bind: {x: y}}, b.pym]
tools: [{path: x/a.pym, description: d}] | tools: [y/a.pym] | tools: [{path: y/a.pym, description: d}]
tools: [a.pym, b.pym] | tools: [{name: a, remove: true}] | tools: [b.pym]
tools: [a.pym, b.pym] | tools: [{path: x/a.pym, remove: true}, x/a.pym] | tools: [b.pym, x/a.pym]
tools: [a.pym] | tools: [{name: a, python: 'm:f'}] | tools: [{name: a, python: 'm:f'}]
tools: [{python: 'm:x.f'}] | tools: [{name: f, description: d}] | tools: [{python: 'm:x.f', name: f, description: d}]
tools: [{mcp: {command: [s], tools: [a]}}] | tools: [{mcp: {command: [s]}}] | tools: [{mcp: {command: [s], tools: [a]}}]
tools: [{path: a, bind: {t: x, u: y}}] | tools: [{path: a, bind: {t: null}}] | tools: [{path: a, bind: {u: y}}]
tools: [a] | tools: [{path: a, inputs: {t: {default: null}}}] | tools: [{path: a, inputs: {t: {default: null}}}]
context: [{name: a, path: a.pym}] | context: [{name: a, each: turn}] | context: [{name: a, path: a.pym, each: turn}]
context: [{name: a, path: a.pym}] | context: [{name: a, remove: true}] | context: []
{a: 1, tools: [a.pym]} | tools: null | a: 1
checks: [parses] | checks: [{run: [x]}] | checks: [{run: [x]}]
a: 1 | tools: [a.pym] | {a: 1, tools: [a.pym]}
"""
NOTHING = "null removes what is inherited, and nothing of that name is"
UNKNOWN = "which is not inherited"
BOTH = "removes 'a', so it cannot give 'each' as well"
REMOVALS = f"""
limits: {{seconds: 1}} | limits: {{second: null}} | 18 limits.second: {NOTHING}: did you mean 'seconds'?
a: 1 | limits: {{seconds: null}} | 19 limits.seconds: {NOTHING}
tools: [note.pym] | tools: [{{name: nte, remove: true}}] | 9 tools[0] removes 'nte', {UNKNOWN}: did you mean 'note'?
tools: [a.pym] | tools: [b.pym, {{remove: true}}] | 16 tools[1] removes an entry without a name, which is not inherited
tools: [a.pym] | tools: [a.pym, {{name: a, remove: true}}] | 16 tools[1] removes 'a', which is not inherited
context: [{{name: a}}] | context: [{{name: a, remove: true, path: b, each: turn}}] | 44 context[0] {BOTH}
tools: [a.pym, b.pym] | tools: [c.pym, {{name: d, bind: {{x: null}}}}] | 36 tools[1].bind.x: {NOTHING}
"""  # fmt: skip


def rows(table: str) -> list[list[str]]:
    return [line.split(" | ") for line in table.strip().splitlines()]


@pytest.mark.parametrize(("parent", "child", "wanted"), rows(RULES))
def test_rules(parent: str, child: str, wanted: str) -> None:
    result = merged(parent, child)
    assert result.data == document(wanted, "wanted").data
    assert list(result.data) == list(document(wanted, "wanted").data)
    assert result.diagnostics == ()


@pytest.mark.parametrize(("parent", "child", "wanted"), rows(REMOVALS))
def test_what_removes_nothing_is_a_finding(parent: str, child: str, wanted: str) -> None:
    [found] = merged(parent, child).diagnostics
    assert (found.code, found.span.file, found.span.line) == ("X005", "child", 1)
    assert f"{found.span.column} {found.message}" == wanted


def test_the_rules_know_every_pair_of_keys_that_exclude_each_other() -> None:
    classes = [item for _, item in inspect.getmembers(bundle_model, inspect.isclass)]
    models = [item for item in classes if issubclass(item, bundle_model.Model)]
    assert sorted(pair for model in models for pair in model.exclusive) == sorted(
        pair for pairs in EXCLUSIVE.values() for pair in pairs
    )
    fields = bundle_model.Manifest.model_fields
    for path, pairs in EXCLUSIVE.items():
        assert any(model.exclusive == pairs and model.__name__ in str(fields[str(path[0])]) for model in models)


def test_duplicates_in_one_list_are_left_to_the_pass_that_reports_them() -> None:
    assert data("tools: [a.pym]", "tools: [{name: a, description: d}, x/a.pym]")["tools"] == [
        {"path": "a.pym", "name": "a", "description": "d"},
        "x/a.pym",
    ]


def test_findings_of_the_reading_stay_with_what_they_are_about() -> None:
    parent = "version: 2024-01-01\ntools: [x.pym, {name: y, description: no}]\nloop: {on: 1}"
    kept = merged(parent, "tools: [{name: x, remove: true}, {path: z.pym, description: off}]")
    assert kept.tainted == {("version",), ("tools", 0, "description"), ("tools", 1, "description"), ("loop", "on")}
    assert kept.odd_keys == {("loop", "on")}
    overridden = merged(parent, "version: '1'\nloop: null\ntools: null")
    assert overridden.tainted == overridden.odd_keys == set()
    inherited = merged(parent, "a: 1")
    assert inherited.tainted == {("version",), ("tools", 1, "description"), ("loop", "on")}


def test_positions_lead_into_the_document_that_has_the_value() -> None:
    result = merged(
        "model:\n  plugin: q\ntools:\n- a.pym\n- b.pym", "name: c\ntools:\n- {name: b, description: d}\n- c.pym"
    )
    positions = result.positions
    spots = [positions.value(path) for path in (("model", "plugin"), ("tools", 0), ("tools", 2))]
    assert [(spot.file, spot.line) for spot in spots] == [("parent", 2), ("parent", 4), ("child", 4)]
    assert positions.value(("tools", 1, "path")).file == "parent"
    assert positions.value(("tools", 1, "description")).file == "child"
    assert positions.written(("tools", 2)) == ("tools", 1)
    assert ("tools", 3) not in positions
    assert ("tools", 1, "path") in positions
    assert positions.key(("nothing",)).file == "child"
    with pytest.raises(KeyError):
        positions[("model", "id")]
    assert [part.file for part in result.parts] == ["child", "parent"]
    assert result.written.file == "child"
    assert result.part("parent").file == "parent"


# -- properties, against a second, plainer implementation


def name_of(key: str, item: Any) -> Any:
    if isinstance(item, str):
        return PurePosixPath(item).stem if key == "tools" else None
    if not isinstance(item, dict):
        return None
    if isinstance(item.get("name"), str):
        return item["name"]
    if key == "tools" and isinstance(item.get("path"), str):
        return PurePosixPath(item["path"]).stem
    return None


def plain(parent: Any, child: Any, path: tuple[Any, ...] = ()) -> Any:
    """Merge what `pairs` generates: no exclusive keys, one kind of tool, names once in a list."""
    if len(path) > 2 and path[0] == "params":
        return child
    if len(path) == 1 and path[0] in ("tools", "context") and isinstance(child, list):
        result = list(parent) if isinstance(parent, list) else []
        for item in child:
            name = name_of(path[0], item)
            index = next(
                (n for n, old in enumerate(result) if name is not None and name_of(path[0], old) == name), None
            )
            if isinstance(item, dict) and item.get("remove") is True:
                if index is not None:
                    del result[index]
            elif index is None:
                result.append(plain({}, item, (*path, index)) if isinstance(item, dict) else item)
            else:
                old, new = (part if isinstance(part, dict) else {"path": part} for part in (result[index], item))
                result[index] = plain(old, new, (*path, index))
        return result
    if not isinstance(child, dict):
        return child
    result = dict(parent) if isinstance(parent, dict) else {}
    for key, value in child.items():
        if value is None and not (len(path) == 2 and path[0] == "params" and key in ("default", "const")):
            result.pop(key, None)
        else:
            result[key] = plain(result.get(key), value, (*path, key))
    return result


KEYS = st.sampled_from("abc")
SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["x", "y"])
TREES = st.recursive(
    SCALARS, lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2), max_leaves=8
)


def entries(with_path: bool) -> st.SearchStrategy[Any]:
    def tool(name: str) -> st.SearchStrategy[Any]:
        rest = st.dictionaries(st.sampled_from(["limits", "bind", "description"]), TREES, max_size=2)
        long = rest.map(lambda more: {"path": f"{name}.pym", "name": name, **more})
        removal = st.just({"name": name, "remove": True})
        return st.just(f"{name}.pym") | long if with_path else st.just(f"{name}.pym") | long | removal

    names = st.lists(st.sampled_from("mnop"), unique=True, max_size=4)
    return names.flatmap(lambda found: st.tuples(*map(tool, found)).map(list))


def manifests(with_path: bool) -> st.SearchStrategy[Any]:
    params = st.dictionaries(
        KEYS, st.dictionaries(st.sampled_from(["type", "default", "const", "items"]), TREES, max_size=3)
    )
    return st.fixed_dictionaries(
        {}, optional={"loop": TREES, "limits": TREES, "extra": TREES, "params": params, "tools": entries(with_path)}
    )


def without_nulls(value: Any) -> Any:
    """What a plain manifest may hold where nothing is inherited: null only in lists and in params."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@MANY
@given(manifests(True), manifests(False))
def test_merging_equals_a_plainer_implementation(parent: Any, child: Any) -> None:
    parent = {key: item if key == "params" else without_nulls(item) for key, item in parent.items() if item is not None}
    result = merged(parent, child)
    assert result.data == plain(parent, child)
    assert json.dumps(parent) == json.dumps(document(parent, "p").data)
    assert {item.code for item in result.diagnostics} <= {"X005"}


@MANY
@given(manifests(True), manifests(False), manifests(False))
def test_every_value_is_where_its_position_says(top: Any, middle: Any, child: Any) -> None:
    documents = {file: document(item, file) for file, item in (("g", top), ("p", middle), ("c", child))}
    result = merge(merge(documents["g"], documents["p"]), documents["c"])
    for path, value in leaves(result.data):
        assert path == () or path in result.positions
        span, written = result.positions.value(path), result.positions.written(path)
        there = documents[span.file]
        if path:
            assert there.positions.value(written) == span
            found: Any = there.data
            for step in written:
                found = found[step]
            assert found == value or (not value and type(found) is type(value))  # all that was in it is removed


@MANY
@given(manifests(True))
def test_a_child_that_says_nothing_is_its_parent(parent: Any) -> None:
    result = merged({"format": 1, "name": "p", **parent}, {"format": 1, "name": "c", "extends": "../p"})
    assert result.data == {**parent, "format": 1, "name": "c"}
    assert result.diagnostics == ()
    assert list(result.data) == [*parent, "format", "name"]


@MANY
@given(manifests(True), manifests(False))
def test_merging_twice_changes_nothing(parent: Any, child: Any) -> None:
    child = {key: without_nulls(item) for key, item in child.items() if key not in ("tools", "params")}
    once = merged(without_nulls(parent), child)
    assert merged(dict(once.data), child).data == once.data


# -- the schema of what editors see


def parts(draw: Any, whole: Any, depth: int = 0) -> Any:
    """A child: some keys of a whole manifest, in part, removed or as they are."""
    picked = {}
    for key, value in whole.items():
        choice = draw(st.integers(0, 3))
        if choice == 1:
            picked[key] = None
        elif choice == 2 and isinstance(value, dict) and value:
            picked[key] = parts(draw, value, depth + 1)
        elif choice >= 2:
            picked[key] = value
    return picked


@MANY
@given(st.data())
def test_what_the_engine_accepts_editors_accept(given_data: st.DataObject) -> None:
    part = parts(given_data.draw, WHOLE)
    tools = [{"name": "read_type_hints", "remove": True}, {"name": "write_docstring", "limits": {"seconds": 3}}]
    child = {**part, "format": 1, "name": "child", "extends": "../whole"}
    if given_data.draw(st.booleans()):
        child["tools"] = given_data.draw(st.lists(st.sampled_from(tools), unique_by=str))
    if given_data.draw(st.booleans()):
        child = {**mutate(given_data, child), "extends": "../whole"}
    result = merged(dict(WHOLE), child) if document(child, "c").usable else None
    if result is None or result.diagnostics or result.tainted or list(validator("bundle").iter_errors(result.data)):
        return
    assert read_manifest(result).model is not None
    assert [error.message for error in EXPORTED.iter_errors(child)] == []
    assert [error.message for error in extending_validator().iter_errors(child)] == []


@MANY
@given(st.data())
def test_without_extends_editors_say_what_the_engine_says(given_data: st.DataObject) -> None:
    mutated = mutate(given_data, copy.deepcopy(dict(WHOLE)))
    if not isinstance(mutated, dict):
        return
    mutated.pop("extends", None)
    wanted = sorted(error.message for error in validator("bundle").iter_errors(mutated))
    assert sorted(error.message for error in EXPORTED.iter_errors(mutated)) == wanted


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("loop: {max_turn: 1}", "'max_turn' was unexpected"),
        ("loop: {max_turns: 0}", "0 is less than the minimum"),
        ("tools: [{description: x}]", "is not valid under any"),
        ("tools: [{name: x, remove: false}]", "is not valid under any"),
        ("params: null\nx: 1", "'x' was unexpected"),
        ("routing: [{adapter: x}]", "is not valid under any"),
        ("checks: [{}]", "is not valid under any"),
        ("model: {id: a, role: b}", "should not be valid under"),
    ],
)
def test_a_child_is_still_checked_by_editors(more: str, words: str) -> None:
    child = document(f"format: 1\nname: c\nextends: ../b\n{more}", "c").data
    [error] = EXPORTED.iter_errors(child)
    assert words in error.message


@pytest.mark.parametrize("missing", ["format", "name"])
def test_a_child_says_its_own_name_and_format(missing: str) -> None:
    child = {"format": 1, "name": "c", "extends": "../b"}
    del child[missing]
    [error] = EXPORTED.iter_errors(child)
    assert f"'{missing}' is a required property" in error.message
    typed = read_manifest(merged(dict(WHOLE), child))
    assert [(item.code, item.span.file) for item in typed.diagnostics] == [("S003", "child")]


@MANY
@given(
    st.dictionaries(st.sampled_from([*WHOLE, "extra"]), VALUES),
    st.dictionaries(st.sampled_from([*WHOLE, "extra"]), VALUES),
)
def test_whatever_is_merged_never_raises(parent: Any, child: Any) -> None:
    documents = document(parent, "p"), document(child, "c")
    if all(item.usable for item in documents):
        typed = read_manifest(merge(*documents))
        assert typed.diagnostics or typed.model is not None
        assert {item.span.file for item in typed.diagnostics} <= {"p", "c"}

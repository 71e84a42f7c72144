"""What holds for every old manifest: it becomes one that reads as it was written, and nothing disappears unsaid."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutations import VALUES, mutate

from engine.bundle.migrate import plan_migrations, write_migration
from engine.bundle.migrate.comments import Comments, comments_of
from engine.bundle.migrate.emit import emit, scalar
from engine.bundle.migrate.prompts import first_sentence
from engine.bundle.migrate.scripts import declared
from engine.manifest import read_yaml

EARLIER = Path(__file__).parent / "samples" / "earlier"
MANIFESTS = sorted(path for path in EARLIER.rglob("*.y*ml"))
quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
many = settings(max_examples=300, deadline=None)
ODD = ["no", "y", "1:30", "0o17", "1e3", ".5", "010", "2024-01-01", "null", "{x}", "'", '"', "\\", "?", "[", "<<", "="]
ODD += ["...", "---", "@a", "%a", "!a", "&a", "*a", "`a`", "\u2028", "\x85", "\ufeff"]
TEXTS = st.sampled_from([*ODD, "a: b", "a #b", "- a", "a\nb", "", " a", "a ", "a, b", "\U0002ebe1"]) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=12
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@many
@given(st.dictionaries(TEXTS, JSON, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(data: dict[str, Any]) -> None:
    text = emit(data, Comments())
    document = read_yaml(text, "f")
    assert document.diagnostics == ()
    assert document.data == data
    assert yaml.safe_load(text) == data
    assert emit(document.data, Comments()) == text


@many
@given(TEXTS)
def test_a_text_is_a_text_for_every_reader(text: str) -> None:
    from ruamel.yaml import YAML

    written = f"a: {scalar(text)}\n"
    assert YAML(typ="safe", pure=True).load(written) == {"a": text}  # YAML 1.2
    assert yaml.safe_load(written) == {"a": text}  # YAML 1.1


@many
@given(
    st.lists(
        st.sampled_from(
            [
                "# one",
                "a: 1 # two",
                "b:  # three",
                "  # four",
                "  - x # five",
                "  - 'y # no'",
                "  # six",
                "",
                "c: |",
                "  # text",
            ]
        ),
        max_size=14,
    )
)
def test_each_comment_is_found_once(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    document = read_yaml(text, "f")
    if not document.usable:
        return
    found = comments_of(text)
    inside = [
        *found.head,
        *found.tail,
        *found.beside.values(),
        *(line for above in found.above.values() for line in above),
    ]
    assert all(line.startswith("# ") for line in inside)
    assert "# no'" not in inside
    assert len(inside) <= sum("#" in line for line in lines)
    kept = emit(document.data, found)
    again = read_yaml(kept, "f")
    assert (again.data, again.diagnostics) == (document.data, ())


def plan(manifest: str, name: str, folder: Path):
    (folder / "tools").mkdir(exist_ok=True)
    (folder / "tools/say.pym").write_text('from grail import Input\n\nword: str = Input("word")\nword\n')
    (folder / name).write_text(manifest, encoding="utf-8")
    (item,) = plan_migrations(folder)
    return item


def holds(data: Any, name: str) -> None:
    """Migrating never raises, what is written reads as it was meant, and a second time there is nothing to do."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "b"
        folder.mkdir()
        item = plan(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), name, folder)
        if item.status != "migrated":
            assert item.problem
            assert item.files == {}
            return
        assert item.notes == tuple(sorted(item.notes))
        assert read_yaml(item.files[item.name].decode(), "f").diagnostics == ()
        known = {note.key.split(".")[0].split("[")[0] for note in item.notes}
        new = yaml.safe_load(item.files[item.name])
        for key, value in data.items():
            said = key in known or key in TAKEN or value in (None, [], {})
            assert said, f"{key} disappeared"
        write_migration(item)
        (again,) = plan_migrations(folder)
        assert again.status == "current"
        assert new["format"] == 1


TAKEN = {
    "name",
    "version",
    "description",
    "model",
    "model_id",
    "grammar",
    "initial_context",
    "system_prompt",
    "prompts",
} | {
    "system_prompt_extension",
    "prompt_templates",
    "agents_dir",
    "registries",
    "tools",
    "termination",
    "termination_tool",
    "max_turns",
    "node_types",
    "limits",
}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name + "/" + path.name)
@settings(parent=quick, max_examples=6)
@given(data=st.data())
def test_manifests_with_parts_replaced(path: Path, data) -> None:
    whole = yaml.safe_load(path.read_text())
    holds(mutate(data, whole), path.name)


PARTS = {
    "name": st.sampled_from(["a", "A b", "", 7, None]),
    "model": st.sampled_from(
        ["qwen", "x/y", "${A:-b}", {"plugin": "qwen"}, {"grammar": {"mode": "ebnf"}}, {"id": 1}, 7]
    ),
    "model_id": st.sampled_from(["a/functiongemma", 1]),
    "grammar": st.sampled_from([{"strategy": "ebnf"}, {"strategy": "other", "allow_parallel_calls": True}, "x"]),
    "initial_context": st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ["system_prompt", "user_template", "node_context"], st.sampled_from(["{{ input }}", "{% x", "", 3])
        ),
    ),
    "system_prompt": st.sampled_from(["Be.", ""]),
    "prompts": st.dictionaries(st.sampled_from(["chat", "reactive", "../x"]), st.sampled_from(["a", 1]), max_size=2),
    "agents_dir": st.sampled_from(["tools", ".", "../..", "/etc", 3]),
    "registries": VALUES,
    "tools": st.lists(
        st.sampled_from(["say", "tools/say.pym", "../b/tools/say.pym", 7])
        | st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["say", "Say it", ""]),
                "pym": st.sampled_from(["tools/say.pym", "x.pym", 1]),
                "inputs_override": st.dictionaries(st.sampled_from(["word", "x"]), VALUES, max_size=2),
                "context_providers": st.lists(st.sampled_from(["tools/say.pym", "c.pym", "", 1]), max_size=2),
                "registry": st.sampled_from(["grail", "python"]),
            },
        ),
        max_size=3,
    ),
    "termination": st.sampled_from(["say", {"tool": "say"}, {"x": 1}, 3]),
    "max_turns": st.sampled_from([0, 5, -1, 10**9, "x", True]),
    "node_types": st.lists(st.sampled_from(["function", "array_table", 3]), max_size=2),
    "limits": st.sampled_from(["strict", {"seconds": 1}, {"seconds": -1, "x": 1}]),
    "priority": VALUES,
}


@quick
@given(
    st.fixed_dictionaries({"zebra": VALUES}, optional=PARTS),
    st.sampled_from(["bundle.yaml", "b_subagent.yaml"]),
)
@example(
    {
        "agents_dir": "tools",
        "tools": [{"name": "say", "inputs_override": {"word": {"description": "x", "max_length": -1}}}],
    },
    "bundle.yaml",
)
def test_manifests_of_all_parts(data: dict[str, Any], name: str) -> None:
    holds(data, name)


@many
@given(st.text(max_size=60))
def test_a_first_sentence_is_one_plain_line(text: str) -> None:
    found = first_sentence(text)
    assert len(found) <= 200
    assert found == found.strip()
    assert found.isprintable()


@many
@given(st.text("abc=()[]\"'\n .,:@#", max_size=40))
def test_any_text_may_stand_where_a_script_should(text: str) -> None:
    declared('await run_command("a", ["b"])\n' + text)

"""Bundles that build on another: their files, findings, chains, zips, adapters, caches and templates."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from extends_parts import CHILD, FILES, base, child, write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.bundle import Bundle, Catalog, load_bundle, validate, validation
from engine.bundle.archive import read_zip
from engine.bundle.check import check_bundles
from engine.bundle.fixing import plan_fixes, write_fixes
from engine.bundle.locate import locate, read_all
from engine.bundle.source import BundleSource, read_folder
from engine.diagnostics import Edit
from engine.errors import BundleError, PromptError

TOOL = '"""Note better."""\nresult = "child"\nresult\n'
ABOVE = "is a template of a bundle that this one builds on"
PARENT = '{% extends "@parent/prompts/user.md.j2" %}\n'


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")


def found(*paths: str) -> list[str]:
    """Return the findings below paths, without the cache."""
    return [
        f"{item.span.file}:{item.span.line}: {item.code} {item.message}" for item in validate(paths, use_cache=False)
    ]


def render(bundle: Bundle, **params: str) -> str:
    values = {"node": {"name": "f"}, "params": bundle.resolve_params(params), "context": {"facts": "x"}}
    return bundle.templates.render(bundle.prompt_names[1], values)


# -- what is inherited


def test_a_child_has_what_its_parent_has() -> None:
    base(Path("base"))
    child(Path("child"))
    assert found(".") == []
    bundle = load_bundle("child")
    assert bundle.name == "child"
    assert bundle.manifest.extends is None
    assert [tool.schema.name for tool in bundle.tools] == ["note", "remark"]
    assert [tool.schema.description for tool in bundle.tools] == ["Note.", "Remark."]
    assert [item.spec.name for item in bundle.context] == ["facts"]
    assert render(bundle) == "plain f"
    assert bundle.resolve_params({}) == {"style": "plain"}


def test_a_childs_files_shadow_the_parents() -> None:
    base(Path("base"))
    child(Path("child"), "params: {style: {default: rich}}\n", **{"tools/note.pym": TOOL})
    bundle = load_bundle("child")
    assert bundle.tools[0].script.code == TOOL
    assert bundle.tools[0].schema.description == "Note better."
    assert render(bundle) == "rich f"
    assert load_bundle("base").tools[0].script.code == FILES["tools/note.pym"]


def test_a_parent_of_a_parent() -> None:
    base(Path("base"))
    child(Path("middle"), "params: {style: {default: rich}}\n", **{"tools/note.pym": TOOL})
    write(
        Path("deep/child"),
        {"bundle.yaml": "format: 1\nextends: ../../middle\nname: deep\ntools: [{name: remark, remove: true}]\n"},
    )
    assert found(".") == []
    bundle = load_bundle("deep/child")
    assert [tool.schema.description for tool in bundle.tools] == ["Note better."]
    assert render(bundle) == "rich f"
    source = read_folder(Path("deep/child"), "deep/child")
    assert [parent.shown for parent in source.parents] == ["middle", "base"]
    assert source.show("tools/note.pym") == "middle/tools/note.pym"
    assert source.place("context/facts.pym") == Path("base").resolve() / "context/facts.pym"
    assert source.place("bundle.yaml") == Path("deep/child/bundle.yaml")
    assert source.roots() == tuple(Path(name).resolve() for name in ("deep/child", "middle", "base"))


def test_a_file_of_the_child_hides_a_folder_of_the_parent_and_the_reverse() -> None:
    base(Path("base"), **{"data/a.txt": "a", "rules": "text"})
    child(Path("child"), **{"data": "no folder", "rules/one.md": "1"})
    source = read_folder(Path("child"), "child")
    assert "data" in source.files
    assert "data/a.txt" not in source.files
    assert "rules" not in source.files
    assert source.files["rules/one.md"].content == b"1"


def test_manifests_are_not_inherited_as_files() -> None:
    base(Path("base"))
    shutil.move("base/bundle.yaml", "base/bundle.yml")
    child(Path("child"))
    assert found(".") == []
    assert "bundle.yml" not in read_folder(Path("child")).files


# -- findings


def test_findings_name_the_file_that_has_the_value_and_come_once() -> None:
    base(Path("base"), **{"tools/note.pym": "x = 1\n", "bundle.yaml": FILES["bundle.yaml"] + "loop: {max_turns: 0}\n"})
    child(Path("child"), "limits: {seconds: many}\ntools: [{path: gone.pym}]\n")
    both = found(".")
    assert both == [
        "base/bundle.yaml:12: S005 loop.max_turns ('0') must be at least 1",
        "base/tools/note.pym:1: T009 the last statement is not an expression, so the result is None",
        "child/bundle.yaml:4: S002 limits.seconds must be a number, not text 'many'",
        "child/bundle.yaml:5: L003 the file 'gone.pym' does not exist in the bundle: did you mean 'tools/note.pym'?",
    ]
    assert found("child") == both
    assert found("base") == both[:2]
    assert found("child", "base", "base/bundle.yaml", "child") == both


def test_a_list_entry_is_named_as_in_its_own_file() -> None:
    base(Path("base"))
    child(Path("child"), "tools: [{name: note, remove: true}, {path: tools/note.pym, name: other, limit: 1}]\n")
    assert found("child") == ["child/bundle.yaml:4: S001 unknown key 'limit' in tools[1]: did you mean 'limits'?"]


def test_what_is_wrong_only_together_names_the_child() -> None:
    base(Path("base"))
    child(Path("child"), "params: null\n")
    [finding] = found(".")
    assert finding == "base/prompts/user.md.j2:1: P003 'params' has no attribute 'style' (as child inherits it)"


def test_a_child_that_replaces_what_is_wrong_is_right() -> None:
    base(Path("base"), **{"tools/note.pym": "import subprocess\n", "prompts/user.md.j2": "{{ nod }}"})
    child(Path("child"), **{"tools/note.pym": TOOL, "prompts/user.md.j2": "{{ node.name }}"})
    assert found("child") == []
    assert {line.split()[1] for line in found("base")} == {"P002", "T003", "T009"}


def test_two_children_that_type_their_parent_differently_report_it_once() -> None:
    base(Path("base"), **{"prompts/user.md.j2": "{{ nod }}"})
    child(Path("one"))
    child(Path("two"))
    lines = found("one", str(Path("two").resolve()), "./base")
    assert [line.split()[0] for line in lines] == ["base/prompts/user.md.j2:1:"]


def test_paths_are_as_the_user_would_type_them(monkeypatch) -> None:
    base(Path("base"), **{"prompts/user.md.j2": "{{ nod }}"})
    child(Path("child"))
    monkeypatch.chdir("child")
    assert found(".")[0].startswith("../base/prompts/user.md.j2:1: P002")
    assert found(str(Path.cwd()))[0].startswith(f"{Path.cwd().parent}/base/prompts/user.md.j2:1: P002")


def test_inline_prompts_of_a_parent_have_their_line() -> None:
    inline = "prompts:\n  user:\n    text: |\n      first\n      {{ nod }}\n"
    base(Path("base"), **{"bundle.yaml": FILES["bundle.yaml"].replace("prompts: {user: prompts/user.md.j2}\n", inline)})
    child(Path("child"), "# one\n# two\n# three\n# four\n# five\n# six\n")
    assert [line.split()[:2] for line in found("child")] == [["base/bundle.yaml:9:", "P002"]]


def test_a_parents_surprise_is_told_until_it_is_replaced() -> None:
    base(Path("base"), **{"bundle.yaml": FILES["bundle.yaml"] + "version: 2024-01-01\n"})
    child(Path("child"), "model: {plugin: smollm}\n")
    assert [line.split()[:2] for line in found(".")] == [["base/bundle.yaml:12:", "Y004"]]


def test_certain_repairs_are_made_in_the_file_of_the_child() -> None:
    base(Path("base"))
    text = "limits: {second: 9}\ntools: [{name: note, limit: {seconds: 1}}]\n"
    child(Path("child"), text)
    first, second = validate(["child"], use_cache=False)
    assert first.fix == Edit(first.span, "seconds")
    assert second.fix == Edit(second.span, "limits")
    write_fixes(plan_fixes(["child"]).files)
    assert Path("child/bundle.yaml").read_text() == CHILD + text.replace("limit:", "limits:").replace(
        "second:", "seconds:"
    )
    assert found(".") == []


def test_a_parents_finding_keeps_its_repair() -> None:
    base(Path("base"), **{"bundle.yaml": FILES["bundle.yaml"] + "limits: {second: 9}\n"})
    child(Path("child"))
    [finding] = validate(["child"], use_cache=False)
    assert (finding.span.file, finding.fix) == ("base/bundle.yaml", Edit(finding.span, "seconds"))
    assert plan_fixes(["child"]).files == ()


# -- parents that are not there


@pytest.mark.parametrize(
    ("extends", "wanted"),
    [
        ("../bse", "X001 the bundle '../bse' does not exist: did you mean '../base'?"),
        ("../bse/", "X001 the bundle '../bse/' does not exist: did you mean '../base'?"),
        ("../empty", "X001 the bundle '../empty' has no bundle.yaml"),
        ("../base/bundle.yaml", "X001 the bundle '../base/bundle.yaml' is a file: name its folder, '../base'"),
        ("../note.txt", "X001 the bundle '../note.txt' is a file"),
        ("../loop", "X001 the bundle '../loop' does not exist"),
        (".", "X002 the bundle builds on itself: child → child"),
        ("/etc", "X006 the path '/etc' of the bundle to build on is absolute"),
        ("~/base", "X006 the path '~/base' of the bundle to build on is absolute"),
        ("C:/base", "X006 the path 'C:/base' of the bundle to build on is absolute"),
        ("'..\\base'", "X006 the path '..\\base' of the bundle to build on uses \\ instead of /"),
        ('"../ba\\0se"', "X006 the path '../ba\\x00se' of the bundle to build on holds a NUL byte"),
        ("7", "S002 extends must be text, not the number 7"),
        ("''", "S005 extends must not be empty"),
        ("[../base]", "S002 extends must be text, not a list"),
    ],
)
def test_what_extends_may_say(extends: str, wanted: str) -> None:
    base(Path("base"))
    write(Path(), {"empty/x.txt": "", "note.txt": ""})
    Path("loop").symlink_to("loop")
    write(Path("child"), {"bundle.yaml": CHILD.replace("../base", extends)})
    assert f"child/bundle.yaml:2: {wanted}" in found("child")
    if wanted.startswith("X"):
        assert len(found("child")) == 1


def test_extends_null_is_a_bundle_of_its_own() -> None:
    base(Path("base"), **{"bundle.yaml": "extends: null\n" + FILES["bundle.yaml"]})
    assert found("base") == []


def test_other_findings_of_a_child_without_its_parent_are_told() -> None:
    child(
        Path("child"),
        "lop: 1\nlimits: {seconds: many}\ntools: [{name: x, bind: 7}, {name: y, remove: true}]\nmodel: null\n",
    )
    assert found("child") == [
        "child/bundle.yaml:2: X001 the bundle '../base' does not exist",
        "child/bundle.yaml:4: S001 unknown key 'lop' in the top level: did you mean 'loop'?",
        "child/bundle.yaml:5: S002 limits.seconds must be a number, not text 'many'",
        "child/bundle.yaml:6: S002 tools[0].bind must be a mapping, not the number 7",
    ]


@pytest.mark.parametrize(
    ("manifest", "own"),
    [
        ("a: [", "Y001"),
        ("", "Y005"),
        ("- a", "Y005"),
        ("format: 2\nname: base\n", None),
        ("format: true\nname: base\n", None),
        ("format: 1\nextends: ../nowhere\nname: base\n", "X001"),
    ],
)
def test_a_parent_that_cannot_be_built_on(manifest: str, own: str | None) -> None:
    base(Path("base"), **{"bundle.yaml": manifest})
    child(Path("child"))
    child(Path("second"))
    lines = found("child")
    assert [line.split()[:2] for line in lines if line.startswith("child")] == [["child/bundle.yaml:2:", "X004"]]
    assert [line.split()[1] for line in lines if line.startswith("base")] == ([own] if own else [])
    together = found("child", "second", "base")
    assert set(lines) < set(together)
    assert len(together) == len(set(together))


def test_binary_and_huge_manifests_of_a_parent() -> None:
    base(Path("base"))
    child(Path("child"))
    Path("base/bundle.yaml").write_bytes(b"name: \xff\n")
    assert [line.split()[1] for line in found("child")] == ["L006", "X004"]
    Path("base/bundle.yaml").write_bytes(b"#" * 2_000_000)
    assert [line.split()[1] for line in found("child")] == ["L007", "X004"]


def test_cycles_show_the_way() -> None:
    for name, parent in (("a", "b"), ("b", "c"), ("c", "b")):
        write(Path(name), {"bundle.yaml": f"format: 1\nextends: ../{parent}\nname: {name}\n"})
    assert found("a") == ["a/bundle.yaml:2: X002 the bundle builds on itself: a → b → c → b"]
    assert found("b") == ["b/bundle.yaml:2: X002 the bundle builds on itself: b → c → b"]
    assert len(found(".")) == 3


def test_a_cycle_through_a_symlink_is_one() -> None:
    write(Path("a"), {"bundle.yaml": "format: 1\nextends: ../again\nname: a\n"})
    Path("again").symlink_to("a")
    assert found("a") == ["a/bundle.yaml:2: X002 the bundle builds on itself: a → a"]


def test_a_child_through_a_symlink_is_resolved_as_by_the_system() -> None:
    base(Path("store/base"), **{"prompts/user.md.j2": "{{ nod }}"})
    child(Path("store/child"))
    Path("here").symlink_to("store/child")
    assert found("here")[0].startswith("here/../base/prompts/user.md.j2:1: P002")


@pytest.mark.parametrize(("levels", "wanted"), [(8, []), (9, ["X003"])])
def test_eight_parents_are_the_most(levels: int, wanted: list[str]) -> None:
    base(Path("l0"))
    for level in range(1, levels + 1):
        write(Path(f"l{level}"), {"bundle.yaml": f"format: 1\nextends: ../l{level - 1}\nname: l{level}\n"})
    assert [line.split()[1] for line in found(f"l{levels}")] == wanted
    assert len(read_folder(Path("l8")).parents) == 8


def test_a_parents_link_out_of_it_is_not_followed() -> None:
    base(Path("base"))
    write(Path(), {"secret.txt": "secret"})
    Path("base/rules.md").symlink_to("../secret.txt")
    child(Path("child"), **{"prompts/user.md.j2": "{% include 'rules.md' %}"})
    lines = found("child")
    assert [line.split()[:2] for line in lines] == [
        ["base/rules.md:1:", "L004"],
        ["child/prompts/user.md.j2:1:", "P004"],
    ]
    assert "rules.md" not in read_folder(Path("child")).files


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_parent_that_may_not_be_read() -> None:
    base(Path("base"))
    child(Path("child"))
    Path("base").chmod(0)
    try:
        assert [line.split()[1] for line in found("child")] == ["X001"]
    finally:
        Path("base").chmod(0o755)


def test_paths_of_parts_still_stay_inside() -> None:
    base(Path("base"))
    child(Path("child"), "prompts: {user: ../base/prompts/user.md.j2}\n")
    assert [line.split()[:2] for line in found("child")] == [["child/bundle.yaml:4:", "L004"]]


# -- zips


def pack(target: Path, *folders: Path, at: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for folder in folders:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.write(file, file.relative_to(at).as_posix())
    return target


def test_a_bundle_may_build_on_a_zip_beside_it() -> None:
    base(Path("pack/base"), **{"prompts/user.md.j2": "{{ nod }}"})
    pack(Path("base.zip"), Path("pack/base"), at=Path("pack"))
    child(Path("child").resolve())
    write(Path("child"), {"bundle.yaml": CHILD.replace("../base", "../base.zip")})
    assert [line.split()[:2] for line in found("child")] == [["base.zip/prompts/user.md.j2:1:", "P002"]]
    write(Path("child"), {"prompts/user.md.j2": "{{ node.name }}!"})
    assert render(load_bundle("child")) == "f!"
    assert read_folder(Path("child")).place("tools/note.pym") == Path("base.zip").resolve()


def test_a_bundle_in_a_zip_may_build_on_a_folder_of_it() -> None:
    base(Path("all/parts/base"))
    write(Path("all"), {"bundle.yaml": CHILD.replace("../base", "parts/middle"), "tools/note.pym": TOOL})
    write(Path("all/parts/middle"), {"bundle.yaml": CHILD})
    bundle = load_bundle(pack(Path("all.zip"), Path("all"), at=Path("all")))
    assert bundle.tools[0].script.code == TOOL
    assert render(bundle) == "plain f"
    write(Path("all/parts/base"), {"prompts/user.md.j2": "{{ nod }}"})
    pack(Path("all.zip"), Path("all"), at=Path("all"))
    assert [line.split()[:2] for line in found("all.zip")] == [["all.zip/parts/base/prompts/user.md.j2:1:", "P002"]]


@pytest.mark.parametrize(
    ("extends", "wanted"),
    [
        ("../base", "X006 the path '../base' of the bundle to build on leaves the zip"),
        ("parts/../../base", "X006 the path 'parts/../../base' of the bundle to build on leaves the zip"),
        ("parts/bse", "X001 the bundle 'parts/bse' does not exist in the zip: did you mean 'parts/base'?"),
        ("parts", "X001 the bundle 'parts' has no bundle.yaml"),
        ("tools/note.pym", "X001 the bundle 'tools/note.pym' is a file"),
        (".", "X002 the bundle builds on itself: all.zip → all.zip"),
    ],
)
def test_a_bundle_in_a_zip_stays_in_it(extends: str, wanted: str) -> None:
    base(Path("base"))
    base(Path("all/parts/base"))
    write(Path("all"), {"bundle.yaml": CHILD.replace("../base", extends), "tools/note.pym": TOOL})
    assert found(str(pack(Path("all.zip"), Path("all"), at=Path("all")))) == [f"all.zip/bundle.yaml:2: {wanted}"]


# -- adapters


def adapter(folder: Path, weights: int = 2_000_000) -> None:
    write(folder, {"lora/adapter_config.json": '{"r": 8}'})
    (folder / "lora" / "adapter_model.safetensors").write_bytes(b"w" * weights)


def test_adapters_of_a_parent_are_taken_from_its_folder() -> None:
    manifest = FILES["bundle.yaml"].replace("model: {plugin: qwen}", "model: {plugin: qwen, adapter: docs}")
    base(Path("base"), **{"bundle.yaml": manifest + "adapters: {docs: {path: lora}}\n"})
    adapter(Path("base"))
    child(Path("child"))
    bundle, parent = load_bundle("child"), load_bundle("base")
    assert bundle.adapters["docs"].peft == Path("base").resolve() / "lora"
    assert bundle.adapters["docs"].digest == parent.adapters["docs"].digest
    digest = bundle.digest
    adapter(Path("base"), 2_000_001)
    assert load_bundle("child").digest != digest


def test_an_adapter_whose_files_two_bundles_have_is_put_together(tmp_path) -> None:
    base(Path("base"), **{"bundle.yaml": FILES["bundle.yaml"] + "adapters: {docs: {path: lora}}\n"})
    adapter(Path("base"))
    child(Path("child"), **{"lora/adapter_config.json": '{"r": 16}'})
    place = load_bundle("child").adapters["docs"].peft
    assert place is not None
    assert place.is_relative_to(tmp_path / "cache")
    assert (place / "adapter_config.json").read_text() == '{"r": 16}'
    assert (place / "adapter_model.safetensors").stat().st_size == 2_000_000
    assert load_bundle("child").adapters["docs"].peft == place


def test_a_named_adapter_replaces_a_shipped_one() -> None:
    base(Path("base"), **{"bundle.yaml": FILES["bundle.yaml"] + "adapters: {docs: {path: lora, base: m}}\n"})
    adapter(Path("base"))
    child(Path("child"), "adapters: {docs: {name: docs-v2}}\n")
    found_adapter = load_bundle("child").adapters["docs"]
    assert (found_adapter.peft, found_adapter.served_name, found_adapter.base) == (None, "docs-v2", "m")


# -- digests and caches


@pytest.mark.parametrize("name", ["bundle.yaml", "tools/note.pym", "prompts/user.md.j2"])
def test_a_change_of_the_parent_is_a_change_of_the_child(name: str) -> None:
    base(Path("base"))
    child(Path("child"), **{"prompts/user.md.j2": PARENT})
    before = load_bundle("child").digest
    key = read_folder(Path("child"), "child").key()
    assert load_bundle("child").digest == before
    write(Path("base"), {name: FILES[name] + "\n"})
    assert load_bundle("child").digest != before
    assert read_folder(Path("child"), "child").key() != key


def test_findings_in_the_cache_know_the_parent() -> None:
    base(Path("base"))
    child(Path("child"))
    assert validate(["child"]) == validate(["child"]) == []
    write(Path("base"), {"prompts/user.md.j2": "{{ nod }}"})
    assert [item.code for item in validate(["child"])] == ["P002"]
    assert [item.code for item in validate(["child"])] == ["P002"]
    shutil.rmtree("base")
    assert [item.code for item in validate(["child"])] == ["X001"]
    base(Path("base"))
    assert validate(["child"]) == []


def test_many_children_read_their_parent_once() -> None:
    base(Path("base"))
    for number in range(20):
        child(Path(f"child{number}"))
    sources = read_all(locate([f"child{number}" for number in range(20)]))
    assert len({id(source.parents[0]) for source in sources}) == 1


def test_catalogs_and_summaries_have_children() -> None:
    base(Path("base"))
    child(Path("child"))
    write(Path("broken"), {"bundle.yaml": "format: 1\nextends: ../bse\nname: broken\n"})
    catalog = Catalog.load(["."])
    assert list(catalog.bundles) == ["base", "child"]
    assert [item.code for item in catalog.diagnostics] == ["X001"]
    assert validation(["."]).bundles == 3


# -- sources that are edited, for editors and for reloading


def test_roots_hold_a_parent_that_is_not_there_yet() -> None:
    child(Path("child"))
    source = read_folder(Path("child"), "child")
    assert source.broken
    assert source.roots() == (Path("child").resolve(), Path("base").resolve())
    child(Path("grandchild"), **{"bundle.yaml": CHILD.replace("../base", "../child")})
    assert read_folder(Path("grandchild")).roots() == tuple(
        Path(name).resolve() for name in ("grandchild", "child", "base")
    )


def codes(source: BundleSource) -> list[str]:
    [checked] = check_bundles([source], use_cache=False)
    return [item.code for item in checked.diagnostics]


def test_an_edited_child_keeps_its_parent() -> None:
    base(Path("base"))
    child(Path("child"))
    source = read_folder(Path("child"), "child")
    shutil.rmtree("base")
    assert codes(source) == []
    edited = source.edited({"prompts/user.md.j2": b"{{ nod }}"})
    assert codes(edited) == ["P002"]
    assert edited.show("prompts/user.md.j2") == "child/prompts/user.md.j2"
    assert source.show("prompts/user.md.j2") == "base/prompts/user.md.j2"
    assert codes(source.edited({"bundle.yaml": (CHILD + "limits: {seconds: 0}\n").encode()})) == ["S005"]


def test_an_edited_manifest_may_name_another_parent_or_none() -> None:
    base(Path("base"))
    base(Path("other"), **{"prompts/user.md.j2": "{{ nod }}"})
    child(Path("child"))
    source = read_folder(Path("child"), "child")
    other = source.edited({"bundle.yaml": CHILD.replace("../base", "../other").encode()})
    assert other.parents[0].shown == "other"
    assert codes(other) == ["P002"]
    assert codes(other.edited({"bundle.yaml": CHILD.encode()})) == []
    assert codes(source.edited({"bundle.yaml": CHILD.replace("../base", "../").encode()})) == ["X001"]
    assert codes(source.edited({"bundle.yaml": b"extends: ["})) == ["Y001"]
    alone = source.edited({"bundle.yaml": CHILD.replace("extends: ../base\n", "").encode()})
    assert alone.parents == ()
    assert set(codes(alone)) == {"S003"}
    plain = read_folder(Path("base"), "base")
    assert codes(plain.edited({"bundle.yaml": CHILD.replace("../base", "../other").encode()})) == []
    assert plain.edited({"bundle.yaml": FILES["bundle.yaml"].encode()}).parents == ()


def test_a_parents_unsaved_buffer_reaches_its_children() -> None:
    base(Path("base"))
    child(Path("child"))
    source = read_folder(Path("child"), "child")
    parent = source.parents[0].edited({"prompts/user.md.j2": b"{{ nod }}"})
    assert codes(source.over(parent)) == ["P002"]
    assert codes(source) == []


# -- whatever it says

STEPS = ["..", ".", "base", "child", "parts", "", "tools", "a" * 300, "~", "\\", "*"]
PATHS = st.text() | st.lists(st.sampled_from(STEPS)).map("/".join)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATHS)
@example("a\nb")
@example("../ba\rse")
def test_whatever_extends_says_is_a_bundle_or_a_finding(extends: str) -> None:
    base(Path("base"))
    base(Path("child/parts/base"))
    write(Path("child"), {"bundle.yaml": json.dumps({"format": 1, "name": "c", "extends": extends}) + "\n"})
    packed = pack(Path("child.zip"), Path("child"), at=Path("child"))
    for source in (read_folder(Path("child"), "child"), read_zip(packed)):
        [checked] = check_bundles([source], use_cache=False)
        assert checked.valid == bool(source.parents and not source.broken)
        assert all(item.span.file.startswith(("child", "base")) for item in checked.diagnostics)
        assert all("\n" not in item.message for item in checked.diagnostics)
        assert source.roots()[0].name in ("child", "child.zip")


# -- templates


def test_a_block_of_the_parents_template_is_replaced() -> None:
    base(Path("base"))
    text = PARENT + "{% block task %}{{ super() }} in {{ params.style }} with {{ mark }}{% endblock %}"
    child(Path("child"), **{"prompts/user.md.j2": text})
    assert found("child") == []
    assert render(load_bundle("child"), style="rich") == "rich f in rich with rich"


def test_templates_of_parents_of_parents() -> None:
    base(Path("base"))
    child(Path("middle"), **{"prompts/user.md.j2": PARENT + "{% block task %}<{{ super() }}>{% endblock %}"})
    text = PARENT + "{% block task %}[{{ super() }}]{% endblock %}"
    middle = CHILD.replace("../base", "../middle")
    child(Path("child"), **{"bundle.yaml": middle, "prompts/user.md.j2": text})
    child(Path("plain"), **{"bundle.yaml": middle})
    above = '{% extends "@parent/@parent/prompts/user.md.j2" %}\n{% block task %}({{ super() }}){% endblock %}'
    child(Path("above"), **{"bundle.yaml": middle, "prompts/user.md.j2": above})
    assert found(".") == []
    assert render(load_bundle("child")) == "plain [<f>]"
    assert render(load_bundle("plain")) == "plain <f>"
    assert render(load_bundle("above")) == "plain (f)"


def test_an_include_of_the_parent_takes_the_childs_file() -> None:
    base(Path("base"), **{"prompts/user.md.j2": "{% include 'prompts/rules.md' %}!", "prompts/rules.md": "base rules"})
    child(Path("child"), **{"prompts/rules.md": "child rules, after {% include '@parent/prompts/rules.md' %}"})
    assert render(load_bundle("base")) == "base rules!"
    assert render(load_bundle("child")) == "child rules, after base rules!"


NOT_THERE = "P004 the template '{}' is not a file of the"

MEANT = "did you mean '@parent/tools/note.pym'?"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (PARENT + "{% block task %}{{ nod }}{% endblock %}", "2: P002 'nod' is not defined; did you mean 'node'?"),
        ("{% include '@parent/none' %}", f"1: {NOT_THERE.format('@parent/none')} parent bundle"),
        ("{% include '@parent/@parent/x' %}", f"1: P004 '@parent/@parent/x' {ABOVE}, and there are 1"),
        (
            "{% include '@parent/tools/not.pym' %}",
            f"1: {NOT_THERE.format('@parent/tools/not.pym')} parent bundle; {MEANT}",
        ),
        ("{% include '../base/x' %}", f"1: {NOT_THERE.format('../base/x')} bundle"),
        ("{% include '@parent/../../x' %}", f"1: {NOT_THERE.format('@parent/../../x')} parent bundle"),
    ],
)
def test_findings_in_templates(text: str, wanted: str) -> None:
    base(Path("base"))
    child(Path("child"), **{"prompts/user.md.j2": text})
    assert found("child") == [f"child/prompts/user.md.j2:{wanted}"]


def test_there_is_no_parent_in_a_bundle_without_one() -> None:
    base(Path("base"), **{"prompts/user.md.j2": "\n" + PARENT})
    [finding] = found("base")
    assert finding == f"base/prompts/user.md.j2:2: P004 '@parent/prompts/user.md.j2' {ABOVE}, and it builds on none"


def test_a_failed_render_names_the_parents_file() -> None:
    base(Path("base"), **{"prompts/user.md.j2": "\n{{ 1 // context.facts }}{% block task %}{% endblock %}"})
    child(Path("child"), **{"prompts/user.md.j2": PARENT + "{% block task %}{{ 1 // context.facts }}{% endblock %}"})
    values = {"node": {"name": "f"}, "params": {}, "context": {"facts": 0}}
    bundle = load_bundle("child")
    with pytest.raises(PromptError, match=r"^base/prompts/user\.md\.j2:2: "):
        bundle.templates.render("prompts/user.md.j2", values)
    write(Path("base"), {"prompts/user.md.j2": "{% block task %}{% endblock %}"})
    with pytest.raises(PromptError, match=r"^child/prompts/user\.md\.j2:2: "):
        load_bundle("child").templates.render("prompts/user.md.j2", values)


def test_templates_that_extend_each_other_across_bundles_are_found() -> None:
    base(Path("base"), **{"prompts/user.md.j2": "{% extends 'prompts/frame.md' %}", "prompts/frame.md": "x"})
    child(Path("child"), **{"prompts/frame.md": "{% extends 'prompts/user.md.j2' %}"})
    [finding] = found("child")
    assert finding.startswith("child/prompts/frame.md:1: P006 the template extends itself: prompts/user.md.j2 →")


def test_names_in_blocks_are_those_that_jinja_sees() -> None:
    blocks = "{% block a %}{{ item }}{% endblock %}{% block b scoped %}{{ item }}{% endblock %}"
    frame = "{% set top = 1 %}{% for item in [1] %}" + blocks + "{% endfor %}"
    base(
        Path("base"),
        **{"prompts/user.md.j2": "{% extends 'frame' %}{% block b %}{{ top }}{% endblock %}", "frame": frame},
    )
    assert found("base") == ["base/frame:1: P002 'item' is not defined"]
    with pytest.raises(PromptError, match="'item' is undefined"):
        load_bundle_anyway("base")
    write(Path("base"), {"frame": frame.replace("{{ item }}", "{{ top }}", 1)})
    assert found("base") == []
    assert render(load_bundle("base")) == "11"


def load_bundle_anyway(place: str) -> None:
    [checked] = check_bundles([read_folder(Path(place))], use_cache=False)
    assert checked.draft.templates is not None
    checked.draft.templates.render("prompts/user.md.j2", {})


def test_a_bundle_with_a_broken_parent_is_not_loaded() -> None:
    child(Path("child"))
    with pytest.raises(BundleError, match=r"child/bundle\.yaml:2:10: X001"):
        load_bundle("child")

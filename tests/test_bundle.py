"""Loading bundles from folders and zips; what a Bundle offers; the Catalog."""

import stat
import zipfile
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest

from engine.bundle import Bundle, Catalog, load_bundle, validate
from engine.errors import BundleError, ConfigError, PromptError, ToolError
from engine.messages import Message, ToolCall
from engine.tools import ScriptRunner, ToolEnvironment

MANIFEST = """\
format: 1
name: docstring
version: 1.2.0
description: Writes docstrings.
model: {plugin: qwen, adapter: docs, sampling: {max_tokens: 64}}
adapters:
  docs: {path: lora/docs, gguf: lora/docs.gguf, base: SmolLM2}
  file: {path: lora/docs.gguf}
  served: {name: fixer-v2}
prompts:
  system: prompts/system.md.j2
  user:
    text: |
      {{ node.name }}: {{ context.guide }} ({{ params.style }})
params:
  style: {type: string, enum: [google, numpy], default: google}
  width: {type: integer, minimum: 40}
nodes: {languages: [python], types: [function, method], when: "not node.docstring and params.width > 50"}
context:
  - {name: guide, path: context/guide.pym}
  - {name: turns, path: context/turns.pym, each: turn}
tools:
  - path: tools/write.pym
    inputs: {docstring: {description: The text., max_length: 400}}
    bind: {source: node.text}
  - {path: tools/write.pym, name: rewrite, bind: {source: node.name}}
loop: {termination_tool: write}
permissions: {write: ["**/*.py"]}
tests: tests/*.yaml
"""
FILES = {
    "prompts/system.md.j2": "Style {{ params.style }}.\n{% include 'prompts/rules.md' %}",
    "prompts/rules.md": "Be short.",
    "context/guide.pym": "style = 'plain'\nstyle\n",
    "context/turns.pym": (
        "from grail import Input, external\nnode_name: str = Input('node_name')\n"
        "@external\nasync def read_file(path: str) -> str: ...\n"
        "node_name + await read_file('a')\n"
    ),
    "tools/write.pym": (
        '"""Write the docstring."""\nfrom grail import Input, external\n'
        "docstring: str = Input('docstring')\nsource: str = Input('source')\n"
        "@external\nasync def replace_node(text: str) -> bool: ...\n"
        "await replace_node(source + docstring)\n"
    ),
    "lora/docs/adapter_config.json": "{}",
    "lora/docs/adapter_model.safetensors": "weights",
    "lora/docs.gguf": "GGUF",
    "tests/case.yaml": 'format: 1\ncases: [{name: one, source: "def f(): ...", params: {width: 80}}]\n',
}


@dataclass(frozen=True)
class Node:
    name: str = "f"
    language: str = "python"
    type: str = "function"
    text: str = "def f(): ..."
    docstring: str | None = None


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))


def make(folder: Path, manifest: str = MANIFEST, **files: str) -> Path:
    for name, text in {"bundle.yaml": manifest, **FILES, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def pack(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return load_bundle(make(tmp_path / "docstring"))


VARIABLES = {
    "node": Node(),
    "params": {"style": "google", "width": 80},
    "context": {"guide": "G", "turns": "T"},
    "node_name": "f",
}


def test_a_bundle_is_resolved(bundle: Bundle, tmp_path) -> None:
    root = tmp_path / "docstring"
    assert (bundle.name, bundle.root) == ("docstring", root)
    docs, file, served = (bundle.adapters[name] for name in ("docs", "file", "served"))
    assert (docs.peft, docs.gguf, docs.base) == (root / "lora/docs", root / "lora/docs.gguf", "SmolLM2")
    assert (file.peft, file.gguf) == (None, root / "lora/docs.gguf")
    assert (served.served_name, served.digest) == ("fixer-v2", "")
    assert len(docs.digest) == 64
    assert docs.digest != file.digest
    assert bundle.get_plugin().name == "qwen"
    assert bundle.get_plugin("smollm").name == "smollm"
    with pytest.raises(ConfigError, match="qwenn"):
        bundle.get_plugin("qwenn")
    options = bundle.constraint_options()
    assert (options.strategy, options.text, options.max_tokens) == ("typed", "forbidden", 64)


def test_public_names_are_not_shadowed_by_modules() -> None:
    import engine.bundle
    import engine.diagnostics
    import engine.manifest

    for room in (engine.bundle, engine.diagnostics, engine.manifest):
        values = [getattr(room, name) for name in room.__all__]  # imports every module behind the names
        assert not any(isinstance(getattr(room, name), ModuleType) for name in room.__all__)
        assert room.__all__ == sorted(room.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
        assert len(values) == len(set(room.__all__))


def test_a_bundle_is_frozen(bundle: Bundle) -> None:
    with pytest.raises(FrozenInstanceError):
        bundle.digest = "x"  # type: ignore[misc]


def test_tool_schemas_hide_what_is_bound(bundle: Bundle) -> None:
    write, rewrite = bundle.tool_schemas
    assert (write.name, rewrite.name) == ("write", "rewrite")
    assert write.description == "Write the docstring."
    assert write.parameters["properties"] == {
        "docstring": {"type": "string", "description": "The text.", "maxLength": 400}
    }
    assert list(rewrite.parameters["properties"]) == ["docstring"]


def test_prompts_render(bundle: Bundle) -> None:
    assert bundle.render_prompt(VARIABLES) == [
        Message("system", "Style google.\nBe short."),
        Message("user", "f: G (google)"),
    ]
    with pytest.raises(PromptError, match=r"prompts/system\.md\.j2:1"):
        bundle.render_prompt({})


def test_params_are_checked(bundle: Bundle) -> None:
    assert bundle.resolve_params({"width": 60}) == {"style": "google", "width": 60}
    for values, words in (
        ({}, "param 'width' .* has no default"),
        ({"width": 3}, "param 'width' .* is not valid: 3 is less than the minimum"),
        ({"width": 60, "style": "x"}, "param 'style'"),
        ({"wdth": 60}, "did you mean 'width'"),
    ):
        with pytest.raises(ConfigError, match=words):
            bundle.resolve_params(values)


@pytest.mark.parametrize(
    ("change", "width", "taken"),
    [
        ({}, 80, True),
        ({"type": "class"}, 80, False),
        ({"language": "rust"}, 80, False),
        ({"docstring": "there"}, 80, False),
        ({}, 45, False),
    ],
)
def test_which_nodes_it_takes(bundle: Bundle, change, width: int, taken: bool) -> None:
    assert bundle.takes(replace(Node(), **change), {"style": "google", "width": width}) is taken


async def test_bound_inputs_stay_with_their_tool(bundle: Bundle) -> None:
    written: list[str] = []

    async def replace_node(text: str) -> bool:
        written.append(text)
        return True

    environment = ToolEnvironment(bundle.bound_inputs(VARIABLES), {"replace_node": replace_node})
    async with ScriptRunner() as runner:
        write, rewrite = bundle.make_tools(runner)
        assert not (await write.call(ToolCall("1", "write", {"docstring": "!"}), environment)).is_error
        assert not (await rewrite.call(ToolCall("2", "rewrite", {"docstring": "!"}), environment)).is_error
        stolen = await write.call(ToolCall("3", "write", {"docstring": "!", "source": "evil"}), environment)
    assert written == ["def f(): ...!", "f!"]
    assert stolen.is_error


async def test_context_providers_run(bundle: Bundle) -> None:
    assert bundle.has_turn_context

    async def read_file(path: str) -> str:
        return f"<{path}>"

    async with ScriptRunner() as runner:
        inputs = bundle.bound_inputs(VARIABLES)
        every = await bundle.run_context(runner, {"read_file": read_file}, each="run", inputs=inputs)
        assert every == {"guide": "plain", "turns": "f<a>"}
        fresh = await bundle.run_context(runner, {"read_file": read_file}, each="turn", inputs=inputs)
        assert fresh == {"turns": "f<a>"}
        with pytest.raises(ToolError, match="context provider 'turns' failed"):
            await bundle.run_context(runner, {}, each="turn", inputs=inputs)


def test_the_digest_follows_what_the_bundle_does(tmp_path) -> None:
    first = load_bundle(make(tmp_path / "a")).digest
    assert load_bundle(make(tmp_path / "b")).digest == first
    changes = {
        "prompts/rules.md": "Be long.",
        "tools/write.pym": FILES["tools/write.pym"] + "\n# more\n1\n",
        "lora/docs/adapter_model.safetensors": "other weights",
    }
    for name, text in changes.items():
        assert load_bundle(make(tmp_path / name.replace("/", "-"), **{name: text})).digest != first
    cases = FILES["tests/case.yaml"].replace("one", "other")
    assert load_bundle(make(tmp_path / "cases", **{"tests/case.yaml": cases})).digest == first


def test_errors_carry_every_finding(tmp_path) -> None:
    folder = make(tmp_path / "b", MANIFEST + "x: 1\n", **{"context/guide.pym": "a = 1\n"})
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert [item.code for item in caught.value.diagnostics] == ["S001", "T009"]
    assert f"{folder}/bundle.yaml:{MANIFEST.count(chr(10)) + 1}:1: S001" in str(caught.value)


def test_sources_that_are_no_bundles(tmp_path) -> None:
    with pytest.raises(BundleError, match="does not exist") as caught:
        load_bundle(tmp_path / "gone")
    assert [item.code for item in caught.value.diagnostics] == ["L001"]
    with pytest.raises(BundleError):
        load_bundle(tmp_path)
    for source in ("git+https://example.org/x.git@main", "https://example.org/x.zip"):
        with pytest.raises(ConfigError, match="clone"):
            load_bundle(source)


def test_a_required_input_of_a_provider_needs_a_value(tmp_path) -> None:
    script = "from grail import Input\nname: str = Input('name')\nname\n"
    found = validate([make(tmp_path / "b", **{"context/guide.pym": script})])
    assert [(item.code, item.span.line) for item in found] == [("T004", 2)]


def test_an_adapter_folder_needs_its_configuration(tmp_path) -> None:
    folder = make(tmp_path / "b")
    (folder / "lora/docs/adapter_config.json").unlink()
    assert [item.code for item in validate([folder])] == ["L003"]


# -- zip


@pytest.mark.parametrize("prefix", ["", "docstring/"])
def test_a_zip_is_the_same_bundle(tmp_path, prefix: str) -> None:
    folder = make(tmp_path / "docstring")
    zipped = load_bundle(pack(folder, tmp_path / "d.zip", prefix))
    plain = load_bundle(folder)
    assert zipped.digest == plain.digest
    assert zipped.render_prompt(VARIABLES) == plain.render_prompt(VARIABLES)
    docs = zipped.adapters["docs"]
    assert docs.peft is not None
    assert (docs.peft / "adapter_model.safetensors").read_text(encoding="utf-8") == "weights"
    assert docs.gguf is not None
    assert docs.gguf.is_relative_to(tmp_path / "cache")
    assert docs.digest == plain.adapters["docs"].digest
    assert load_bundle(tmp_path / "d.zip").adapters["docs"] == docs


def test_findings_in_a_zip_have_their_place(tmp_path) -> None:
    file = pack(make(tmp_path / "docstring", MANIFEST + "x: 1\n"), tmp_path / "d.zip")
    (finding,) = validate([file])
    assert (finding.code, finding.span.file) == ("S001", f"{file}/bundle.yaml")


@pytest.mark.parametrize("name", ["../evil.pym", "/etc/evil.pym", "a/../../evil.pym", "C:/evil.pym", "a\\..\\evil.pym"])
def test_zip_entries_that_leave_the_bundle(tmp_path, name: str) -> None:
    file = pack(make(tmp_path / "docstring"), tmp_path / "d.zip")
    with zipfile.ZipFile(file, "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, "1")
    assert "L004" in [item.code for item in validate([file])]
    with pytest.raises(BundleError):
        load_bundle(file)


def test_zip_links_are_refused(tmp_path) -> None:
    file = pack(make(tmp_path / "docstring"), tmp_path / "d.zip")
    with zipfile.ZipFile(file, "a") as archive:
        info = zipfile.ZipInfo("link.pym")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert [item.code for item in validate([file])] == ["L004"]


def test_zip_bombs_are_refused_before_they_unpack(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("engine.bundle.archive.MAX_ENTRY", 1_000_000)
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.yaml", MANIFEST)
        for number in range(3):
            archive.writestr(f"zeros{number}", b"\0" * 900_000)
    assert file.stat().st_size < 10_000
    assert "L007" in [item.code for item in validate([file])]


def test_zips_with_too_many_entries_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("engine.bundle.archive.MAX_FILES", 10)
    file = tmp_path / "many.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(11):
            archive.writestr(f"{number}", "")
    assert "L007" in [item.code for item in validate([file])]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04garbage", b"no zip at all"])
def test_broken_zips_are_findings(tmp_path, content: bytes) -> None:
    file = tmp_path / "broken.zip"
    file.write_bytes(content)
    assert [item.code for item in validate([file])] == ["L006"]


def test_damaged_zip_contents_are_findings(tmp_path) -> None:
    file = pack(make(tmp_path / "docstring"), tmp_path / "d.zip")
    data = bytearray(file.read_bytes())
    data[60:90] = b"\xff" * 30
    file.write_bytes(bytes(data))
    assert "L006" in [item.code for item in validate([file])]


# -- catalog


def test_the_catalog_holds_what_is_valid(tmp_path) -> None:
    make(tmp_path / "all/a")
    make(tmp_path / "all/b", MANIFEST.replace("name: docstring", "name: lint"))
    make(tmp_path / "all/c", MANIFEST.replace("name: docstring", "name: broken") + "x: 1\n")
    make(tmp_path / "all/d")
    catalog = Catalog.load([tmp_path / "all"], generation=3)
    assert list(catalog.bundles) == ["docstring", "lint"]
    assert catalog.generation == 3
    assert [item.code for item in catalog.diagnostics] == ["S001", "R013"]
    assert catalog.get("lint").name == "lint"
    with pytest.raises(ConfigError, match="there are: docstring, lint"):
        catalog.get("broken")
    with pytest.raises(TypeError):
        catalog.bundles["x"] = catalog.get("lint")  # type: ignore[index]

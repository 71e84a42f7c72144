"""The pages for authors say what is: formats, the table of keywords, the output of commands, the links."""

import re
from pathlib import Path

import pytest
from test_cli import engine as command

from engine.bundle import load_bundle
from engine.grammar import ConstraintOptions
from engine.manifest.bundle_model import ModelSpec
from engine.messages import Message, ToolCall, ToolResult, ToolSchema
from engine.models import PLUGINS, get_plugin

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODELS, GRAMMARS = (ROOT / "docs" / f"{name}.md" for name in ("models", "grammars"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
RENAME = ToolSchema(
    "rename",
    "Rename a symbol.",
    {
        "type": "object",
        "properties": {"new": {"type": "string", "description": "The new name."}, "everywhere": {"type": "boolean"}},
        "required": ["new"],
        "additionalProperties": False,
    },
)

TEXT = {"type": "string"}
DEFS = {
    "short": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
    "tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}}},
}
NAMED = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}}
FREE = {"type": "object", "additionalProperties": {"type": "integer"}}
# The rows of the table in grammars.md, each with schemas that it speaks of.
ROWS = {
    "`type`, `enum`, `const`, `properties`, `required`": [
        *({"type": name} for name in ("string", "integer", "number", "boolean", "null")),
        {"type": ["string", "null"]},
        {"enum": ["a", 1, None]},
        {"const": {"a": 1}},
        {**NAMED, "required": ["a"]},
    ],
    "a list as a constant": [{"const": [1]}, {"enum": ["a", ["b"]]}],
    "no type at all": [{}, True, {"type": "array"}],
    "`minLength`, `maxLength`": [{**TEXT, "minLength": 3}, {**TEXT, "maxLength": 40}],
    "`pattern`": [{**TEXT, "pattern": "^[a-z]{2,9}$"}, {**TEXT, "pattern": r"^[A-Z][^.]*\.$"}],
    "`pattern` with a length that can be joined": [{**TEXT, "pattern": "^[a-z]+$", "maxLength": 9}],
    "`pattern` with a length that cannot": [{**TEXT, "pattern": "^(ab|c)+x(ab|c)+$", "minLength": 7, "maxLength": 9}],
    "`pattern` for nothing but quotes and backslashes": [{**TEXT, "pattern": r'^["\\]{1,3}$'}],
    r"`pattern` with `\b`, or an anchor in a group": [{**TEXT, "pattern": r"^a\b"}, {**TEXT, "pattern": "(^a|b)c"}],
    "`allOf` of two patterns": [{"type": "string", "allOf": [{"pattern": "^a"}, {"pattern": "b$"}]}],
    "`minimum`, `maximum` of an integer": [{"type": "integer", "minimum": 0, "maximum": 9}],
    "`minimum`, `maximum` of a number": [{"type": "number", "minimum": 0}, {"type": "number", "exclusiveMaximum": 1}],
    "`multipleOf`": [{"type": "integer", "multipleOf": 5}],
    "`items`, `minItems`, `maxItems`": [{"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}],
    "`prefixItems`": [{"type": "array", "prefixItems": [{"type": "integer"}, TEXT], "items": False}],
    "over 16 items after `prefixItems`": [
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": TEXT, "maxItems": 40}
    ],
    "`uniqueItems`, `contains`": [
        {"type": "array", "items": TEXT, "uniqueItems": True},
        {"type": "array", "items": TEXT, "contains": TEXT},
    ],
    "`additionalProperties: false`": [{"type": "object", "additionalProperties": False}],
    "free keys": [FREE, {"type": "object"}],
    "`minProperties`, `maxProperties` of free keys": [{**FREE, "minProperties": 1}, {**FREE, "maxProperties": 3}],
    "`minProperties`, `maxProperties` beside `properties`": [
        {**NAMED, "minProperties": 1},
        {**NAMED, "maxProperties": 1},
    ],
    "one closed `patternProperties`": [
        {"type": "object", "patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False}
    ],
    "`patternProperties` otherwise": [
        {**NAMED, "patternProperties": {"^x": {"type": "null"}}},
        {"type": "object", "patternProperties": {"^x": {"type": "null"}, "^y": {}}, "additionalProperties": False},
    ],
    "`propertyNames` of free keys": [{**FREE, "propertyNames": {"pattern": "^[a-z]{1,4}$"}}],
    "`anyOf`, `allOf`, `oneOf` of different types": [
        {"anyOf": [TEXT, {"type": "integer"}]},
        {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]},
        {"oneOf": [{"type": "integer"}, {"type": "null"}]},
    ],
    "`oneOf` whose branches may overlap": [{"oneOf": [{"type": "integer"}, {"type": "number"}]}],
    "a text or a list": [{"anyOf": [TEXT, {"type": "array", "items": TEXT}]}],
    "`$ref`, recursive ones too": [{"$ref": "#/$defs/short"}, {"$ref": "#/$defs/tree"}],
    "`not`, `if`, `dependentRequired`": [
        {"type": "integer", "not": {"const": 1}},
        {"type": "integer", "if": {}},
        {**NAMED, "dependentRequired": {"a": ["b"]}},
    ],
}
COLUMNS = {
    "JSON": ("qwen", "ebnf"),
    "function_gemma": ("function_gemma", "ebnf"),
    "qwen_coder": ("qwen_coder", "ebnf"),
    "json_schema": ("qwen", "json_schema"),
    "openai": ("openai", "json_schema"),
}


def fences(page: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(page.read_text("utf-8")) if found == language]


def section(page: Path, title: str) -> str:
    return page.read_text("utf-8").split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str, columns: int) -> list[list[str]]:
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in found if len(row) == columns]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", other.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("name", PLUGINS)
def test_formats_are_those_of_the_plugins(name: str) -> None:
    plugin = get_plugin(name)
    call, result = ToolCall("call_1", "rename", {"new": "total", "everywhere": True}), '{"changed": 3}'
    history = [Message("user", "Rename it."), Message("assistant", "", (call,))]
    wire = plugin.build_messages(None, None, [RENAME], history)
    written = [str(message["content"]) for message in wire]
    written += [plugin.format_calls([call]), plugin.format_result(ToolResult("call_1", "rename", result))]
    shown = [body for language, body in FENCE.findall(section(MODELS, name)) if language == "text"]
    assert bool(shown) is (name != "openai")
    for block in shown:
        assert any(block.removesuffix("\n") in text for text in written), block
    if shown:
        assert shown[0].removesuffix("\n") == plugin.format_calls([call])


def test_the_table_of_families_names_all_with_their_modes() -> None:
    listed = {row[0].strip("`"): row[3] for row in rows(section(MODELS, "The plugin of a family"), 4)}
    for name in PLUGINS:
        modes = ", ".join(mode for mode in get_plugin(name).modes() if mode != "auto")
        assert listed[name].startswith(modes), name


def test_the_schema_of_a_manifest_names_all_families() -> None:
    named = re.findall(r"\w+", str(ModelSpec.model_fields["plugin"].description))
    assert set(PLUGINS) <= set(named)


def verdict(schema: object, plugin: str, mode: str) -> str:
    """Return what the engine does with an argument of this schema."""
    parameters = {"type": "object", "properties": {"v": schema}, "required": ["v"], "$defs": DEFS}
    problems = get_plugin(plugin).unheld(ToolSchema("t", "", parameters), mode)
    if any(problem.refused for problem in problems):
        return "refused"
    return "checked" if problems else "held"


def test_the_table_of_keywords_is_what_the_engine_does() -> None:
    table = {row[0]: row[1:] for row in rows(section(GRAMMARS, "What typed holds"), 6)}
    assert table.pop("in the schema") == list(COLUMNS)
    table.pop("---", None)
    table = {name: cells for name, cells in table.items() if not name.startswith("-")}
    assert list(table) == list(ROWS)
    for name, schemas in ROWS.items():
        for schema in schemas:
            found = [verdict(schema, *where) for where in COLUMNS.values()]
            assert found == table[name], (name, schema)


def test_the_bounds_under_a_token_limit() -> None:
    tool = ToolSchema("say", "", {"type": "object", "properties": {"s": TEXT}, "required": ["s"]})
    said = dict(re.findall(r"(\d+)\s(?:tokens\s)?(?:leave\s)?(?:it\s|all\s)?(\d+)", section(GRAMMARS, "Bounds")))
    assert len(said) == 3
    for tokens, characters in said.items():
        options = ConstraintOptions(max_tokens=int(tokens))
        assert f"string-0-{characters} ::=" in str(get_plugin("qwen").constraint([tool], options).value)


@pytest.mark.xgrammar
def test_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    reply = tmp_path / "reply.txt"
    bundle = load_bundle(ROOT / "bundles/lint")
    call = ToolCall("1", bundle.tools[0].schema.name, {"codes": "the unused import"})
    reply.write_text(bundle.get_plugin().format_calls([call]))
    shown = fences(GRAMMARS, "console")
    assert len(shown) == 2
    for block in shown:
        line, _, expected = block.partition("\n")
        argv = [str(reply) if word == "reply.txt" else word for word in line.removeprefix("$ engine ").split()]
        assert command(*argv, cwd=ROOT).stdout == expected


@pytest.mark.parametrize("page", [MODELS, GRAMMARS], ids=lambda page: page.name)
def test_python_runs(page: Path) -> None:
    for block in fences(page, "python"):
        exec(compile(block, page.name, "exec"), {})

"""Validation writes and compiles every constraint, once for what has not changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.bundle import load_bundle, validate
from engine.diagnostics import CODES

MANIFEST = """\
format: 1
name: good
description: Does one thing.
model: {{plugin: {plugin}}}
prompts: {{user: user.md.j2}}
tools: [t.pym]
grammar: {{{grammar}}}
"""
TOOL = '"""Keep a name."""\nfrom grail import Input\nname: str = Input("name")\nname\n'
LOOK = """\
import json, sys
import engine.bundle as bundle
found = bundle.validate([sys.argv[1]])
imported = "xgrammar" in sys.modules
bundle.load_bundle(sys.argv[1])
print(json.dumps({"codes": [item.code for item in found], "imported": imported, "loaded": "xgrammar" in sys.modules}))
"""


def make(folder: Path, grammar: str = "", plugin: str = "qwen", prompt: str = "{{ node.text }}\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "bundle.yaml").write_text(MANIFEST.format(plugin=plugin, grammar=grammar), encoding="utf-8")
    (folder / "t.pym").write_text(TOOL, encoding="utf-8")
    (folder / "user.md.j2").write_text(prompt, encoding="utf-8")
    return folder


def look(bundle: Path, cache: Path) -> dict[str, object]:
    """Validate and then load in a process of its own."""
    env = {**os.environ, "ENGINE_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(bundle)], env=env, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.xgrammar
def test_xgrammar_is_imported_only_for_constraints_that_are_new(tmp_path):
    bundle, cache = make(tmp_path / "good"), tmp_path / "cache"
    assert look(bundle, cache) == {"codes": [], "imported": True, "loaded": True}
    assert look(bundle, cache) == {"codes": [], "imported": False, "loaded": False}
    make(bundle, prompt="Look: {{ node.text }}\n")
    assert look(bundle, cache) == {"codes": [], "imported": False, "loaded": False}
    make(bundle, grammar="mode: json_schema")
    assert look(bundle, cache) == {"codes": [], "imported": True, "loaded": True}


@pytest.mark.parametrize(
    ("plugin", "grammar", "expected"),
    [
        ("qwen", "", []),
        ("qwen", "strategy: strict_json, mode: structural_tag, parallel_calls: true, text: allowed", []),
        ("qwen", "mode: json_schema, text: allowed", ["G005"]),
        ("qwen", "text: allowed", []),
        ("openai", "strategy: typed, text: allowed", []),
        ("openai", "strategy: permissive", ["G005"]),
        ("openai", "mode: ebnf", ["G005"]),
    ],
)
def test_what_a_family_cannot_do_is_found(tmp_path, monkeypatch, plugin, grammar, expected):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    bundle = make(tmp_path / "one", grammar, plugin)
    for _ in range(2):  # the second time from the cache
        found = validate([bundle])
        assert [item.code for item in found] == expected, found
        assert all(item.span.file.endswith("bundle.yaml") and item.span.line == 7 for item in found)
    if not expected:
        assert load_bundle(bundle).name == "good"


@pytest.mark.xgrammar
def test_a_grammar_of_the_bundle_may_be_for_llama_cpp_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    bundle = make(tmp_path / "one", "strategy: custom, file: g.ebnf")
    (bundle / "g.ebnf").write_text("root ::= .{1,5}\n", encoding="utf-8")
    assert [item.code for item in validate([bundle])] == ["G007"]
    assert load_bundle(bundle).custom == "root ::= .{1,5}\n"


def test_warnings_do_not_stop_a_bundle():
    assert {CODES[code].severity for code in ("G006", "G007")} == {"warning"}

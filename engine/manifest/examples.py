"""Examples that the JSON Schemas show, by model and field.

They stand apart from the models so that those stay readable; a test checks each against its field, and that no field
lacks one whose values are not listed by its type or shown by its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CASE = {
    "name": "a function gets its docstring",
    "source": "def area(width, height):\n    return width * height\n",
    "expect": {"changes": [{"contains": ['"""'], "same_code_but": ["docstrings"]}]},
}

EXAMPLES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Manifest": {
        "extends": ("../docstring",),
        "name": ("docstring", "api-review"),
        "version": ("1.0.0",),
        "description": ("Writes the docstring that a function lacks.",),
        "adapters": ({"docs": {"path": "lora/docs", "base": "Qwen/Qwen2.5-3B-Instruct"}},),
        "routing": ([{"when": "turn == 1", "adapter": "docs"}, {"after_tool": "run_tests", "adapter": "fixer"}],),
        "params": ({"style": {"type": "string", "enum": ["google", "numpy"], "default": "google"}},),
        "context": ([{"name": "style_guide", "path": "context/style_guide.pym"}],),
        "tools": (
            ["tools/write_docstring.pym"],
            [{"path": "tools/write_docstring.pym", "inputs": {"docstring": {"max_length": 400}}}],
        ),
        "checks": (["parses"], ["parses", {"run": ["ruff", "check", "{file}"]}]),
        "tests": ("tests/*.yaml",),
    },
    "ModelSpec": {
        "plugin": ("qwen", "smollm", "openai"),
        "id": ("Qwen/Qwen2.5-3B-Instruct",),
        "role": ("llm.inference",),
        "adapter": ("docs",),
    },
    "Sampling": {"temperature": (0.0, 0.7), "max_tokens": (512,), "seed": (7,), "stop": (["\n\n"],)},
    "AdapterSpec": {
        "path": ("lora/docs",),
        "gguf": ("lora/docs.gguf",),
        "name": ("docs-v2",),
        "base": ("Qwen/Qwen2.5-3B-Instruct",),
    },
    "Route": {"when": ("turn == 1", "node.type == 'class'"), "after_tool": ("run_tests",), "adapter": ("docs",)},
    "GrammarSpec": {"strategy": ("typed", "typed@1", "strict_json"), "file": ("grammars/call.ebnf",)},
    "InlineText": {"text": ("Write the docstring of {{ node.name }}:\n\n{{ node.text }}\n",)},
    "Prompts": {
        "system": ("prompts/system.md.j2", {"text": "You write docstrings."}),
        "user": ("prompts/user.md.j2", {"text": "Document this:\n\n{{ node.text }}"}),
    },
    "Nodes": {
        "languages": (["python"], ["javascript", "typescript"]),
        "types": (["function", "method"], ["section"]),
        "when": ("not node.docstring", "params.private or not node.name.startswith('_')"),
        "query": ("queries/undocumented.scm",),
    },
    "ContextSpec": {"name": ("style_guide",), "path": ("context/style_guide.pym",)},
    "InputOverride": {
        "description": ("The docstring, without quotes.",),
        "min_length": (10,),
        "max_length": (400,),
        "pattern": (r"^[A-Z][^.]*\.$",),
        "enum": (["low", "high"],),
        "minimum": (1,),
        "maximum": (100,),
        "min_items": (1,),
        "max_items": (5,),
        "default": ("low",),
    },
    "ScriptLimits": {"seconds": (2.0,), "memory": ("32MiB", "1GiB")},
    "ScriptTool": {
        "path": ("tools/write_docstring.pym",),
        "name": ("write",),
        "description": ("Write or replace the docstring.",),
        "inputs": ({"docstring": {"description": "The docstring text.", "max_length": 400}},),
        "bind": ({"source": "node.text", "style": "params.style"},),
        "context": (["style_guide"],),
    },
    "PythonTool": {
        "python": ("package.module:callable",),
        "name": ("search",),
        "description": ("Search the documentation.",),
    },
    "McpServer": {"command": (["uvx", "some-server"],), "tools": (["search"],)},
    "Loop": {"termination_tool": ("submit_result",)},
    "Permissions": {
        "read": (["**/*"], ["src/**/*.py"]),
        "write": (["**/*.py"],),
        "run": ([["ruff", "check"], ["python", "-m", "pytest"]],),
    },
    "RunCheck": {"run": (["ruff", "check", "{file}"],)},
    "TaskLimits": {"cost": (0.02,)},
    "EngineConfig": {
        "bundles": ("bundles",),
        "prices": ({"Qwen/Qwen2.5-3B-Instruct": {"prompt": 0.1, "completion": 0.3}},),
        "operations": ({"docstring": {"bundle": "docstring", "priority": "high", "params": {"style": "google"}}},),
    },
    "BackendSpec": {
        "base_url": ("http://localhost:8000/v1",),
        "api_key_env": ("VLLM_API_KEY",),
        "model": ("qwen2.5-coder-0.5b-instruct", "Qwen/Qwen2.5-3B-Instruct"),
        "file": ("llmhub.yaml",),
    },
    "Operation": {
        "bundle": ("docstring",),
        "types": (["function", "method"],),
        "paths": (["src/**/*.py"],),
        "after": (["lint"],),
        "params": ({"style": "google"},),
        "plugin": ("qwen_coder",),
        "model": ("Qwen/Qwen2.5-Coder-3B-Instruct",),
    },
    "RunSpec": {"concurrency": (16,), "seconds": (3600,), "ray": ("auto", "ray://head:10001")},
    "BudgetSpec": {"tokens": (2_000_000,), "tool_calls": (5000,), "cost": (1.5,)},
    "Price": {"prompt": (0.1,), "completion": (0.3,), "cached": (0.02,)},
    "LogSpec": {"keep_runs": (200,), "keep_days": (90,)},
    "Telemetry": {"otlp": ("http://localhost:4318",)},
    "CaseFile": {"cases": ([_CASE],)},
    "Case": {
        "name": ("a function gets its docstring",),
        "source": (_CASE["source"],),
        "language": ("python", "go"),
        "file": ("tests/sample.py",),
        "path": ("src/shop/area.py",),
        "files": ({"src/shop/__init__.py": ""},),
        "node": ("area", "Account.withdraw"),
        "params": ({"style": "google"},),
    },
    "Expectation": {
        "calls": ([{"tool": "write_docstring", "arguments": {"docstring": "/^Return/"}}],),
        "no_calls": (["delete_file"],),
        "text": ({"contains": ["no docstring"]},),
        "changes": ([{"parses": True, "same_code_but": ["docstrings"]}],),
        "error": ({"contains": ["max_turns"]},),
        "commands": ([["python", "-m", "pytest", "-q"]],),
    },
    "ExpectedCall": {
        "tool": ("write_docstring",),
        "arguments": ({"style": "google", "docstring": r"/^Return .*\.$/"},),
        "result": ({"contains": ["written"]},),
    },
    "ExpectedText": {"contains": (["area"],), "excludes": (["TODO"],), "matches": ("^Return",)},
    "ExpectedChange": {
        "file": ("src/shop/area.py",),
        "kind": ("modified",),
        "contains": (['"""'],),
        "excludes": (["TODO"],),
        "matches": (r"def area\(.*\):\n    \"\"\"",),
        "equals": ('def area(width, height):\n    """Return the area."""\n    return width * height\n',),
        "same_code_but": (["docstrings"], []),
    },
    "Bounds": {"turns": (1,), "tokens": (2000,), "diff_lines": (3,)},
}


def add_examples(schema: dict[str, Any], root: str) -> None:
    """Add the examples to a schema that pydantic made.

    Args:
        schema: The schema; it is changed.
        root: The name of its model, whose properties stand at its top.
    """
    for model, found in {**schema.get("$defs", {}), root: schema}.items():
        for name, examples in EXAMPLES.get(model, {}).items():
            if name in found.get("properties", {}):
                found["properties"][name]["examples"] = list(examples)

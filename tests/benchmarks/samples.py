"""Generated bundles to validate: a manifest of 63 lines, a template of 40, a script of 41, no finding; functions."""

from __future__ import annotations

from pathlib import Path

_MANIFEST = """# yaml-language-server: $schema=../../schemas/bundle.schema.json
format: 1
name: sample-{n}
version: 1.0.{n}
description: Renames what is badly named in module {n}.

model:
  plugin: qwen
  id: Qwen/Qwen2.5-3B-Instruct
  sampling:
    temperature: 0.0
    top_p: 1.0
    max_tokens: 512
    seed: {n}

grammar:
  strategy: typed
  mode: auto
  parallel_calls: false
  text: forbidden

prompts:
  system: {{text: "You rename things in module {n}."}}
  user: prompts/user.md.j2

params:
  style:
    type: string
    enum: [google, numpy, sphinx]
    default: google
    description: Docstring style.
  strict:
    type: boolean
    default: false
    description: Whether short names are refused.

nodes:
  languages: [python]
  types: [function, method]
  when: "not node.docstring"

tools:
  - path: tools/rename.pym
    description: Rename the function.
    inputs:
      new_name: {{description: The better name., max_length: 80}}
      reason: {{description: Why it is better., max_length: 200}}
    bind:
      source: node.text
      style: params.style
    limits: {{seconds: 2, memory: 32MiB}}

loop:
  max_turns: 8
  termination_tool: rename
  history: 50
  on_no_call: fail

permissions:
  read: ["**/*"]
  write: ["**/*.py"]
checks: [parses]
limits: {{seconds: 300, tokens: 20000, tool_calls: 50}}
"""

_TEMPLATE = """# Task {n}

Look at the {{{{ node.type }}}} `{{{{ node.qualified_name }}}}` in {{{{ node.file_path }}}}.

{{% if node.docstring %}}
It says of itself:

> {{{{ node.docstring }}}}

{{% else %}}
It says nothing of itself.
{{% endif %}}

## Rules

{{% for rule in ["short", "clear", "true"] %}}
- The name is {{{{ rule }}}}.
{{% endfor %}}
{{% if params.strict %}}
- A name of fewer than {n} characters is refused.
{{% endif %}}
- Names follow the style {{{{ params.style | upper }}}}.

## Source

Lines {{{{ node.start_line }}}} to {{{{ node.end_line }}}}:

```{{{{ node.language }}}}
{{{{ node.text }}}}
```

{{% set name = node.name %}}
{{% if name | length < 4 %}}
The present name, {{{{ name }}}}, is short.
{{% else %}}
The present name is {{{{ name }}}}.
{{% endif %}}

Call the tool once with the better name.
Give the reason in one sentence.
"""

_SCRIPT = '''"""Rename the function in module {n}."""
from grail import Input, external

new_name: str = Input("new_name", description="The better name.")
reason: str = Input("reason", default="")
source: str = Input("source")
style: str = Input("style", default="google")


@external
async def replace_node(text: str) -> bool:
    """Replace the function's source."""
    ...


@external
async def get_node_metadata() -> dict[str, str]:
    """Return what is known of the function."""
    ...


def words_{n}(name: str) -> list[str]:
    """Split a name at its underscores."""
    return [word for word in name.lower().split("_") if len(word) > {m}]


def is_good_{n}(name: str) -> bool:
    parts = words_{n}(name)
    return bool(parts) and all(part.isalpha() for part in parts) and len(name) < {limit}


metadata = await get_node_metadata()
old_name = metadata.get("name", "")
written = False
summary = f"kept {{old_name}} in the style {{style}}"
if is_good_{n}(new_name) and old_name:
    first, _, rest = source.partition(old_name)
    written = await replace_node(first + new_name + rest)
    summary = f"renamed {{old_name}} to {{new_name}}: {{reason or 'no reason given'}}"
outcome = "success" if written else "partial"
{{"result": written, "summary": summary, "outcome": outcome, "module": {n}}}
'''


def write_bundles(folder: Path, count: int, first: int = 1) -> None:
    """Write bundles into `folder/sample-N`; every script differs from every other."""
    for number in range(first, first + count):
        bundle = folder / f"sample-{number}"
        values = {"n": number, "m": number % 7, "limit": 40 + number}
        for path, text in {
            "bundle.yaml": _MANIFEST,
            "prompts/user.md.j2": _TEMPLATE,
            "tools/rename.pym": _SCRIPT,
        }.items():
            target = bundle / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.format(**values), "utf-8")


FUNCTION = """\
def total_{n}(items: list[dict[str, float]], limit: float = {n}.0) -> dict[str, float]:
    totals: dict[str, float] = {{}}
    for item in items:
        for key, value in item.items():
            if value > limit:
                totals[key] = totals.get(key, 0.0) + value * {n}
    return totals
"""
"""A function without a docstring; `n` makes each another one."""

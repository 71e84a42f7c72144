"""Small real projects and bundles for the tests of the run room and the command line."""

import json
import subprocess
from pathlib import Path

MANIFEST = """\
format: 1
name: note
version: 1.0.0
description: Puts a comment above the first line of a function's body.
model: {plugin: qwen, sampling: {max_tokens: 80}}
prompts:
  system: {text: You comment functions.}
  user: prompts/user.md.j2
nodes: {languages: [python], types: [function, method]}
tools:
  - path: tools/add_comment.pym
    inputs: {comment: {max_length: 60}}
loop: {max_turns: 3, termination_tool: add_comment}
permissions: {read: ["**/*"], write: ["**/*.py"]}
checks: [parses]
"""

TOOL = '''\
"""Add a comment to the function."""
from grail import Input, external

comment: str = Input("comment", description="A few words.")


@external
async def get_node_source() -> str:
    """Return the source."""
    ...


@external
async def replace_node(text: str) -> bool:
    """Replace the source."""
    ...


head, newline, body = (await get_node_source()).partition("\\n")
changed = await replace_node(head + newline + "    # " + comment + "\\n" + body)
{"result": changed, "summary": comment, "outcome": "success"}
'''

SOURCE = """\
def first(a):
    return a


def second(b):
    return b


class Thing:
    def third(self):
        return self
"""


def make_bundle(folder: Path, manifest: str = MANIFEST, tool: str = TOOL) -> Path:
    """Write a bundle whose only tool puts a comment into a function."""
    for name, text in {
        "bundle.yaml": manifest,
        "prompts/user.md.j2": "Comment {{ node.name }}:\n\n{{ node.text }}\n",
        "tools/add_comment.pym": tool,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def make_project(folder: Path, files: dict[str, str] | None = None) -> Path:
    """Write a git repository with these files."""
    for name, text in (files or {"src/a.py": SOURCE}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def call(comment: str, tool: str = "add_comment") -> str:
    """Return a reply that calls the tool, as a qwen model writes it."""
    body = json.dumps({"name": tool, "arguments": {"comment": comment}})
    return f"<tool_call>\n{body}\n</tool_call>"

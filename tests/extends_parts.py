"""Bundles that build on each other, for the tests."""

from __future__ import annotations

from pathlib import Path

MANIFEST = """\
format: 1
name: base
description: Does one thing.
model: {plugin: qwen}
prompts: {user: prompts/user.md.j2}
params: {style: {type: string, enum: [plain, rich], default: plain}}
context:
  - {name: facts, path: context/facts.pym}
tools:
  - tools/note.pym
  - {path: tools/note.pym, name: remark, description: Remark., limits: {seconds: 1}}
"""
FILES = {
    "bundle.yaml": MANIFEST,
    "prompts/user.md.j2": "{% set mark = params.style %}\n{{ mark }} {% block task %}{{ node.name }}{% endblock %}",
    "tools/note.pym": '"""Note."""\nresult = "base"\nresult\n',
    "context/facts.pym": '"""Facts."""\nresult = "facts"\nresult\n',
}
CHILD = "format: 1\nextends: ../base\nname: child\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def base(folder: Path, **files: str) -> Path:
    """Write the bundle that others build on."""
    return write(folder, {**FILES, **files})


def child(folder: Path, more: str = "", **files: str) -> Path:
    """Write a bundle that builds on `../base`."""
    return write(folder, {"bundle.yaml": CHILD + more, **files})

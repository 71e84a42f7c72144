"""Prompts: from texts in the manifest to template files."""

from __future__ import annotations

import re

from engine.bundle.migrate.conversion import Conversion
from engine.manifest import JsonPath

DEFAULT_USER = """\
{{ node_type }} {{ node_name }} in {{ file_path }}:

{{ node_text }}
"""
# Variables of earlier systems that prompts no longer have, and what stands for them.
_VARIABLES = {"input": "node_text", "target": "file_path", "source": "node_text", "code": "node_text"}


def convert_prompts(c: Conversion) -> None:
    """Fill in `prompts`, and add the files."""
    system = _system(c)
    if system.strip():
        name = c.add_file("prompts/system.md.j2", _ended(system).encode())
        c.put(name, "prompts", "system", origin=_first(c, ("initial_context", "system_prompt"), ("system_prompt",)))
    text, origin = _user(c)
    c.put(c.add_file("prompts/user.md.j2", _ended(text).encode()), "prompts", "user", origin=origin)
    c.origins.setdefault(("prompts",), ("initial_context",) if c.old.get("initial_context") else ("prompts",))
    _spare(c)


def _first(c: Conversion, *paths: JsonPath) -> JsonPath | None:
    return next((path for path in paths if c.old.get(*path) is not None), None)


def _system(c: Conversion) -> str:
    """The system prompt, with what was added to it."""
    paths: tuple[JsonPath, ...] = (
        ("initial_context", "system_prompt"),
        ("system_prompt",),
        ("system_prompt_extension",),
        ("prompts", "reactive"),
    )
    parts = [_converted(c, text, path) for path in paths if (text := c.old.text(*path))]
    if c.old.get("prompts", "reactive") is not None and c.shape == "late":
        c.old.note("assumed", ("prompts", "reactive"), "it is the end of the system prompt now")
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())


def _user(c: Conversion) -> tuple[str, JsonPath | None]:
    """The template of the first question."""
    for path in (
        ("initial_context", "user_template"),
        ("initial_context", "node_context"),
        ("prompt_templates", "user"),
    ):
        text = c.old.text(*path)
        if text and text.strip():
            return _converted(c, text, path), path
    c.old.note("assumed", (), "the manifest has no template of the question: it names the node and shows its text")
    return DEFAULT_USER, None


def _spare(c: Conversion) -> None:
    """Keep templates that nothing uses any more as files."""
    for section in ("prompts", "prompt_templates"):
        for key in c.old.mapping(section):
            value = c.old.get(section, key)
            if (section, key) in (("prompts", "reactive"), ("prompt_templates", "user")) or not isinstance(value, str):
                continue
            stem = re.sub(r"[^A-Za-z0-9_-]", "_", key)[:60] or "unnamed"
            name = c.add_file(f"prompts/{stem}.md.j2", _ended(value).encode())
            c.old.lost(
                (section, key), f"there is one question to a task: the text is kept in {name}, which nothing uses"
            )


def _converted(c: Conversion, text: str, path: JsonPath) -> str:
    """Give a template the variables that it reads; a template that does not parse stays as it is."""
    from jinja2 import Environment, TemplateError, meta

    text_before = text
    for old, new in _VARIABLES.items():
        text = re.sub(r"\{\{(-?\s*)" + old + r"(\s*-?)\}\}", r"{{\1" + new + r"\2}}", text)
    try:
        free = meta.find_undeclared_variables(Environment(autoescape=True).parse(text))
    except (TemplateError, RecursionError):
        return text
    used = sorted(free & set(_VARIABLES))
    if "target" in text_before and "file_path" not in text_before and "file_path" in text:
        c.old.note("assumed", path, "the variable target is file_path now")
    return "".join(f"{{% set {name} = {_VARIABLES[name]} -%}}\n" for name in used) + text


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def first_sentence(text: str) -> str:
    """Return the first sentence of a prompt as one plain line, at most 200 characters; empty when there is none."""
    task = re.search(r"<task_description>(.*?)</task_description>", text, flags=re.DOTALL)
    text = task[1] if task and task[1].strip() else text
    plain = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|<[^<>]*>|[#*`]", " ", text, flags=re.DOTALL)
    plain = " ".join("".join(char if char.isprintable() else " " for char in plain).split())
    sentence = re.match(r".+?[.!?](?=\s|$)", plain)
    found = sentence[0] if sentence else plain
    return found if len(found) <= 200 else found[:199].rstrip() + "…"

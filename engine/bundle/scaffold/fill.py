"""The templates of new bundles, filled in.

A template's name ends with `.tmpl`, so that no walk over folders takes the templates for a bundle; `@@{name}` is
filled, everything else is what the author gets.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from engine.bundle.scaffold.outline import Outline
from engine.bundle.scaffold.speech import SPEECH

SUFFIX = ".tmpl"
# A first word, a blank and no sign that means something to YAML.
_PLAIN = re.compile(r"[A-Za-z]+( [\w.(),'/-]+)+", re.ASCII)


class _Blanks(string.Template):
    delimiter = "@@"


def sample(plan: Outline) -> tuple[str, str | None]:
    """Return the path of the sample in the bundle, and the name of the node in it that the case is about."""
    speech = SPEECH[plan.languages[0]]
    node = next(speech.nodes[kind] for kind in plan.types if kind in speech.nodes)
    return f"tests/sample{speech.extension}", node


def fill(plan: Outline, schemas: str | None = None) -> dict[str, str]:
    """Return the files of a new bundle, content by path; bundle.yaml is the last.

    Args:
        plan: What is wanted.
        schemas: Where the exported JSON Schemas lie, relative to the bundle; None leaves out the comments that name
            them to editors.
    """
    values = _values(plan, schemas)
    found = {
        path.removesuffix(SUFFIX).replace("tool.pym", f"{plan.tool}.pym"): _Blanks(text).substitute(values)
        for path, text in _templates(files("engine.bundle.scaffold") / plan.kind)
    }
    samples = files("engine.bundle.scaffold") / "samples"
    found[sample(plan)[0]] = (samples / f"{plan.languages[0]}.txt").read_text("utf-8")
    found["bundle.yaml"] = found.pop("bundle.yaml")
    return found


def _templates(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _templates(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield prefix + entry.name, entry.read_text("utf-8")


def _values(plan: Outline, schemas: str | None) -> dict[str, str]:
    speeches = {name: SPEECH[name] for name in plan.languages}
    first = speeches[plan.languages[0]]
    path, node = sample(plan)
    return {
        "name": plan.name,
        "description": _scalar(plan.description),
        "plugin": plan.plugin,
        "tool": plan.tool,
        "languages": ", ".join(plan.languages),
        "types": ", ".join(plan.types),
        "globs": ", ".join(json.dumps(glob) for speech in speeches.values() for glob in speech.globs),
        "marks": "".join(
            f"    {json.dumps(name)}: ({json.dumps(speech.begin)}, {json.dumps(speech.end)}),\n"
            for name, speech in speeches.items()
        ),
        "begin": first.begin,
        # To Markdown's grammar, a comment is a block like others.
        "same": "" if first.end else ", same_code_but: [comments]",
        "sample": path.rpartition("/")[2],
        "node": f"    node: {node}\n" if node else "",
        "schema": _modeline(schemas, "bundle", ""),
        "tests_schema": _modeline(schemas, "tests", "../"),
    }


def _modeline(schemas: str | None, kind: str, up: str) -> str:
    return f"# yaml-language-server: $schema={up}{schemas}/{kind}.schema.json\n" if schemas else ""


def _scalar(text: str) -> str:
    """Write a text as YAML: plain where that is safe, else quoted."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)

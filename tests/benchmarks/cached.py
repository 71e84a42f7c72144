"""A run in which nothing changed: all of `engine run` on 10,000 nodes from the cache, beside discovery of the tree."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.harness import Aim, Row, Sample, Scale, in_turns, middle, ms_cpu, ms_wall, stopwatch
from tests.benchmarks.instant_server import instant_server
from tests.benchmarks.samples import FUNCTION
from tests.benchmarks.startup import engine
from tests.projects import make_project

_PER_FILE = 10
_MANIFEST = """\
format: 1
name: docs
version: 1.0.0
description: Puts a docstring below the first line of a function.
model: {plugin: qwen, sampling: {max_tokens: 96}}
prompts:
  system: {text: You write docstrings.}
  user: {text: "Document {{ node.name }}:\\n\\n{{ node.text }}"}
grammar: {strategy: none}
nodes: {languages: [python], types: [function]}
tools: [tools/write_docstring.pym]
loop: {max_turns: 1, termination_tool: write_docstring}
permissions: {read: ["**/*"], write: ["**/*.py"]}
checks: [parses]
"""
_TOOL = '''\
"""Write the docstring."""
from grail import Input, external

summary: str = Input("summary", description="One sentence.")


@external
async def get_node_source() -> str:
    """Return the source."""
    ...


@external
async def replace_node(text: str) -> bool:
    """Replace the source."""
    ...


head, newline, body = (await get_node_source()).partition("\\n")
changed = await replace_node(head + newline + '    """' + summary + '."""\\n' + body)
{"result": changed, "summary": summary, "outcome": "success"}
'''


def run(scale: Scale) -> list[Row]:
    count = scale.pick(10_000, 40)
    with tempfile.TemporaryDirectory() as name, instant_server() as url:
        project, bundle = make_functions(Path(name, "project"), count), make_docs_bundle(Path(name, "docs"))
        command = [*engine(), "--quiet", "run", str(bundle), "-t", "src", "--base-url", url]
        _spawn(command, project)  # fills the cache
        _check(_spawn([*command, "--json"], project, read=True), count)
        samples = in_turns(
            {
                "cached": lambda: _timed(command, project),
                "discovery": lambda: _timed([*engine(), "nodes", "src", "--json"], project),
            },
            scale.pick(5, 1),
        )
    ours, other = samples["cached"], samples["discovery"]
    peer = "engine nodes --json"
    return [
        Row(
            "Cache", f"engine run, {count} tasks, all from the cache", "ms", peer,
            middle(ours, ms_wall), middle(other, ms_wall), Aim("ours", "<=", 5000) if not scale.quick else None,
            "From the start of the process to its end: discovery, look-up, events, offered changes.",
        ),
        Row("Cache", "CPU of it", "ms", peer, middle(ours, ms_cpu), middle(other, ms_cpu)),
    ]  # fmt: skip


def make_functions(folder: Path, count: int, per_file: int = _PER_FILE) -> Path:
    """Make a project of so many functions."""
    files = {
        f"src/package_{number // 50}/module_{number}.py": "\n\n".join(
            FUNCTION.format(n=number * per_file + one) for one in range(per_file)
        )
        for number in range(count // per_file)
    }
    return make_project(folder, files)


def make_docs_bundle(folder: Path) -> Path:
    """Make a bundle that answers in one turn."""
    for name, text in {"bundle.yaml": _MANIFEST, "tools/write_docstring.pym": _TOOL}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _timed(argv: Sequence[str], cwd: Path) -> Sample:
    with stopwatch() as figures:
        _spawn(argv, cwd)
    return Sample(**figures)


def _spawn(argv: Sequence[str], cwd: Path, *, read: bool = False) -> str:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE if read else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout or ""


def _check(lines: str, count: int) -> None:
    """See that everything came from the cache, and that every change was offered again."""
    last = json.loads(lines.strip().splitlines()[-1])
    if (last["cached"], last["changes"], last["finished"]) != (count, count, count):
        raise RuntimeError(f"not everything came from the cache: {last}")

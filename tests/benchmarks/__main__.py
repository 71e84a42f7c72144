"""`python -m tests.benchmarks [NAME…] [--quick] [--json | --markdown] [--write PAGE]`."""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from tests.benchmarks.harness import Row, Scale
from tests.benchmarks.report import markdown, sections, text_table, write_between_markers

BENCHMARKS = {
    "startup": "start-up of the command and the package, beside bare Python",
    "validation": "1, 100 and 1000 bundles, beside the parts of the work done bare",
    "reload": "from a save to the new generation with 200 bundles, beside bare inotify",
    "discovery": "the standard library, beside bare tree-sitter",
    "toolcall": "one tool call, beside bare Monty",
    "run": "two turns and a tool call, beside the bare openai SDK and Pydantic AI",
    "tasks": "whole tasks of two turns and a tool call, beside openai SDK, Pydantic AI and LangGraph",
    "grammar": "grammars of 1, 5 and 50 tools: build, compile, masks, beside xgrammar's own structural tags",
    "constrained": "tokens per second under a typed grammar, beside none: embedded and vLLM",
    "throughput": "engine run at 1, 4 and 16 tasks at once, beside a bare load generator: vLLM and embedded",
    "embedded": "tokens per second, beside bare llama.cpp",
    "cached": "engine run of 10,000 nodes from the cache, beside discovery of the same tree",
    "watching": "large runs: plan, --changed-since, the live view, engine top, each beside what it stands on",
    "resume": "going on with 100,000 tasks that are all but done",
    "memory": "memory of a run of 100,000 tasks",
    "eventlog": "stored events per second, beside bare sqlite3",
}


def measure(name: str, scale: Scale) -> list[Row]:
    """Run one benchmark."""
    return import_module(f"tests.benchmarks.{name}").run(scale)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks that the command line names; all without a name. Exit 1 when an aim is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure the engine beside its floors and peers.",
        epilog="\n".join(f"{name:12}{what}" for name, what in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks; all by default")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: to see that they run, not for figures")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the rows as JSON")
    form.add_argument("--markdown", action="store_true", help="print the rows as Markdown tables")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="PAGE",
        help="put the tables between the markers of a page, in place of their last ones",
    )
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    rows: list[Row] = []
    for name in options.names or BENCHMARKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        found = measure(name, Scale(options.quick))
        rows += found
        print(text_table(found), file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    elif options.markdown:
        print(markdown(sections(rows)))
    if options.write:
        write_between_markers(options.write, rows)
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

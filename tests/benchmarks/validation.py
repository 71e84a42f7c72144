"""Validation of 1, 100 and 1000 bundles: cold beside its parts done bare, and again when nothing has changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import ROOT, Aim, Row, Sample, Scale, in_turns, middle, ms_cpu, ms_wall
from tests.benchmarks.samples import write_bundles
from tests.benchmarks.startup import engine, spawn
from tests.benchmarks.worker import worker

_SIZES = {1: 15, 100: 9, 1000: 3}
_QUICK = {1: 1, 3: 1}
_COLD = Aim("ratio", "<=", 1.3)
_UNCHANGED = Aim("ours", "<=", 2000)


def run(scale: Scale) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with worker("validation:Ours") as ours, worker("validation:Floor") as floor:
            for size, rounds in (_QUICK if scale.quick else _SIZES).items():
                below = str(folder / str(size))
                write_bundles(Path(below), size)
                candidates = {
                    "ours": lambda below=below: ours.measure(folder=below),
                    "floor": lambda below=below: floor.measure(folder=below),
                }
                rows += _cold(size, in_turns(candidates, rounds, warm_up=size < 1000))
                rows.append(_unchanged(size, below, folder / "cache", scale))
    return rows


def _cold(size: int, samples: dict[str, list[Sample]]) -> list[Row]:
    ours, floor = samples["ours"], samples["floor"]
    return [
        Row(
            "Validation", f"{_count(size)}, cold, {clock} per bundle", "ms", "its parts, bare",
            middle(ours, per_bundle), middle(floor, per_bundle), _COLD,
        )
        for clock, per_bundle in {"CPU": ms_cpu, "wall": ms_wall}.items()
    ]  # fmt: skip


def _unchanged(size: int, below: str, cache: Path, scale: Scale) -> Row:
    command = [*engine(), "validate", below]
    samples = in_turns(
        {"ours": lambda: spawn(command, cache), "help": lambda: spawn([*engine(), "--help"])}, scale.pick(5, 1)
    )
    ours = samples["ours"]
    return Row(
        "Validation", f"{_count(size)}, unchanged, the whole command", "ms", "engine --help",
        middle(ours, ms_wall), middle(samples["help"], ms_wall), _UNCHANGED if size in (1000, max(_QUICK)) else None,
        f"CPU {middle(ours, ms_cpu):.0f} ms",
    )  # fmt: skip


def _count(size: int) -> str:
    return "1 bundle" if size == 1 else f"{size} bundles"


class Ours:
    """The engine, without its caches."""

    async def open(self) -> None:
        """Have everything imported and built that is made once per process."""
        with tempfile.TemporaryDirectory() as folder:
            write_bundles(Path(folder), 1, first=5000)
            await self.work(folder)

    async def work(self, folder: str) -> float:
        from engine.bundle import validation

        found = validation([folder], use_cache=False)
        if found.diagnostics:
            raise RuntimeError(f"the sample bundles have findings: {found.diagnostics[:3]}")
        return found.bundles

    async def close(self) -> None:
        """Nothing is left open."""


class Floor:
    """The parts of the work and nothing else: no position, no message, no rule of the engine's own."""

    async def open(self) -> None:
        """Build what is made once per process."""
        import json

        from jinja2.sandbox import SandboxedEnvironment
        from jsonschema import Draft202012Validator

        from engine.manifest.bundle_model import Manifest

        schema = json.loads((ROOT / "schemas" / "bundle.schema.json").read_text("utf-8"))
        self._validator = Draft202012Validator(schema)
        self._templates = SandboxedEnvironment(autoescape=False)
        self._manifest = Manifest
        self._constraints = _constraints()
        with tempfile.TemporaryDirectory() as folder:
            write_bundles(Path(folder), 1, first=5000)
            await self.work(folder)

    async def work(self, folder: str) -> float:
        return self._validate([path.parent for path in Path(folder).glob("*/bundle.yaml")])  # noqa: ASYNC240 - alone here

    def _validate(self, bundles: Sequence[Path]) -> int:
        for bundle in bundles:
            self._read_manifest((bundle / "bundle.yaml").read_bytes())
            self._read_template((bundle / "prompts" / "user.md.j2").read_text("utf-8"))
            self._compile()
        _check_types([(bundle / "tools" / "rename.pym").read_text("utf-8") for bundle in bundles])
        return len(bundles)

    def _read_manifest(self, data: bytes) -> None:
        import yaml

        loader = yaml.CSafeLoader(data)
        value = loader.construct_document(loader.get_single_node())
        loader.dispose()
        if list(self._validator.iter_errors(value)):
            raise RuntimeError("the sample manifest does not fit the schema")
        self._manifest.model_validate(_frozen(value), strict=False)

    def _compile(self) -> None:
        """Have xgrammar read the constraint of each mode; writing it is not part of the floor."""
        for read, text in self._constraints:
            read(text)

    def _read_template(self, text: str) -> set[str]:
        from jinja2 import nodes

        return {node.name for node in self._templates.parse(text).find_all(nodes.Name)}

    async def close(self) -> None:
        """Nothing is left open."""


def _constraints() -> list[tuple[Any, str]]:
    """Return a sample bundle's constraints as texts, each with what reads it; none without xgrammar."""
    import json
    from importlib.util import find_spec

    from engine.bundle import load_bundle
    from engine.models import constraint_for

    if find_spec("xgrammar") is None:
        return []
    from xgrammar import Grammar

    with tempfile.TemporaryDirectory() as folder:
        write_bundles(Path(folder), 1, first=5000)
        bundle = load_bundle(next(path.parent for path in Path(folder).glob("*/bundle.yaml")))
        tools, plugin = bundle.tool_schemas, bundle.get_plugin().name
        made = {mode: constraint_for(tools, plugin, mode=mode).value for mode in bundle.get_plugin().modes()}
    readers = {
        "ebnf": Grammar.from_ebnf,
        "structural_tag": Grammar.from_structural_tag,
        "json_schema": Grammar.from_json_schema,
    }
    return [
        (readers[mode], value if isinstance(value, str) else json.dumps(value))
        for mode, value in made.items()
        if mode in readers
    ]


def _frozen(value: Any) -> Any:
    """Lists as tuples, which the strict model wants."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _check_types(texts: Sequence[str]) -> None:
    """Let Monty check every script's types, with as many workers as there are cores."""
    from pydantic_monty import Monty, NameLookupSnapshot

    def check(code: str) -> None:
        limits: Any = {"max_feed_duration_secs": 20.0, "max_memory": 256 * 1024 * 1024}
        with pool.checkout(limits=limits, type_check=True, type_check_stubs=_STUBS) as session:
            snapshot = session.feed_start(f"gate_\n{code}")
            while not isinstance(snapshot, NameLookupSnapshot):
                snapshot = snapshot.resume_auto()

    codes = [_without_declarations(text) for text in texts]
    workers = min(os.cpu_count() or 1, len(codes))
    with Monty(max_processes=workers) as pool, ThreadPoolExecutor(workers) as threads:
        list(threads.map(check, codes))


_STUBS = """gate_: object
new_name: str
reason: str
source: str
style: str
async def replace_node(text: str) -> bool: ...
async def get_node_metadata() -> dict[str, str]: ...
"""


def _without_declarations(text: str) -> str:
    """Leave the declarations out, which stand between the import and the first function."""
    head, rest = text.split("from grail", 1)
    return head + rest[rest.index("def words_") :]

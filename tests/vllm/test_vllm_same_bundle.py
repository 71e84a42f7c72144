"""One bundle, two servers: the embedded llama.cpp and vLLM hold it to the same schema, with the same adapter."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

import engine
from engine.backends import Backend, EmbeddedBackend, OpenAIBackend
from engine.run import RunResult

ROOT = Path(__file__).parents[2]
LIMIT = 6


@pytest.fixture
async def embedded(weights: Path):
    backend = EmbeddedBackend(weights)
    yield backend
    await backend.aclose()


def shop(folder: Path) -> Path:
    shutil.copytree(ROOT / "tests/samples/shop", folder)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


async def documented(folder: Path, backend: Backend) -> RunResult:
    bundle = engine.load_bundle(ROOT / "bundles/docstring")
    options = {"params": {"strict": "never"}, "limit": LIMIT}
    return await engine.run(bundle, [folder], backend=backend, project=folder, **options)


async def test_the_same_bundle_on_both(tmp_path: Path, embedded: EmbeddedBackend, backend: OpenAIBackend) -> None:
    here = await documented(shop(tmp_path / "embedded"), embedded)
    there = await documented(shop(tmp_path / "vllm"), backend)
    for result in (here, there):
        assert (result.status, len(result.tasks)) == ("finished", LIMIT)
        assert {task.adapter for task in result.tasks} == {"docs"}
        assert len(result.changes) >= LIMIT / 2
        for change in result.changes:
            ast.parse(change.after or b"")
    nodes = [{task.task.node.qualified_name for task in result.tasks} for result in (here, there)]
    assert nodes[0] == nodes[1]
    said = [{task.task.node.qualified_name: task.summary for task in result.tasks} for result in (here, there)]
    # One is quantised to four bits and the other is not, so not every sentence is the same; some are.
    assert any(said[0][name] == said[1][name] for name in nodes[0])

"""The rows of the benchmarks that need a vLLM, at their smallest size; how fast anything is, is not judged here."""

from __future__ import annotations

import pytest

from engine.backends import VllmServer
from tests.benchmarks import constrained, throughput
from tests.benchmarks.harness import Scale
from tests.benchmarks.servers import VLLM_URL


@pytest.fixture
def served(vllm_server: VllmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the benchmarks take the suite's server."""
    monkeypatch.setenv(VLLM_URL, vllm_server.base_url)


@pytest.mark.usefixtures("served")
def test_constrained_fills_its_rows() -> None:
    rows = constrained.on_vllm(Scale(quick=True))
    assert len(rows) == 4
    assert all(row.ours and row.other for row in rows), rows


@pytest.mark.usefixtures("served")
def test_throughput_fills_its_rows() -> None:
    rows = throughput.on_vllm(Scale(quick=True))
    assert len(rows) == 12
    assert all(row.ours and (row.other or row.name.endswith("start-up and end")) for row in rows), rows

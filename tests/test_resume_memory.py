"""What a run keeps of a task that has ended."""

import gc
import tracemalloc
from pathlib import Path

from projects import make_bundle, make_project
from scripted_server import ScriptedServer

from engine.app import App, RunRequest
from engine.manifest import EngineConfig
from engine.run import RunResult

_FILLER = "# nothing\n" * 6_000


async def kept_by(count: int, tmp_path: Path, server: ScriptedServer) -> tuple[int, RunResult]:
    """Run a task on each of so many functions of large files; return the bytes that are kept, and the result."""
    files = {
        f"m{number}.py": _FILLER + "\n\n".join(f"def f{at}(a):\n    return a\n" for at in range(10))
        for number in range(count // 10)
    }
    project = make_project(tmp_path / f"p{count}", files)
    request = RunRequest([make_bundle(tmp_path / f"note{count}")], [project], base_url=server.api, cache=False)
    async with App(project, EngineConfig()).session(request) as session:
        await session.check()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        result = await session.run()
        server.requests.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before, result


async def test_a_task_that_has_ended_leaves_no_file_contents_behind(tmp_path: Path, server: ScriptedServer) -> None:
    """100,000 tasks shall fit into 400 MB: a few thousand bytes each, with its node."""
    await kept_by(10, tmp_path, server)  # what is imported and remembered once
    tracemalloc.start(1)
    try:
        few, _ = await kept_by(20, tmp_path, server)
        many, result = await kept_by(100, tmp_path, server)
    finally:
        tracemalloc.stop()
    assert result.count("finished") == 100
    assert (many - few) / 80 < 5_000
    change = result.tasks[-1].changes[0]  # read from the store when it is looked at
    assert change.before is not None
    assert change.before.startswith(_FILLER.encode())
    assert len(result.changes) == result.change_count == 100

"""Runs on a Ray cluster of two nodes: the same results, log and semantics as in one process, whatever dies."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import descendants, wait_until_gone
from projects import call, make_project
from ray_cluster import ENVIRONMENT, RunningCluster, ray_cluster
from scripted_server import slow

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[RunningCluster]:
    """Two nodes with a CPU each."""
    with ray_cluster(tmp_path_factory.mktemp("ray")) as running:
        yield running


def functions(count: int) -> dict[str, str]:
    """A file of functions."""
    return {"src/a.py": "\n\n".join(f"def f{n}(a):\n    return a\n" for n in range(count))}


def start(bundle, project, server, environment, *options: object) -> subprocess.Popen:
    """Start a run on the cluster."""
    argv = [sys.executable, "-m", "engine", "run", bundle, "-t", "src", "--base-url", server.api, "--executor", "ray"]
    return subprocess.Popen(
        [*map(str, argv), "--json", *map(str, options)],
        cwd=project,
        env={**os.environ, **environment, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def engine(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a verb to its end."""
    return subprocess.run(
        [sys.executable, "-m", "engine", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ended(process: subprocess.Popen, seconds: float = 60) -> tuple[int, list[dict], str]:
    """Wait for a run; return its exit code, its JSON lines and its stderr."""
    stdout, stderr = process.communicate(timeout=seconds)
    return process.returncode, [json.loads(line) for line in stdout.splitlines()], stderr


def of_type(lines: list[dict], kind: str) -> list[dict]:
    """The events of one type."""
    return [line for line in lines if line.get("type") == kind]


def assert_gapless(project: Path) -> list[dict]:
    """The newest run's stored events, having seen that none is missing."""
    lines = [json.loads(line) for line in engine("events", cwd=project).stdout.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    return lines


def test_a_run_on_a_cluster_is_the_run_of_one_process(cluster, bundle, tmp_path, server) -> None:
    texts = []
    for executor in ("ray", "local"):
        project = make_project(tmp_path / executor, functions(8))
        process = start(bundle, project, server, cluster.environment, "--apply", "--executor", executor)
        code, lines, stderr = ended(process)
        assert (code, stderr) == (0, "")
        assert len(of_type(lines, "task:finished")) == 8
        texts.append((project / "src/a.py").read_text())
        stored = assert_gapless(project)
        for task in {line["task_id"] for line in stored if line["task_id"]}:
            kinds = [line["type"] for line in stored if line["task_id"] == task]
            inside = ["model:requested", "model:responded", "tool:called", "tool:returned", "turn:completed"]
            assert kinds[:2] == ["task:started", "kernel:started"]
            assert kinds[2:8] == [*inside, "kernel:ended"]
    assert texts[0] == texts[1]
    assert texts[0].count("# does it") == 8


def test_the_tasks_of_a_worker_that_is_killed_run_elsewhere_and_apply_once(cluster, bundle, tmp_path, server) -> None:
    project = make_project(tmp_path / "killed", functions(12))
    killed: list[int] = []
    lock = threading.Lock()

    def answer(body) -> str:
        with lock:
            if len(server.bodies) >= 4 and not killed and (workers := cluster.workers()):
                killed.append(workers[0])
                os.kill(workers[0], signal.SIGKILL)
        time.sleep(0.05)
        return call("does it")

    server.text = answer
    code, _, stderr = ended(start(bundle, project, server, cluster.environment, "--apply", "--concurrency", 4))
    assert (code, stderr) == (0, "")
    assert killed
    stored = assert_gapless(project)
    finished = of_type(stored, "task:finished")
    assert len({event["task_id"] for event in finished}) == len(finished) == 12
    assert {event["outcome"] for event in finished} == {"finished"}
    again = {event["task_id"] for event in of_type(stored, "error:occurred") if event["error_type"] == "lost"}
    assert again
    assert {event["task_id"] for event in finished if event["attempts"] == 2} == again
    assert len(of_type(stored, "change:offered")) == 12
    assert (project / "src/a.py").read_text().count("# does it") == 12


def test_a_task_that_kills_each_worker_fails_after_its_attempts(cluster, bundle, project, server) -> None:
    def answer(body) -> str:
        for pid in cluster.workers():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        return call("never heard")

    server.text = answer
    code, lines, _ = ended(start(bundle, project, server, cluster.environment, "--limit", 1))
    assert code == 1
    (task,) = of_type(lines, "task:finished")
    assert (task["outcome"], task["attempts"]) == ("failed", 2)
    assert "was lost" in task["error"]


def test_ctrl_c_stops_the_tasks_on_the_workers(cluster, bundle, project, server) -> None:
    asked = threading.Event()

    def hangs(handler) -> None:
        asked.set()
        slow(5)(handler)

    server.chat = [hangs] * 3
    process = start(bundle, project, server, cluster.environment)
    assert asked.wait(30)
    process.send_signal(signal.SIGINT)
    code, _, stderr = ended(process)
    assert code == 130
    assert "Traceback" not in stderr
    assert {event["outcome"] for event in of_type(assert_gapless(project), "task:finished")} == {"stopped"}
    deadline = time.monotonic() + 10
    while cluster.workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cluster.workers() == []


def test_the_workers_end_with_their_driver_and_the_run_can_be_gone_on_with(cluster, bundle, tmp_path, server) -> None:
    project = make_project(tmp_path / "resumed", functions(10))

    def answer(body) -> str:
        time.sleep(0.1)
        return call("does it")

    server.text = answer
    process = start(bundle, project, server, cluster.environment, "--concurrency", 2)
    deadline = time.monotonic() + 30
    while len(server.bodies) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=10)
    while cluster.workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cluster.workers() == []
    resumed = engine("resume", cwd=project, **cluster.environment)
    assert resumed.returncode == 0, resumed.stderr
    assert engine("accept", cwd=project).returncode == 0
    assert (project / "src/a.py").read_text().count("# does it") == 10


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "there is no Ray cluster at 127.0.0.1:1"),
        ("ray://127.0.0.1:10001", "the address of a Ray client"),
        ("nonsense", "there is no Ray cluster at nonsense"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_line(address, says, bundle, project, server) -> None:
    (project / "engine.yaml").write_text(f'run: {{ray: "{address}"}}\n')
    code, lines, stderr = ended(start(bundle, project, server, ENVIRONMENT))
    assert code == 2
    assert says in stderr
    assert len(stderr.splitlines()) == 1
    assert lines == []
    assert engine("runs", "--json", cwd=project).stdout.strip() == "[]"


def test_a_worker_without_the_key_says_which_machine_lacks_it(cluster, bundle, project, server) -> None:
    (project / "engine.yaml").write_text(
        f"backend: {{kind: openai, base_url: '{server.api}', api_key_env: ONLY_THE_DRIVER_HAS_IT}}\n"
    )
    environment = {**cluster.environment, "ONLY_THE_DRIVER_HAS_IT": "sesame-418"}
    code, _, stderr = ended(start(bundle, project, server, environment))
    assert code == 2
    assert "the Ray worker on " in stderr
    assert "ONLY_THE_DRIVER_HAS_IT" in stderr
    assert "sesame" not in stderr
    assert len(stderr.splitlines()) == 1


def test_a_cluster_of_its_own_leaves_nothing(bundle, project, server) -> None:
    (project / "engine.yaml").write_text("run: {ray: local}\n")
    process = start(bundle, project, server, ENVIRONMENT)
    marks = set()
    deadline = time.monotonic() + 60
    while not server.bodies and time.monotonic() < deadline:
        marks |= descendants(process.pid)
        time.sleep(0.02)
    code, lines, stderr = ended(process)
    assert (code, stderr) == (0, "")
    assert len(of_type(lines, "task:finished")) == 3
    assert len(marks) > 2
    assert wait_until_gone(marks) == set()


def test_a_budget_is_kept_over_all_workers(cluster, bundle, tmp_path, server) -> None:
    project = make_project(tmp_path / "budget", functions(16))
    server.text = lambda body: call("does it")
    options = ("--concurrency", 8, "--budget", "tool_calls=5")
    code, lines, _ = ended(start(bundle, project, server, cluster.environment, *options))
    assert code == 1
    assert len(of_type(lines, "tool:called")) == 5
    finished = of_type(lines, "task:finished")
    assert [task["outcome"] for task in finished].count("finished") == 5
    assert {task["reason"] for task in finished if task["outcome"] != "finished"} == {"budget_tool_calls"}


def test_tokens_of_a_worker_that_died_count_as_used(cluster, bundle, tmp_path, server) -> None:
    project = make_project(tmp_path / "charged", functions(6))
    killed: list[int] = []

    lock = threading.Lock()

    def answer(body) -> str:
        with lock:
            if not killed:
                killed.extend(cluster.workers())
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.5)
        return call("does it")

    server.text = answer
    options = ("--concurrency", 2, "--budget", "tokens=100000")
    code, lines, _ = ended(start(bundle, project, server, cluster.environment, *options))
    assert code == 0
    lost = of_type(lines, "model:lost")
    assert lost
    assert {event["task_id"] for event in lost} <= {
        event["task_id"] for event in of_type(lines, "error:occurred") if event["error_type"] == "lost"
    }
    assert all(event["usage"]["prompt_tokens"] and "was lost" in event["reason"] for event in lost)

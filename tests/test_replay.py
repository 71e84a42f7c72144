"""Recordings: what they hold, that they say it again, and that they notice every difference."""

from __future__ import annotations

import asyncio
import contextlib
import json
import string
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_parts import ScriptedBackend

from engine.backends import Completion, CompletionRequest, in_force
from engine.backends.canary import canary
from engine.backends.replay import (
    Label,
    RecordingBackend,
    ReplayBackend,
    Tape,
    difference,
    dump_tape,
    file_name,
    load_tape,
    write_tape,
)
from engine.backends.replay.asked import asked
from engine.backends.replay.file import MAX_BYTES
from engine.backends.replay.text import dump, load, plain
from engine.errors import (
    BackendRejected,
    BackendUnavailable,
    ConfigError,
    ContextLengthError,
    ReplayError,
)
from engine.grammar.constraint import Constraint
from engine.manifest.bundle_model import Sampling
from engine.messages import ToolSchema, Usage
from engine.models.base import Adapter

LABEL = Label(bundle="note", case="a case")
# Also lone surrogates, NUL and what no line of a file should be broken at.
TEXT = st.text(st.characters(), max_size=30) | st.text("ab\n\r\t\0 \u2028\u202e\ud800\udc00\udfff", max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(["lines", "value"]), inner, max_size=3)
    ),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT | JSON})
ADAPTER = st.builds(Adapter, st.sampled_from(["docs", "fix"]), digest=st.sampled_from(["", "ab", "cd"]))
CONSTRAINT = st.builds(
    Constraint,
    st.sampled_from(["ebnf", "json_schema", "none"]),
    TEXT | st.dictionaries(TEXT, JSON, max_size=2),
    st.sampled_from(["typed@1", "permissive@1"]),
)
SAMPLING = st.builds(
    Sampling,
    temperature=st.floats(0, 2),
    max_tokens=st.integers(1, 100),
    seed=st.none() | st.integers(0, 9),
    stop=st.lists(st.text(string.ascii_letters + "\n", max_size=3), max_size=2).map(tuple),
)
TOOLS = st.lists(
    st.builds(ToolSchema, st.sampled_from("ab"), st.text(max_size=4), st.dictionaries(TEXT, JSON, max_size=2)),
    max_size=2,
).map(tuple)
REQUEST = st.builds(
    CompletionRequest,
    st.lists(MESSAGE, max_size=3).map(tuple),
    st.none() | st.sampled_from(["m", "n"]),
    CONSTRAINT,
    SAMPLING,
    st.none() | ADAPTER,
    TOOLS,
    st.none() | st.sampled_from(["auto", "required"]),
)
COMPLETION = st.builds(
    Completion,
    TEXT,
    st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2).map(tuple),
    st.sampled_from(["stop", "length", "tool_calls"]),
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
    st.text(max_size=4),
    st.none() | st.just("docs"),
)


def request(text: str = "Do it.", **fields: object) -> CompletionRequest:
    return replace(CompletionRequest([{"role": "user", "content": text}]), **fields)  # type: ignore[arg-type]


def again(tape: Tape) -> Tape:
    """Return the tape as it comes back from its file."""
    text = dump_tape(tape)
    read = load_tape(text.encode(), "a.json")
    assert dump_tape(read) == text
    return read


async def record(script: list, *requests: CompletionRequest, **fields: object) -> Tape:
    backend = RecordingBackend(ScriptedBackend(script, **fields))  # type: ignore[arg-type]
    await backend.model_name()
    await backend.kinds()
    for one in requests:
        with contextlib.suppress(BackendRejected, ContextLengthError):
            await backend.complete(one)
    return again(backend.tape(LABEL))


@given(JSON)
def test_every_value_is_read_back(value: object) -> None:
    text = dump(plain(value))
    assert load(text.encode().decode()) == plain(value)
    assert all(char.isprintable() or char == "\n" for char in text)


@given(st.lists(st.tuples(REQUEST, COMPLETION), max_size=3))
def test_what_was_recorded_is_answered_again(turns: list) -> None:
    async def check() -> None:
        asks = [ask for ask, _ in turns]
        player = ReplayBackend(await record([answer for _, answer in turns] or ["-"], *asks))
        for ask, answer in turns:
            again = await player.complete(ask)
            assert plain(again.text) == plain(answer.text)
            assert plain(again.tool_calls) == plain(answer.tool_calls)
            same = replace(again, text=answer.text, tool_calls=answer.tool_calls)
            assert same == answer
        assert player.problem() is None

    asyncio.run(check())


@given(REQUEST, REQUEST)
def test_every_other_request_is_noticed(recorded: CompletionRequest, other: CompletionRequest) -> None:
    def sent(one: CompletionRequest) -> str:
        adapter = one.adapter and (one.adapter.name, one.adapter.digest)
        tools = [(tool.name, tool.description, plain(tool.parameters)) for tool in one.tools]
        parts = [plain(list(one.messages)), one.model, adapter, one.sampling.model_dump(mode="json"), tools]
        constraint = [one.constraint.kind, one.constraint.strategy, plain(one.constraint.value)]
        return json.dumps([*parts, one.tool_choice, constraint])

    async def check() -> None:
        player = ReplayBackend(await record(["yes"], recorded))
        if sent(recorded) == sent(other):
            assert (await player.complete(other)).text == "yes"
            return
        with pytest.raises(ReplayError) as caught:
            await player.complete(other)
        assert "\n" not in str(caught.value)
        problem = player.problem()
        assert problem is not None
        assert len(problem.splitlines()) > 1

    asyncio.run(check())


CHANGES = {
    "messages": ({"messages": [{"role": "user", "content": "Do that.\nNow."}]}, ["-Do it.", "+Do that."]),
    "model": ({"model": "other"}, ['model: recorded null, now "other"']),
    "adapter": ({"adapter": Adapter("docs", digest="ab")}, ["adapter: recorded null"]),
    "constraint": ({"constraint": Constraint("ebnf", "root ::= [a]", "typed@1")}, ["constraint.kind: recorded"]),
    "sampling": ({"sampling": Sampling(max_tokens=7)}, ["sampling.max_tokens: recorded 512, now 7"]),
    "tools": ({"tools": (ToolSchema("say", "Says.", {"type": "object"}),)}, ['+ "name": "say",']),
    "tool_choice": ({"tool_choice": "auto"}, ['tool_choice: recorded null, now "auto"']),
}


@pytest.mark.parametrize("field", CHANGES)
async def test_a_difference_is_shown_by_field(field: str) -> None:
    changed, shown = CHANGES[field]
    player = ReplayBackend(await record(["yes"], request("Do it.\nNow.")), "tests/recordings/a.json")
    with pytest.raises(ReplayError, match=r"tests/recordings/a\.json: turn 1 asks for something else .*\(" + field):
        await player.complete(replace(request("Do it.\nNow."), **changed))
    problem = player.problem() or ""
    assert all(line in problem for line in shown), problem
    # Nothing is answered after that, not even the recorded request.
    with pytest.raises(ReplayError):
        await player.complete(request("Do it.\nNow."))
    assert player.problem() == problem


async def test_another_text_of_a_constraint_is_a_difference_though_it_is_not_kept() -> None:
    constraint = Constraint("ebnf", "root ::= [a]", "typed@1")
    tape = await record(["a"], request(constraint=constraint))
    assert "root ::=" not in dump_tape(tape)
    player = ReplayBackend(tape)
    with pytest.raises(ReplayError):
        await player.complete(request(constraint=replace(constraint, value="root ::= [b]")))
    assert "constraint: another text of kind ebnf, by strategy typed@1" in (player.problem() or "")


@pytest.mark.parametrize(
    ("recorded", "now", "line"),
    [
        ("\n".join(map(str, range(80000))), "\n".join(map(str, range(1, 80000, 2))), "-0"),
        ("a\nb\n" * 40000, "a\nb\n" * 30000 + "c", "… and 805 more lines"),
        ("x" * 100000, "x" * 90000, "-" + "x" * 499 + "…"),
        ("a\n" * 50000, "a\n" * 50000 + "b", "+b"),
    ],
)
async def test_a_difference_of_large_prompts_is_short(recorded: str, now: str, line: str) -> None:
    shown = difference(asked(request(recorded)), asked(request(now)))
    assert line in shown.splitlines()
    assert len(shown) < 5000


async def test_more_requests_than_recorded() -> None:
    player = ReplayBackend(await record(["yes"], request()), "a.json")
    await player.complete(request())
    with pytest.raises(ReplayError, match=r"^a\.json: the recording ends after 1 reply, and another request was made$"):
        await player.complete(request("And now?"))
    assert "+And now?" in (player.problem() or "")


async def test_replies_that_are_left_are_reported() -> None:
    player = ReplayBackend(await record(["yes", "no", "well"], request("1"), request("2"), request("3")))
    assert (await player.complete(request("1"))).text == "yes"
    assert player.problem() == "2 recorded replies were not asked for: the run ended before"


async def test_a_stream_is_recorded_and_replayed() -> None:
    recorder = RecordingBackend(ScriptedBackend(["Hello, world"]))
    pieces = [piece async for piece in recorder.stream(request())]
    assert len(pieces) > 2
    player = ReplayBackend(again(recorder.tape(LABEL)))
    text, completion = [piece async for piece in player.stream(request())]
    assert text == "Hello, world"
    assert completion == pieces[-1]


async def test_a_stream_that_is_broken_off_is_no_recording() -> None:
    recorder = RecordingBackend(ScriptedBackend(["Hello, world"]))
    async with contextlib.aclosing(recorder.stream(request())) as pieces:
        async for _ in pieces:
            break
    with pytest.raises(ConfigError, match="the case 'a case' is not recorded: a request got no reply"):
        recorder.tape(LABEL)


@pytest.mark.parametrize("error", [BackendRejected("no such grammar"), ContextLengthError("5000 tokens")])
async def test_a_refusal_is_a_reply(error: Exception) -> None:
    player = ReplayBackend(await record([error], request()))
    with pytest.raises(type(error), match=str(error)):
        await player.complete(request())
    assert player.problem() is None


async def test_a_failure_that_may_pass_is_not_recorded() -> None:
    recorder = RecordingBackend(ScriptedBackend([BackendUnavailable("overloaded"), "yes"]))
    with pytest.raises(BackendUnavailable):
        await recorder.complete(request())
    await recorder.complete(request())
    with pytest.raises(ConfigError, match=r"not recorded: a request got no reply \(overloaded\)"):
        recorder.tape(LABEL)


@pytest.mark.parametrize("enforces", [True, False])
async def test_canaries_are_answered_as_they_were(enforces: bool) -> None:
    recorder = RecordingBackend(ScriptedBackend(["hello"], enforces=enforces))
    assert (await in_force(recorder, "ebnf")).in_force is enforces
    tape = again(recorder.tape(LABEL))
    assert not tape.turns
    for _ in range(2):
        player = ReplayBackend(tape)
        found = await in_force(player, "ebnf")
        assert found.in_force is enforces
        assert player.problem() is None
    assert "zebra" not in dump_tape(tape)


async def test_a_canary_in_arguments_and_a_refused_one() -> None:
    word = "zebra-123abc"

    async def answer(_: CompletionRequest) -> Completion:
        call = {"function": {"name": "say", "arguments": json.dumps({"text": sent[-1]})}}
        return Completion("", (call,), "tool_calls", Usage(1, 2))

    sent: list[str] = []
    backend = ScriptedBackend([answer])
    recorder = RecordingBackend(backend)
    ask = CompletionRequest([{"role": "user", "content": _asked()}], constraint=canary("strict_tools", word))
    sent.append(word)
    await recorder.complete(ask)
    player = ReplayBackend(again(recorder.tape(LABEL)))
    assert (await in_force(player, "strict_tools")).in_force

    recorder = RecordingBackend(ScriptedBackend([BackendRejected("unknown field")]))
    assert (await in_force(recorder, "json_schema")).refused
    assert (await in_force(ReplayBackend(again(recorder.tape(LABEL))), "json_schema")).refused


def _asked() -> str:
    from engine.backends import canary as module

    return module._ASKED  # type: ignore[attr-defined]


async def test_a_canary_that_was_not_recorded_fails() -> None:
    player = ReplayBackend(await record(["yes"], request()))
    with pytest.raises(ReplayError, match="does not say whether scripted enforces a constraint of kind ebnf"):
        await in_force(player, "ebnf")
    assert player.problem() is not None


async def test_what_the_backend_says_about_itself_is_kept() -> None:
    class Peculiar(ScriptedBackend):
        plugin = "smollm"

        def accepts(self, adapter):  # type: ignore[no-untyped-def]
            return adapter.name == "docs"

        async def spelled(self, constraint):  # type: ignore[no-untyped-def]
            if constraint.kind == "ebnf":
                raise BackendRejected("it takes no EBNF")
            return {"x": 1}

    recorder = RecordingBackend(Peculiar(["yes"], counted=17))
    assert (recorder.name, recorder.url, recorder.concurrency, recorder.plugin) == (
        "scripted",
        "the scripted backend",
        1,
        "smollm",
    )
    docs, fix = Adapter("docs"), Adapter("fix")
    assert [recorder.accepts(docs), recorder.accepts(fix)] == [True, False]
    assert await recorder.model_name() == "m"
    assert await recorder.software() == "a script"
    kinds = await recorder.kinds()
    await recorder.prepare([docs])
    ebnf, schema = Constraint("ebnf", "root ::= [a]"), Constraint("json_schema", {})
    assert await recorder.spelled(schema) == {"x": 1}
    with pytest.raises(BackendRejected):
        await recorder.spelled(ebnf)
    assert await recorder.count_tokens([{"role": "user", "content": "x"}]) == 17
    player = ReplayBackend(again(recorder.tape(LABEL)), "a.json")
    assert (player.name, player.url, player.plugin) == ("scripted", "a.json", "smollm")
    assert [player.accepts(docs), player.accepts(fix), player.accepts(Adapter("new"))] == [True, False, True]
    assert (await player.model_name(), await player.kinds()) == ("m", kinds)
    assert await player.software() == "a.json of scripted"
    await player.prepare([docs])
    assert await player.spelled(schema) == {}
    with pytest.raises(BackendRejected, match="no EBNF"):
        await player.spelled(ebnf)
    assert await player.count_tokens([{"role": "user", "content": "x"}]) == 17


async def test_tokens_that_were_not_counted_are_those_of_the_reply() -> None:
    player = ReplayBackend(await record([Completion("yes", usage=Usage(12, 1))], request()))
    assert await player.count_tokens(request().messages) == 12
    with pytest.raises(ReplayError):
        await player.count_tokens(request("Another prompt").messages)
    assert "+Another prompt" in (player.problem() or "")


async def test_closing_a_recorder_closes_what_is_inside() -> None:
    inner = ScriptedBackend(["yes"])
    await RecordingBackend(inner).aclose()
    assert inner.closed
    await ReplayBackend(await record(["yes"])).aclose()


async def test_folders_of_commands_are_not_recorded(tmp_path: Path) -> None:
    place = Path(tempfile.gettempdir()).resolve()  # noqa: ASYNC240 - a test
    tape = await record(["yes"], request(f"in {place}/engine-view-ab12_cd9/project/a.py: x"))
    assert tape.turns[0].request.messages[0]["content"] == "in <temporary>/project/a.py: x"
    player = ReplayBackend(tape)
    assert await player.complete(request(f"in {place}/engine-view-zz_other/project/a.py: x"))


async def test_a_recording_is_text_that_git_can_compare(tmp_path: Path) -> None:
    tape = await record([Completion("one\ntwo", usage=Usage(3, 2, 1), model="m")], request("Do it.\nNow."))
    write_tape(tape, tmp_path / "tests" / "recordings" / "a.json")
    assert [path.name for path in (tmp_path / "tests" / "recordings").iterdir()] == ["a.json"]
    text = (tmp_path / "tests" / "recordings" / "a.json").read_text()
    assert '\n        "Do it.",\n        "Now."\n' in text
    assert "cached" not in text
    assert load_tape(text.encode(), "a.json") == tape


BROKEN = {
    "": "a.json is no recording: Expecting value",
    "{": "a.json is no recording: Expecting property name",
    "[]": "a.json is no recording: it has no 'format'",
    "{}": "a.json is no recording: it has no 'format'",
    '{"format": 2}': "a.json has the format '2'; this version of the engine reads 1",
    '{"format": "1"}': "a.json has the format '1'; this version of the engine reads 1",
    '{"format": 1}': "a.json is no recording: label: Field required",
    '{"format": 1, "x": {"lines": 3}}': "a.json is no recording: the lines of a text are not a list of texts",
    "[" * 100000: "a.json is no recording: it is nested too deeply",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_recording_is_one_clear_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_tape(text.encode(), "a.json")
    assert str(caught.value).startswith(BROKEN[text])
    assert "\n" not in str(caught.value)


def test_other_broken_recordings() -> None:
    with pytest.raises(ConfigError, match="it is not UTF-8 at byte 1"):
        load_tape(b"[\xff", "a.json")
    with pytest.raises(ConfigError, match=f"more than {MAX_BYTES}"):
        load_tape(b" " * (MAX_BYTES + 1), "a.json")
    tape = {"format": 1, "label": {"bundle": "b", "case": "c"}, "turns": [{"request": _plain_request()}]}
    server = {"backend": "b", "model": None, "plugin": None, "kinds": [], "adapters": {}}
    raw = json.dumps({**tape, "server": server}).encode()
    with pytest.raises(ConfigError, match="either a reply or a refusal"):
        load_tape(raw, "a.json")


def _plain_request() -> dict[str, object]:
    constraint = {"kind": "none", "strategy": "none", "sha256": ""}
    return {"messages": [], "model": None, "adapter": None, "constraint": constraint, "sampling": {}}


@given(
    st.binary(max_size=60)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
    | JSON.map(lambda value: json.dumps({"format": 1, "label": value, "turns": [value], "server": value}).encode())
)
def test_no_file_breaks_the_reader(raw: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        load_tape(raw, "a.json")
    assert "\n" not in str(caught.value)


async def test_a_recording_that_is_too_large_is_not_written(tmp_path: Path) -> None:
    recorder = RecordingBackend(ScriptedBackend(["x" * MAX_BYTES]))
    await recorder.complete(request())
    with pytest.raises(ConfigError, match="more than the 1048576 that one may have"):
        write_tape(recorder.tape(LABEL), tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_tape(await record(["x"]), tmp_path / "recordings" / "a.json")


LABELS = st.builds(
    Label,
    bundle=st.just("b"),
    case=st.text(min_size=1, max_size=70) | st.text("ab -.@A1", min_size=1, max_size=8),
    variant=st.text(max_size=8) | st.text("ab -.@A1", max_size=5),
    repeat=st.integers(1, 3),
)


@given(LABELS, LABELS)
def test_every_label_has_a_file_of_its_own(one: Label, other: Label) -> None:
    name = file_name(one)
    assert set(name) <= set(string.ascii_lowercase + string.digits + "-.@")
    assert not name.startswith((".", "-"))
    assert len(name) < 200
    assert (name == file_name(other)) == (one == other)


def test_names_of_files_can_be_read() -> None:
    assert file_name(LABEL) == "a-case.json"
    assert file_name(LABEL.model_copy(update={"repeat": 3, "variant": "none"})) == "a-case.none@3.json"
    assert file_name(Label(bundle="b", case="a-case")).startswith("a-case-")

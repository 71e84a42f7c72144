"""Native tools APIs: streamed calls, strict schemas, history and ids."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.models.api_calls import CallAssembler, read_api_calls


def _delta(index=0, **function):
    delta = {"index": index, "id": function.pop("id", None), "function": function}
    return {key: value for key, value in delta.items() if value is not None}


def _assembled(*deltas):
    assembler = CallAssembler()
    for delta in deltas:
        assembler.add([delta])
    return assembler.calls()


def _call(ident, name, arguments):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_id_and_name_come_first_and_then_the_arguments_in_pieces():
    assembler = CallAssembler()
    assembler.add(None)
    assembler.add([_delta(id="a", name="save", arguments=""), _delta(1, id="b", name="load")])
    assembler.add([_delta(1, arguments='{"x"'), _delta(0, arguments='{"y": ')])
    assembler.add([_delta(0, arguments="1}"), _delta(1, arguments=": 2}")])
    assert assembler.calls() == [_call("a", "save", '{"y": 1}'), _call("b", "load", '{"x": 2}')]


@pytest.mark.parametrize(
    "deltas",
    [
        [_delta(None, id="a", name="save", arguments="{"), _delta(None, arguments="}"), _delta(None, id="b", name="f")],
        [_delta(0, id="a", name="save"), _delta(0, id="a", name="save", arguments="{}"), _delta(0, id="b", name="f")],
        [_delta(None, id="a", name="save"), _delta(None, id="b", name="f"), _delta(None, id="a", arguments="{}")],
        [_delta(0, id="a"), _delta(0, name="save", arguments={}), _delta(None, id="b", name="f")],
    ],
)
def test_servers_that_leave_out_or_repeat_parts(deltas):
    assert _assembled(*deltas) == [_call("a", "save", "{}"), _call("b", "f", "")]


def test_without_index_and_id_a_name_begins_a_call():
    whole = _delta(None, name="save", arguments="{}")
    assert _assembled(whole, whole) == [_call(None, "save", "{}"), _call(None, "save", "{}")]
    good, bad = read_api_calls(_assembled(whole, whole))
    assert [call.id for call in good] == ["call_1", "call_2"]
    assert bad == ()


def test_what_is_no_delta_is_reported():
    good, bad = read_api_calls(_assembled("text", None, _delta(id="a", name="f", arguments="{}"), {"function": 1}))
    assert [call.id for call in good] == ["a"]
    assert len(bad) == 2
    assert all("no function name" in call.problem for call in bad)


@given(st.data())
def test_any_cut_of_the_pieces_gives_the_same_calls(data):
    calls = [
        _call(f"id{number}", data.draw(st.sampled_from(["save", "load"])), json.dumps({"x": data.draw(st.text())}))
        for number in range(data.draw(st.integers(1, 3)))
    ]
    queues = []
    for number, call in enumerate(calls):
        text = call["function"]["arguments"]
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        first = _delta(number, id=call["id"], name=call["function"]["name"])
        queues.append([first, *(_delta(number, arguments=piece) for piece in pieces)])
    deltas = [queue.pop(0) for queue in queues]
    while any(queues):
        deltas.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    assert _assembled(*deltas) == calls

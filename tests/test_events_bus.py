"""The bus, the JSON of events and the debug trace."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Bus, ErrorOccurred, Event, Observer, RunFinished, RunStarted, ToolCalled, event_to_json, types
from engine.events.encode import dump, load
from engine.messages import Usage


def called(**arguments):
    return ToolCalled(run_id="r", task_id="t", turn=1, call_id="c", tool="f", arguments=arguments)


class Names:
    """Implements only some methods, and inherits from nothing."""

    def __init__(self):
        self.seen = []

    async def on_event(self, event):
        self.seen.append(("any", event.type))

    async def on_tool_call(self, event):
        self.seen.append(("tool", event.tool))


async def test_an_observer_gets_every_event_and_the_methods_it_has():
    one = Names()
    bus = Bus(None, one)
    await bus.emit(called())
    await bus.emit(ErrorOccurred(error_type="X", message="m"))
    assert one.seen == [("any", "tool:called"), ("tool", "f"), ("any", "error:occurred")]


async def test_a_subclass_of_observer_may_leave_methods_out():
    class Late(Observer):
        def __init__(self):
            self.calls = 0

        async def on_tool_call(self, event, /):
            self.calls += 1

    late = Late()
    await Bus(late).emit(called())
    assert late.calls == 1


async def test_a_failing_observer_is_logged_and_the_next_still_hears(caplog):
    class Broken:
        async def on_event(self, event):
            raise RuntimeError("broken observer")

    one = Names()
    bus = Bus(Broken(), one)
    await bus.emit(called())
    assert one.seen
    assert "broken observer" in caplog.text
    assert {record.name for record in caplog.records} == {"engine.events"}


async def test_buses_nest_and_observers_come_and_go():
    one, two = Names(), Names()
    inner = Bus(one)
    outer = Bus(inner)
    await outer.emit(called())
    inner.add(two)
    inner.remove(one)
    inner.remove("never added")
    await outer.emit(called())
    assert (len(one.seen), len(two.seen)) == (2, 2)


async def test_debug_shows_a_trace_and_nothing_is_printed_otherwise(caplog, capsys):
    await Bus().emit(called(text="\ud800"))
    assert not caplog.records
    with caplog.at_level(logging.DEBUG, "engine.events"):
        await Bus().emit(called(text="\ud800"))
    assert caplog.messages == ['tool:called {"turn":1,"call_id":"c","tool":"f","arguments":{"text":"\\ud800"}}']
    assert capsys.readouterr() == ("", "")


def test_event_to_json_is_flat_and_carries_its_place():
    event = RunFinished(
        run_id="r", status="finished", finished=1, failed=0, stopped=0, changes=1, seconds=0.5, usage=Usage(3, 4)
    )
    assert event_to_json(event, 7, 12.5) == {
        "seq": 7,
        "time": 12.5,
        "type": "run:finished",
        "run_id": "r",
        "task_id": "",
        "status": "finished",
        "finished": 1,
        "failed": 0,
        "stopped": 0,
        "changes": 1,
        "seconds": 0.5,
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "cached_tokens": 0},
        "skipped": 0,
        "cached": 0,
        "cost": None,
    }


def test_every_event_type_has_its_own_name_and_an_observer_method():
    kinds = [kind for kind in vars(types).values() if isinstance(kind, type) and issubclass(kind, Event)]
    kinds.remove(Event)
    assert len({kind.type for kind in kinds}) == len(kinds) == len({kind.method for kind in kinds})
    assert {kind.method for kind in kinds} == {name for name in vars(Observer) if name.startswith("on_")} - {"on_event"}


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=8)
    | st.dates()
    | st.text(st.characters(codec=None), max_size=8)
    | st.just(Path("x"))
    | st.just(object),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(
            st.text(max_size=3) | st.integers() | st.binary(max_size=3) | st.tuples(st.integers()) | st.floats(),
            inner,
            max_size=3,
        )
        | st.frozensets(st.integers())
        | st.dictionaries(st.text(max_size=2), inner).map(MappingProxyType)
    ),
    max_leaves=12,
)


@given(anything)
def test_any_value_becomes_strict_ascii_json(value):
    text = dump({"value": value})
    assert text.isascii()
    assert set(strict(text)) == {"value"}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), json_values))
def test_json_values_come_back_whole(value):
    assert load(dump(value)) == value


def test_what_json_cannot_hold_is_spelled_out():
    class Hostile:
        def __repr__(self):
            raise RuntimeError

    loop = []
    loop.extend([loop, loop])
    deep = []
    for _ in range(100_000):
        deep = [deep]
    value = {
        "a": b"\xff",
        "b": float("nan"),
        "c": -float("inf"),
        "d": Path("p"),
        "e": Hostile(),
        "f": loop,
        3: Usage(1),
        "g": 16**5000,
    }
    assert strict(dump(value)) == {
        "a": {"base64": "/w=="},
        "b": "nan",
        "c": "-inf",
        "d": "p",
        "e": "<Hostile>",
        "f": ["<list>", "<list>"],
        "g": "0x1" + 5000 * "0",
        "3": {"prompt_tokens": 1, "completion_tokens": 0, "cached_tokens": 0},
    }
    assert "<list>" in dump(deep)
    while deep:  # a recursive deallocation of 100,000 levels is the interpreter's own problem
        deep = deep.pop()


def test_unreadable_text_is_given_back():
    assert load("{") == {"unreadable": "{"}
    assert load("[1]") == {"unreadable": "[1]"}


def test_a_payload_shares_nothing_but_is_plain():
    event = RunStarted(run_id="r", bundles=("b",), targets=(), settings={"seed": 1})
    assert event.payload() == {
        "bundles": ("b",),
        "targets": (),
        "settings": {"seed": 1},
        "request": {},
        "digests": {},
    }

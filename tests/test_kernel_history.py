"""Trimming: the head stays, and no call is parted from its result."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.kernel import trim
from engine.messages import Message, ToolCall


@st.composite
def conversations(draw):
    messages = [Message("system", "s")] * draw(st.integers(0, 2)) + [Message("user", "first")] * draw(st.integers(0, 1))
    for turn in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["call", "text", "user", "orphan"]))
        if kind == "call":
            # Models number their calls anew in each turn, so ids repeat across turns.
            ids = [f"call_{number}" for number in range(draw(st.integers(1, 4)))]
            messages.append(Message("assistant", str(turn), tool_calls=tuple(ToolCall(one, "f", {}) for one in ids)))
            between = [Message("user", "note")] if draw(st.booleans()) else []
            results = [
                Message("tool", f"{turn} {one}", tool_call_id=one, name="f") for one in draw(st.permutations(ids))
            ]
            messages += [*results[:1], *between, *results[1:]]
        elif kind == "orphan":
            messages.append(Message("tool", str(turn), tool_call_id="lost", name="f"))
        else:
            messages.append(Message("assistant" if kind == "text" else "user", str(turn)))
    return messages


def pairs(messages):
    """The places of each result and of the call that it answers."""
    caller, found = {}, []
    for place, message in enumerate(messages):
        caller |= {call.id: place for call in message.tool_calls}
        if message.role == "tool" and message.tool_call_id in caller:
            found.append((caller[message.tool_call_id], place))
    return found


@given(conversations(), st.integers(1, 60))
def test_trimming_keeps_head_order_and_pairs(messages, keep):
    before = list(messages)
    kept = trim(messages, keep)
    assert messages == before
    places = {id(message) for message in kept}
    if len(messages) <= keep:
        assert kept == messages
        return
    # Messages may be the same object twice (the system turns), so compare the tail by place.
    tail = next(
        size for size in range(len(kept), -1, -1) if kept[len(kept) - size :] == messages[len(messages) - size :]
    )
    start = len(messages) - tail
    for call, result in pairs(messages):
        assert (call >= start) == (result >= start)
    first = [message for message in messages if message.role == "user"][:1]
    assert all(id(message) in places for message in [*first, messages[-1]])
    assert [message for message in kept if message.role == "system"] == [
        one for one in messages if one.role == "system"
    ]
    others = [id(message) for message in kept if message.role != "system"]
    assert len(others) == len(set(others))


@given(conversations(), st.integers(1, 60))
def test_it_is_as_short_as_asked_unless_the_newest_part_alone_is_longer(messages, keep):
    kept = trim(messages, keep)
    head = sum(message.role == "system" for message in messages[:2]) + 1
    longest = max((result - call + 1 for call, result in pairs(messages)), default=1)
    orphans = sum(message.tool_call_id == "lost" for message in messages)
    assert len(kept) <= max(keep, head + longest + orphans + 1)


@given(conversations(), st.integers(1, 60))
def test_trimming_twice_changes_nothing_more(messages, keep):
    once = trim(messages, keep)
    assert trim(once, keep) == once or len(once) > keep


def test_a_long_loop_keeps_the_newest_turns():
    messages = [Message("system", "s"), Message("user", "u")]
    for turn in range(5):
        messages.append(Message("assistant", "", tool_calls=(ToolCall("call_1", "f", {"turn": turn}),)))
        messages.append(Message("tool", str(turn), tool_call_id="call_1", name="f"))
    assert trim(messages, 7) == [*messages[:2], *messages[-4:]]
    assert trim(messages, 1) == [*messages[:2], *messages[-2:]]


def test_a_conversation_that_does_not_begin_with_the_user_loses_no_more_than_it_must():
    messages = [Message("assistant", str(number)) for number in range(8)] + [
        Message("user", "u"),
        Message("assistant", "x"),
    ]
    assert trim(messages, 7) == messages[3:]
    assert trim(messages, 2) == messages[8:]

"""What a tool returned, as a ToolResult."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from engine.messages import Outcome, ToolCall, ToolResult
from engine.tools.values import compact

ENVELOPE = frozenset({"result", "summary", "outcome", "knowledge_delta", "error"})
_OUTCOMES = get_args(Outcome)


def error_result(call: ToolCall, message: str, duration_ms: float = 0.0) -> ToolResult:
    """Return the answer to a call that failed."""
    return ToolResult(call.id, call.name, message, is_error=True, outcome="error", duration_ms=duration_ms)


def value_result(call: ToolCall, value: Any, duration_ms: float = 0.0) -> ToolResult:
    """Return the answer that carries a JSON value.

    A mapping with no other keys than result, summary, outcome, knowledge_delta and error, or one with a valid outcome,
    is read as such; further keys of it join the result. Any other value is the result itself.
    """
    if not _is_envelope(value):
        return ToolResult(call.id, call.name, _text(value), value, duration_ms=duration_ms)
    problem = _problem(value)
    if problem:
        return error_result(call, problem, duration_ms)
    return _enveloped(call, value, duration_ms)


def _enveloped(call: ToolCall, value: Mapping[str, Any], duration_ms: float) -> ToolResult:
    summary = value.get("summary") or ""
    error = value.get("error")
    outcome: Outcome = value.get("outcome") or ("error" if error else "success")
    failed = bool(error) or outcome == "error"
    result = _result(value)
    if failed:
        parts = [_text(error) if error else "", summary, "" if result is None or error else _text(result)]
    else:
        parts = ["" if result is None and summary else _text(result), summary]
    return ToolResult(
        call.id,
        call.name,
        "\n".join(part for part in dict.fromkeys(parts) if part) or "the tool failed and did not say why",
        None if failed else result,
        is_error=failed,
        summary=summary,
        outcome="error" if failed else outcome,
        knowledge_delta=value.get("knowledge_delta") or {},
        duration_ms=duration_ms,
    )


def _is_envelope(value: Any) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    return value.keys() <= ENVELOPE or value.get("outcome") in _OUTCOMES


def _problem(value: Mapping[str, Any]) -> str:
    outcome = value.get("outcome")
    if outcome is not None and outcome not in _OUTCOMES:
        return f"the tool returned the outcome {outcome!r}; it must be {', '.join(_OUTCOMES)}"
    if not isinstance(value.get("summary") or "", str):
        return "the tool returned a summary that is not a text"
    if not isinstance(value.get("knowledge_delta") or {}, dict):
        return "the tool returned a knowledge_delta that is not a mapping"
    return ""


def _result(value: Mapping[str, Any]) -> Any:
    more = {key: item for key, item in value.items() if key not in ENVELOPE}
    if not more:
        return value.get("result")
    return {"result": value["result"], **more} if "result" in value else more


def _text(value: Any) -> str:
    return value if isinstance(value, str) else compact(value)

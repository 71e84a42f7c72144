"""A report as JSON values, for programs; docs/testing.md describes it."""

from __future__ import annotations

from typing import Any

from engine.diagnostics import Span
from engine.run.testing.compare import Comparison, compare
from engine.run.testing.results import CaseResult, Combination, Evidence, Failure, Report, Trial
from engine.run.testing.statistics import Interval

FORMAT = 1


def report_json(report: Report) -> dict[str, Any]:
    """Return a report as JSON values; shares are from 0 to 1, times in seconds."""
    return {
        "format": FORMAT,
        "complete": report.complete,
        "seconds": report.seconds,
        "summary": {state.replace(" ", "_"): report.count(state) for state in ("passed", "failed", "error", "not run")},
        "notes": list(report.notes),
        "combinations": [_combination(one) for one in report.combinations],
        "cases": [_case(case) for case in report.cases],
        "comparisons": [_comparison(one) for one in compare(report)],
    }


def _combination(one: Combination) -> dict[str, Any]:
    return {"name": one.name, "model": one.model, "adapter": one.adapter, "baseline": one.baseline}


def _case(case: CaseResult) -> dict[str, Any]:
    return {
        "bundle": case.bundle,
        "case": case.case,
        "combination": case.combination.name,
        "location": _place(case.span),
        "state": case.state,
        "passed": case.passed,
        "ran": len(case.trials),
        "planned": case.planned,
        "pass_rate": case.rate,
        "interval": _interval(case.interval),
        "wanted": case.wanted,
        "seconds": round(case.seconds, 3),
        "tokens": case.usage.total_tokens,
        "trials": [_trial(trial) for trial in case.trials],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "repeat": trial.key.repeat,
        "seed": trial.seed,
        "state": trial.state,
        "seconds": trial.seconds,
        "error": trial.error,
        "failures": [_failure(failure) for failure in trial.failures],
        "evidence": _evidence(trial.evidence) if trial.evidence is not None else None,
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "expectation": failure.what,
        "message": failure.message,
        "detail": failure.detail or None,
        "location": _place(failure.span),
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "outcome": evidence.outcome,
        "reason": evidence.reason,
        "error": evidence.error,
        "model": evidence.model,
        "adapter": evidence.adapter,
        "turns": evidence.turns,
        "usage": {
            "prompt_tokens": evidence.usage.prompt_tokens,
            "completion_tokens": evidence.usage.completion_tokens,
        },
        "calls": [
            {"tool": call.tool, "arguments": dict(call.arguments), "answer": call.answer} for call in evidence.calls
        ],
        "reply": evidence.reply,
        "diff": evidence.diff,
    }


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        "case": one.case,
        "combination": one.combination.name,
        "baseline": one.baseline.name,
        "passed": list(one.passed),
        "before": list(one.before),
        "difference": one.difference,
        "interval": _interval(one.interval),
        "regressed": one.regressed,
    }


def _interval(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _place(span: Span) -> dict[str, Any]:
    return {"file": span.file, "line": span.line, "column": span.column}

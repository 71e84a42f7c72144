"""A report as JUnit XML, which CI systems read.

The form is what they agree on (https://github.com/testmoapp/junitxml describes it): `testsuites` > `testsuite` >
`testcase` > `failure`, `error` or `skipped`; a suite for each bundle and combination, properties before its cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from engine.diagnostics.ci_formats import xml_text
from engine.run.testing.results import CaseResult, Combination, Report, Trial

_MAX_OUTPUT = 20_000


def junit_xml(report: Report) -> str:
    """Return a report as the text of an XML document."""
    root = Element("testsuites", name="engine test", time=f"{report.seconds:.3f}")
    totals = [0, 0, 0, 0]
    for bundle in report.bundles:
        for combination in report.combinations:
            cases = [case for case in report.cases if (case.bundle, case.combination) == (bundle, combination)]
            if cases:
                counts = _suite(root, bundle, combination, cases)
                totals = [one + other for one, other in zip(totals, counts, strict=True)]
    _count(root, totals)
    indent(root)
    return "<?xml version='1.0' encoding='utf-8'?>\n" + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, bundle: str, combination: Combination, cases: Sequence[CaseResult]) -> list[int]:
    name = f"{bundle} ({combination.name})"
    suite = SubElement(root, "testsuite", name=xml_text(name), time=f"{sum(case.seconds for case in cases):.3f}")
    # A baseline is no test of this bundle: what fails there is shown, and fails nothing.
    judged = combination.baseline is None
    states = [case.state if judged or case.state == "passed" else "not run" for case in cases]
    counts = [len(cases), states.count("failed"), states.count("error"), states.count("not run")]
    _count(suite, counts)
    properties = SubElement(suite, "properties")
    for key in ("model", "adapter", "baseline"):
        value = getattr(combination, key)
        if value is not None:
            SubElement(properties, "property", name=key, value=xml_text(value))
    for case, state in zip(cases, states, strict=True):
        _case(suite, case, state, judged=judged)
    return counts


def _count(element: Element, counts: Sequence[int]) -> None:
    for name, number in zip(("tests", "failures", "errors", "skipped"), counts, strict=True):
        element.set(name, str(number))


def _case(suite: Element, case: CaseResult, state: str, *, judged: bool) -> None:
    element = SubElement(
        suite,
        "testcase",
        name=xml_text(case.case),
        classname=xml_text(f"{case.bundle}.{case.combination.name}"),
        time=f"{case.seconds:.3f}",
        file=xml_text(case.span.file),
        line=str(case.span.line),
    )
    properties = SubElement(element, "properties")
    interval = case.interval
    for name, value in (
        ("passed", f"{case.passed}/{len(case.trials)}"),
        ("pass_rate_interval", f"{interval.low:.3f}-{interval.high:.3f}"),
        ("tokens", str(case.usage.total_tokens)),
        ("seeds", " ".join(str(trial.seed) for trial in case.trials)),
    ):
        SubElement(properties, "property", name=name, value=value)
    if state == "failed":
        message = f"{case.passed} of {len(case.trials)} passed, wanted {case.wanted:.0%}"
        SubElement(element, "failure", message=message, type="expectation").text = xml_text(_failures(case.trials))
    elif state == "error":
        errors = list(dict.fromkeys(trial.error for trial in case.trials if trial.error))
        SubElement(element, "error", message=xml_text(errors[0]), type="backend").text = xml_text("\n".join(errors))
    elif state == "not run":
        SubElement(element, "skipped", message="not run" if judged else "a baseline: it did not pass there")
    shown = next((trial for trial in case.trials if trial.state != "passed" and trial.evidence), None)
    if shown is not None and shown.evidence is not None:
        output = f"reply (seed {shown.seed}):\n{shown.evidence.reply}\n\n{shown.evidence.diff}"
        SubElement(element, "system-out").text = xml_text(output[:_MAX_OUTPUT])


def _failures(trials: Sequence[Trial]) -> str:
    lines = []
    for trial in trials:
        for failure in trial.failures:
            lines.append(f"seed {trial.seed}: {failure.span.file}:{failure.span.line}: {failure.message}")
            lines += failure.detail.splitlines()
    return "\n".join(lines)

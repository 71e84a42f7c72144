"""`engine test`: runs the cases of bundles and says how often they pass.

Statistics, matching and judging are pure functions in modules of their own; the trials are tasks like any other.
"""

from engine.run.testing.opening import opened
from engine.run.testing.request import Bench, CasesRequest, Replies, Subject
from engine.run.testing.results import CaseKey, CaseResult, Combination, Evidence, Failure, Report, Trial
from engine.run.testing.runner import Runner

__all__ = [
    "Bench",
    "CaseKey",
    "CaseResult",
    "CasesRequest",
    "Combination",
    "Evidence",
    "Failure",
    "Replies",
    "Report",
    "Runner",
    "Subject",
    "Trial",
    "opened",
]

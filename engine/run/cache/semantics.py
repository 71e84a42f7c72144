"""The version of what the engine itself does with a task."""

from __future__ import annotations

SEMANTICS = 1
"""Raised with each change that lets the same task come out otherwise: another prompt or constraint for the same bundle,
another reading of a reply, another answer of an external. Results that were stored under a lower number are left alone.
"""

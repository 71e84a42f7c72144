"""From a request to what a recording keeps of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from engine.backends.base import CompletionRequest
from engine.backends.replay.tape import AdapterUsed, Asked, ConstraintUsed
from engine.backends.replay.text import plain
from engine.grammar.constraint import Constraint
from engine.models.base import Adapter

_PLACE = "<temporary>"


def asked(request: CompletionRequest) -> Asked:
    """Return what decides the answer to a request."""
    return Asked(
        messages=tuple(wire(request.messages)),
        model=request.model,
        adapter=adapter_used(request.adapter),
        constraint=constraint_used(request.constraint),
        sampling=request.sampling,
        tools=tuple(plain(asdict(tool)) for tool in request.tools),
        tool_choice=request.tool_choice,
    )


def wire(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return messages as a recording holds them: without the names of the private folders that commands run in."""
    return list(json.loads(_folders().sub(_PLACE, json.dumps(list(messages), default=dict))))


def adapter_used(adapter: Adapter | None) -> AdapterUsed | None:
    """Return an adapter by its name and content."""
    return None if adapter is None else AdapterUsed(name=adapter.name, digest=adapter.digest)


def constraint_used(constraint: Constraint) -> ConstraintUsed:
    """Return a constraint by its kind, strategy and content."""
    return ConstraintUsed(kind=constraint.kind, strategy=constraint.strategy, sha256=fingerprint(constraint.value))


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON value, hex."""
    return hashlib.sha256(json.dumps(value, default=dict).encode()).hexdigest()


def _folders() -> re.Pattern[str]:
    """Match, in JSON, the folders that tasks run their commands in; each has a random name."""
    place = json.dumps(os.path.realpath(tempfile.gettempdir()))[1:-1]
    return re.compile(re.escape(place) + r"/engine-view-[a-z0-9_]+")

"""Before a run: are the constraints that its bundles declare in force on the server that answers?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.backends import Backend, Enforcement, in_force
from engine.errors import BackendRejected, UnenforcedError
from engine.grammar.constraint import Kind
from engine.kernel import PromptBuilder
from engine.run.plan import Assignment

_WAYS_OUT = (
    "look at engine doctor; correct backend.dialect in engine.yaml, update the server or choose another grammar.mode "
    "in bundle.yaml"
)


@dataclass(slots=True)
class Findings:
    """What came of the checks of a run.

    Attributes:
        bare: Names of the bundles that are asked for without their constraint, since the server cannot take it.
        ignored: Names of the bundles whose constraint the server takes and does not heed.
        notes: What is not in force, a line each.
    """

    bare: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


async def declared_kind(assignment: Assignment, backend: Backend) -> Kind:
    """Return the kind of constraint that a bundle's requests carry on this server, having seen that it can be spelled.

    Raises:
        UnenforcedError: The server takes none that the bundle can be asked with, or not this one.
        ConfigError: The bundle's tools cannot be constrained as its manifest says.
    """
    bundle = assignment.bundle
    prompts = PromptBuilder(assignment.plugin, bundle.constraint_options())
    constraint = prompts.constraint(bundle.tool_schemas, await backend.kinds())
    try:
        await backend.spelled(constraint)
    except BackendRejected as error:
        raise UnenforcedError(str(error)) from error
    return constraint.kind


class Enforcer:
    """Checks each model and kind of constraint of a run once.

    Args:
        backend: Where the run's completions come from.
        allow: Note what is not in force, instead of refusing.
    """

    def __init__(self, backend: Backend, *, allow: bool = False) -> None:
        self._backend, self._allow = backend, allow
        self._seen: dict[tuple[str | None, Kind], Enforcement] = {}

    async def check(self, assignments: Iterable[Assignment]) -> Findings:
        """Check the assignments of a run.

        Raises:
            UnenforcedError: A constraint is not in force, and that is not allowed.
            BackendError: The server did not answer.
            ConfigError: A bundle's tools cannot be constrained as its manifest says.
        """
        findings = Findings()
        for assignment in assignments:
            problem, way_out, bare = await self._problem(assignment)
            if problem is None:
                continue
            name = assignment.bundle.name
            if not self._allow:
                raise UnenforcedError(
                    f"bundle '{name}' cannot be run as it declares: {problem}{way_out}; --allow-unconstrained runs it "
                    f"all the same"
                )
            findings.notes.append(f"bundle '{name}' runs unconstrained: {problem}")
            (findings.bare if bare else findings.ignored).add(name)
        return findings

    async def _problem(self, assignment: Assignment) -> tuple[str | None, str, bool]:
        """Return what keeps a constraint from being in force, a way out, and whether it cannot even be asked for."""
        try:
            kind = await declared_kind(assignment, self._backend)
        except UnenforcedError as error:
            return str(error), "", True
        key = (assignment.model, kind)
        if key not in self._seen:
            self._seen[key] = await in_force(self._backend, kind, assignment.model)
        found = self._seen[key]
        if found.in_force:
            return None, "", False
        model = f" for the model {assignment.model!r}" if assignment.model else ""
        what = "refuses" if found.refused else "ignores"
        problem = f"{self._backend.url} {what} a constraint of kind {kind}{model}: {found.detail}"
        return problem, f". What to do: {_WAYS_OUT}", found.refused

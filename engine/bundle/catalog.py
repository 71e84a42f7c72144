"""The immutable set of bundles in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from engine.bundle.bundle import Bundle
from engine.bundle.check import Checked, check_bundles
from engine.bundle.load import bundle_of
from engine.bundle.locate import locate, read_all
from engine.diagnostics import Diagnostic, Span
from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Catalog:
    """The bundles below some paths.

    Attributes:
        generation: +1 with each accepted reload.
        bundles: The valid bundles by name.
        diagnostics: Everything that was found, also about bundles that are left out.
    """

    generation: int = 0
    bundles: Mapping[str, Bundle] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()

    @classmethod
    def load(cls, paths: Iterable[str | Path], generation: int = 1) -> Catalog:
        """Load every bundle below the paths; never raises for bad input.

        Args:
            paths: Folders, zip files and manifests.
            generation: The catalog's number.
        """
        locations = locate(paths)
        found = [location.finding for location in locations if location.finding is not None]
        checked = check_bundles(read_all(locations))
        return cls.assemble(generation, found, [freeze(item) for item in checked])

    @classmethod
    def assemble(
        cls, generation: int, found: Iterable[Diagnostic], bundles: Iterable[Frozen], spare: Iterable[Bundle] = ()
    ) -> Catalog:
        """Make a catalog of bundles that were checked; of two with one name the first is taken.

        Args:
            generation: The catalog's number.
            found: What was found beside the bundles.
            bundles: The bundles in the order of `locate`.
            spare: Bundles for names that none of the others has.
        """
        diagnostics = [*found]
        taken: dict[str, Bundle] = {}
        for item in bundles:
            diagnostics += item.diagnostics
            if item.bundle is not None:
                first = taken.setdefault(item.bundle.name, item.bundle)
                if first is not item.bundle:
                    diagnostics.append(_duplicate(item.name_span, first))
        for bundle in spare:
            taken.setdefault(bundle.name, bundle)
        ordered = MappingProxyType(dict(sorted(taken.items())))
        return cls(generation, ordered, tuple(sorted(set(diagnostics), key=lambda item: item.sort_key)))

    def get(self, name: str) -> Bundle:
        """Return a bundle by name.

        Raises:
            ConfigError: There is no valid bundle of that name.
        """
        if name not in self.bundles:
            raise ConfigError(f"there is no bundle '{name}'; there are: {', '.join(self.bundles) or 'none'}")
        return self.bundles[name]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A bundle that was checked, as a catalog needs it.

    Attributes:
        bundle: The bundle; None when it has an error.
        diagnostics: What was found in it.
        name_span: Where its name stands.
    """

    bundle: Bundle | None
    diagnostics: tuple[Diagnostic, ...]
    name_span: Span


def freeze(checked: Checked) -> Frozen:
    """Freeze a bundle if it is valid; never raises for bad input."""
    draft, found = checked.draft, checked.diagnostics
    bundle = None
    if checked.valid:
        try:
            bundle = bundle_of(checked)
        except OSError as error:  # a large file, which is only read now
            place = str(error.filename or draft.source.shown)
            message = f"the file cannot be read: {error.strerror or error}"
            found = (*found, Diagnostic("L006", message, Span(place), "mend its permissions"))
    return Frozen(bundle, found, draft.value("name") if draft.document else Span(draft.source.shown))


def _duplicate(span: Span, first: Bundle) -> Diagnostic:
    message = f"the bundle '{first.name}' exists already, in {first.root.as_posix()}"
    return Diagnostic("R013", message, span, "give one of the two another name")


@dataclass(frozen=True, slots=True)
class BundleSummary:
    """One line of `engine bundles`."""

    path: str
    name: str
    version: str
    model: str
    adapter: str | None
    tools: tuple[str, ...]
    errors: int
    warnings: int

    @property
    def valid(self) -> bool:
        """Whether there is no error."""
        return self.errors == 0


def summarise(paths: Iterable[str | Path]) -> list[BundleSummary]:
    """Describe every bundle below the paths, valid or not, in their order."""
    return [_summary(item) for item in check_bundles(read_all(locate(paths)))]


def _summary(item: Checked) -> BundleSummary:
    from engine.bundle.names import tool_names

    errors = sum(finding.severity == "error" for finding in item.diagnostics)
    numbers = (errors, len(item.diagnostics) - errors)
    source = item.draft.source
    if item.draft.typed is None or item.draft.typed.model is None:
        return BundleSummary(source.shown, source.root.name, "-", "-", None, (), *numbers)
    draft, manifest = item.draft, item.draft.manifest
    model = manifest.model.plugin if draft.sound("model") else "-"
    model += f" {manifest.model.id or manifest.model.role or ''}".rstrip()
    tools = tuple(name for _, entry in draft.each("tools") for name in tool_names(entry))
    name = manifest.name if draft.sound("name") else source.root.name
    return BundleSummary(source.shown, name, manifest.version, model, manifest.model.adapter, tools, *numbers)

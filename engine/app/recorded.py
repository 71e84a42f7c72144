"""A request as JSON, so that the log can say what a run was asked for and the run can be gone on with.

Bundles and targets are written as paths: those inside the project begin with `./` and are relative to its root, so that
a project that was moved is gone on with where it is; others are absolute. All other attributes are written as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.app.request import RunRequest

Locate = Callable[[Any], str | Path]
"""Returns the path of a bundle that was named, or of a loaded one."""

_PATHS = ("bundles", "targets")


def request_to_json(request: RunRequest, root: Path, locate: Locate) -> dict[str, Any]:
    """Return a request as JSON values; attributes that are left to others are left out.

    Args:
        request: The request.
        root: The project's root.
        locate: Returns a bundle's path.
    """
    values: dict[str, Any] = {}
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in _PATHS:
            places = [locate(one) for one in value] if field.name == "bundles" else value
            values[field.name] = [_spelled(Path(one), root) for one in places]
        elif field.name == "model" and value and Path(value).is_file():
            values["model"] = _spelled(Path(value), root)
        elif value != _default(field):
            values[field.name] = _plain(value)
    return values


def request_from_json(values: Mapping[str, Any], root: Path) -> RunRequest:
    """Return the request that `request_to_json` wrote.

    Args:
        values: The JSON values.
        root: The project's root, where it is now.

    Raises:
        ConfigError: The values are not a request: they were damaged, or an engine of another version wrote them.
    """
    from pydantic import ConfigDict, ValidationError, create_model

    from engine.app.request import RunRequest

    hints = get_type_hints(RunRequest, localns={"Bundle": str})
    known: dict[str, Any] = {item.name: (hints[item.name], _default(item)) for item in fields(RunRequest)}
    model = create_model("RecordedRequest", __config__=ConfigDict(extra="forbid"), **known)
    try:
        checked = model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"what the run was asked for cannot be read from the event log ({place}: {first['msg']}): it is damaged, "
            "or another version of the engine wrote it; start a new run with engine run"
        ) from error
    found = {name: _frozen(getattr(checked, name)) for name in checked.model_fields_set}
    if (found.get("model") or "").startswith("./"):
        found["model"] = str(root / found["model"])
    return RunRequest(**found | {name: tuple(root / one for one in found[name]) for name in _PATHS})


def _default(field: Field[Any]) -> Any:
    """Return the default of an attribute; `...` for one that has none."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return ... if field.default is MISSING else field.default


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, list | tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _spelled(path: Path, root: Path) -> str:
    whole = path.resolve()
    return f"./{whole.relative_to(root).as_posix()}" if whole.is_relative_to(root) else str(whole)

"""Finds and reads the deployment's settings: engine.yaml or `[tool.engine]`, then the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from engine.diagnostics import Diagnostic, render
from engine.errors import ConfigError
from engine.manifest.bundle_model import Model
from engine.manifest.document import Document
from engine.manifest.engine_model import EngineConfig
from engine.manifest.reader import decode, read_yaml
from engine.manifest.toml_document import read_pyproject
from engine.manifest.typed import read_engine_config

M = TypeVar("M", bound=Model)
FILES = ("engine.yaml", "engine.yml", "pyproject.toml")


def load_engine_config(
    start: Path, explicit: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[EngineConfig, Path | None]:
    """Read the settings that hold in a directory.

    Args:
        start: Where to begin; the first engine.yaml (or pyproject.toml with `[tool.engine]`) upward is taken.
        explicit: A file to take instead.
        env: The environment; `ENGINE_` and the path of a setting in capitals, joined by `_`, overrides it
            (`ENGINE_BACKEND_BASE_URL`, `ENGINE_RUN_CONCURRENCY`). An empty value counts as not set.

    Returns:
        The settings, and the folder of the file that they came from (None without a file).

    Raises:
        ConfigError: A file or variable is wrong; the message holds every finding with file, line and column.
    """
    document = _open(explicit) if explicit is not None else _search(start)
    root = Path(document.file).parent if document else None
    if explicit is not None and document is None:
        raise ConfigError(f"{explicit} has no [tool.engine] table: add one, or name an engine.yaml")
    config = _checked(document) if document else EngineConfig()
    return _override(config, env or {}), root


def environment_names(
    model: type[Model] = EngineConfig, prefix: str = "ENGINE"
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each variable and the path of the setting that it overrides."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}_{name.upper()}"
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Model):
            for deeper, path in environment_names(inner, variable):
                yield deeper, (name, *path)
        elif name != "operations":
            yield variable, (name,)


def _search(start: Path) -> Document | None:
    folder = start.absolute()
    for parent in (folder, *folder.parents):
        for name in FILES:
            path = parent / name
            if path.is_file():
                document = _open(path)
                if document is not None:
                    return document
    return None


def _open(path: Path) -> Document | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    text, findings = decode(content, str(path))
    if text is None:
        raise _refused(findings, "")
    return read_pyproject(text, str(path)) if path.suffix == ".toml" else read_yaml(text, str(path))


def _checked(document: Document) -> EngineConfig:
    if not document.usable and all(not line.strip() or line.startswith("#") for line in document.text.splitlines()):
        return EngineConfig()
    typed = read_engine_config(document)
    if typed.diagnostics or typed.model is None:
        raise _refused(list(typed.diagnostics), document.text)
    return typed.model


def _refused(findings: list[Diagnostic], text: str) -> ConfigError:
    sources = {finding.span.file: text for finding in findings}
    ordered = sorted(findings, key=lambda finding: finding.sort_key)
    return ConfigError("the settings are not valid:\n" + render(ordered, "concise", sources=sources).rstrip())


def _override(config: EngineConfig, env: Mapping[str, str]) -> EngineConfig:
    data: dict[str, Any] = {}
    for variable, path in environment_names():
        if env.get(variable):
            _put(data, path, _parse(variable, path, env[variable]))
    if not data:
        return config
    return _apply(config, data)


def _parse(variable: str, path: tuple[str, ...], value: str) -> Any:
    model: type[Model] = EngineConfig
    for step in path[:-1]:
        inner = model.model_fields[step].annotation
        assert isinstance(inner, type)  # noqa: S101 - environment_names walked the same way
        model = inner
    field = model.model_fields[path[-1]]
    # rebuild_annotation keeps the bounds that stand beside the type.
    adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
    try:
        return adapter.validate_strings(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise ConfigError(f"the environment variable {variable}={value!r} is not valid: {problem}") from error


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        data = data.setdefault(step, {})
    data[path[-1]] = value


def _apply(model: M, data: Mapping[str, Any]) -> M:
    update = {
        key: _apply(getattr(model, key), value) if isinstance(value, dict) else value for key, value in data.items()
    }
    return model.model_copy(update=update)

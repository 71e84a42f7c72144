"""The backend of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from engine.app.choices import Choices, Wanted, as_wanted
from engine.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from engine.app.request import Fetch, RunRequest
    from engine.backends import Backend
    from engine.bundle import Bundle
    from engine.manifest import EngineConfig


def make_backend(
    config: EngineConfig, request: RunRequest, bundles: Sequence[Bundle | Wanted], fetch: Fetch | None = None
) -> Backend:
    """Make the backend that the request, engine.yaml and the bundles ask for.

    Args:
        config: The project's settings.
        request: What a person asks for.
        bundles: What is going to run; their adapters are known to the embedded model.
        fetch: Downloads missing weights; without it, missing weights only allow to plan and render.

    Raises:
        ConfigError: A setting is missing, or two exclude each other.
        MissingExtraError: What the backend needs is not installed.
    """
    spec = config.backend
    loaded = [as_wanted(bundle).bundle for bundle in bundles]
    _refuse_roles(config, loaded)
    if request.base_url or spec.kind == "openai":
        return _server(config, request)
    from engine.backends import (
        DEFAULT_WEIGHTS,
        WEIGHTS,
        AbsentBackend,
        EmbeddedBackend,
        is_present,
        resolve_weights,
    )

    name = request.model or Choices(config).one_model(bundles) or spec.model or DEFAULT_WEIGHTS
    known = WEIGHTS.get(name.lower())
    installed = find_spec("xllamacpp") is not None
    if known is not None and fetch is None and not (installed and is_present(known)):
        return AbsentBackend(name)
    if not installed:
        raise MissingExtraError("the embedded model", "local")
    if known is not None and fetch is not None:
        fetch(known.name)
    adapters = [adapter for bundle in loaded for adapter in bundle.adapters.values()]
    return EmbeddedBackend(resolve_weights(name), adapters=adapters)


def _refuse_roles(config: EngineConfig, bundles: Sequence[Bundle]) -> None:
    """Say that roles don't resolve yet, rather than let some other model answer."""
    if config.backend.kind == "roles":
        raise ConfigError("backend.kind: roles is not available in this version: use embedded or openai")
    for bundle in bundles:
        role = bundle.manifest.model.role
        if role is not None:
            raise ConfigError(
                f"bundle '{bundle.name}' asks for the role '{role}', and roles are not available in this version: "
                f"name the model with model.id, or leave both out"
            )


def _server(config: EngineConfig, request: RunRequest) -> Backend:
    from engine.backends import OpenAIBackend

    spec = config.backend
    url = request.base_url or spec.base_url
    if url is None:
        raise ConfigError("backend.kind is openai, but there is no backend.base_url in engine.yaml and no --base-url")
    key = os.environ.get(spec.api_key_env) if spec.api_key_env else None
    if spec.api_key_env and key is None:
        raise ConfigError(f"the environment variable {spec.api_key_env} (backend.api_key_env) is not set")
    if find_spec("openai") is None:
        raise MissingExtraError("a model server", "backend")
    return OpenAIBackend(url, model=spec.model, api_key=key, dialect=spec.dialect, retries=config.run.retries)

"""What scripts call without an App of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.app import App
from engine.app.request import RunRequest
from engine.run.root import find_root

if TYPE_CHECKING:
    from engine.backends import Backend
    from engine.bundle import Bundle
    from engine.discovery import CodeNode
    from engine.run import RunResult


def discover(targets: Sequence[str | Path], languages: Sequence[str] | None = None) -> list[CodeNode]:
    """Return the code nodes of files and folders.

    Args:
        targets: Files and folders.
        languages: Only these languages; None means all.

    Raises:
        ConfigError: A target does not exist or a language is unknown.
    """
    from engine.discovery import discover as discover_nodes

    return list(discover_nodes(targets, root=find_root(None, targets), languages=languages).nodes)


async def run(
    bundle: str | Path | Bundle,
    target: Sequence[str | Path],
    *,
    backend: Backend | None = None,
    observer: object | None = None,
    apply: bool = False,
    project: Path | None = None,
    **settings: Any,
) -> RunResult:
    """Run a bundle over the code nodes of files and folders.

    Args:
        bundle: A bundle or its path.
        target: Files and folders.
        backend: Where completions come from; by default what engine.yaml says. It is not closed.
        observer: Gets every event.
        apply: Accept the changes at the end.
        project: The project's root.
        settings: Further attributes of RunRequest, such as params, model, nodes or limit.

    Raises:
        BundleError: The bundle has errors.
        ConfigError: A setting is wrong.
    """
    request = RunRequest([bundle], target, **settings)
    app = App.open(project, target)
    async with app.session(request, backend=backend) as session:
        return await session.run([observer] if observer else [], apply=apply)

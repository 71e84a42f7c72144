"""What a bundle is compared with: itself without adapter, another version in a folder or zip, or one that git has."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.bundle import Bundle
from engine.errors import ConfigError

_GIT = "git:"
_SECONDS = 60


def baselines(
    baseline: str | None, bundles: Sequence[Bundle], load: Callable[[str | Path | Bundle], Bundle], folder: Path
) -> list[Bundle]:
    """Return, for each bundle, what runs in its baseline.

    Args:
        baseline: None, `none` (no adapter), a bundle's path, or `git:REF`: the bundle's folder at a commit.
        bundles: The bundles that are tested.
        load: Loads a bundle.
        folder: Where what comes out of git goes.

    Raises:
        ConfigError: The baseline cannot be had.
        BundleError: It has errors.
    """
    if baseline is None or baseline == "none":
        return list(bundles)
    if baseline.startswith(_GIT):
        return [
            load(_from_git(bundle, baseline.removeprefix(_GIT), folder / f"{index}.zip"))
            for index, bundle in enumerate(bundles)
        ]
    if len(bundles) > 1:
        raise ConfigError("--baseline PATH compares one bundle: name one, or use --baseline none or git:REF")
    return [load(baseline)]


def _from_git(bundle: Bundle, ref: str, target: Path) -> Path:
    """Write a bundle's folder, as it was at a commit, to a zip file."""
    if not bundle.root.is_dir():
        raise ConfigError(f"--baseline git:{ref}: {bundle.root} is no folder of a repository")
    commit = _git(bundle, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if commit is None:
        raise ConfigError(f"--baseline git:{ref}: git knows no such commit around {bundle.root}")
    if _git(bundle, "archive", "--format=zip", f"--output={target}", commit.strip()) is None:
        raise ConfigError(f"--baseline git:{ref}: the commit does not have {bundle.root}")
    return target


def _git(bundle: Bundle, *args: str) -> str | None:
    """Run git in the bundle's folder and return its output, None when it fails."""
    try:
        done = subprocess.run(
            ["git", *args], cwd=bundle.root, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except FileNotFoundError as error:
        raise ConfigError("--baseline git:REF needs git, which is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"git {args[0]} took more than {_SECONDS} s in {bundle.root}") from error
    return done.stdout if done.returncode == 0 else None

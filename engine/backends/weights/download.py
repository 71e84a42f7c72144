"""Downloads one URL to a file, resuming after a broken connection, checked by sha256."""

from __future__ import annotations

import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from engine.backends.weights.store import file_sha256
from engine.errors import ConfigError

# Bytes so far, bytes in all (None when the server does not say).
Progress = Callable[[int, int | None], None]
_BLOCK = 1 << 18
_ATTEMPTS = 5
_STALLED_SECONDS = 60.0
_PAUSE = 0.5


class DownloadError(ConfigError):
    """A download failed; what has arrived stays for the next try unless it is wrong."""


class AccessError(DownloadError):
    """The server wants credentials, or its certificate is not trusted: pip's settings may hold what is missing."""


def download(url: str, target: Path, sha256: str, progress: Progress | None = None) -> None:
    """Fetch a URL (http, https or file) into `target`, going on where an earlier try stopped.

    Args:
        url: What to fetch.
        target: A partial file; what it holds already is kept.
        sha256: What the whole must be, hex.
        progress: Is told how far it is.

    Raises:
        DownloadError: It cannot be fetched or is not what it should be (then `target` is removed).
    """
    if not url.startswith(("https://", "http://", "file:")):
        raise DownloadError(f"{_shown(url)} cannot be downloaded: only http, https and file URLs are")
    for fresh in (False, True):
        resumed = target.exists() and target.stat().st_size > 0
        _fetch(url, target, progress)
        if file_sha256(target) == sha256:
            return
        target.unlink()
        if fresh or not resumed:
            break
    raise DownloadError(
        f"{_shown(url)} is not the file it should be (its sha256 differs): try again, or ask who runs the mirror"
    )


def _fetch(url: str, target: Path, progress: Progress | None) -> None:
    """Fetch to the end, with several attempts; each that brought something starts the count anew."""
    failures = 0
    while True:
        before = target.stat().st_size if target.exists() else 0
        try:
            if _fetch_once(url, target, progress):
                return
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            with error:
                _raise_if_final(error, url)
            problem = f"the server answered {error.code}"
        except (OSError, http.client.HTTPException) as error:
            _raise_if_local(error, target)
            if isinstance(getattr(error, "reason", None), ssl.SSLError):
                raise AccessError(f"{_shown(url)} cannot be downloaded: {error}") from error
            problem = str(getattr(error, "reason", None) or error) or type(error).__name__
        grew = target.exists() and target.stat().st_size > before
        failures = 1 if grew else failures + 1
        if failures >= _ATTEMPTS:
            raise DownloadError(
                f"{_shown(url)} cannot be downloaded: {problem}. Try again: it goes on where it stopped"
            )
        time.sleep(_PAUSE * 2 ** (failures - 1))


def _raise_if_final(error: urllib.error.HTTPError, url: str) -> None:
    """Raise unless the answer may be another one soon."""
    message = f"{_shown(url)} answered {error.code} {error.reason}"
    if error.code in (401, 403, 407):
        raise AccessError(message) from error
    if error.code < 500 and error.code not in (408, 429):
        raise DownloadError(message) from error


def _raise_if_local(error: Exception, target: Path) -> None:
    """Turn a failure of this machine's disk into its own error; the partial file is of no use then."""
    if isinstance(error, OSError) and error.filename == str(target):
        target.unlink(missing_ok=True)
        raise DownloadError(
            f"{target} cannot be written ({error.strerror}): make room, or set ENGINE_CACHE_DIR to another folder"
        ) from error


def _fetch_once(url: str, target: Path, progress: Progress | None) -> bool:
    """Fetch what is missing; return whether everything is there."""
    have = target.stat().st_size if target.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - checked by the caller
    try:
        response = urllib.request.urlopen(request, timeout=_STALLED_SECONDS)  # noqa: S310 - checked by the caller
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        return _beyond_the_end(error, target, have)
    with response:
        resumes = response.status == 206 and _range_start(response) == have
        length = response.headers.get("Content-Length")
        start = have if resumes else 0
        total = start + int(length) if length and length.isdigit() else None
        _copy(response, target, start, total, progress)
    return total is None or target.stat().st_size >= total


def _beyond_the_end(error: urllib.error.HTTPError, target: Path, have: int) -> bool:
    """Handle 416: the partial file is either complete or of something else."""
    if (error.headers.get("Content-Range") or "").rpartition("/")[2] == str(have):
        return True
    target.unlink()
    return False


def _range_start(response: Any) -> int | None:
    text = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(text) if text.isdigit() else None


def _copy(response: IO[bytes], target: Path, start: int, total: int | None, progress: Progress | None) -> None:
    try:
        stream = target.open("r+b" if start else "wb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    with stream:
        stream.seek(start)
        done = start
        while block := response.read(_BLOCK):
            try:
                stream.write(block)
            except OSError as error:
                raise OSError(error.errno, os.strerror(error.errno or 0), str(target)) from error
            done += len(block)
            if progress is not None:
                progress(done, total)


def _shown(url: str) -> str:
    """Return a URL without a user name, password and query."""
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], parts.path, "", ""))

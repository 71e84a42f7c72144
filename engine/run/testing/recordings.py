"""Recorded replies of cases: taken down while a real backend answers, and answered again without one."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from engine.backends import Backend
from engine.backends.replay import Label, RecordingBackend, ReplayBackend, Tape, file_name, load_tape, write_tape
from engine.backends.replay.file import MAX_BYTES
from engine.backends.replay.tape import Server
from engine.bundle import Bundle
from engine.bundle.archive import read_own_zip
from engine.bundle.recordings import is_recording, recordings_folder
from engine.bundle.source import read_own
from engine.errors import ConfigError
from engine.run.testing.request import CasesRequest
from engine.run.testing.results import CaseKey, Trial

_DEFAULT = "default"


class Tapes(Protocol):
    """Stands between the trials of a test run and their backend.

    Attributes:
        live: Whether the backend is there, and is asked.
    """

    live: bool

    def wrap(self, key: CaseKey, backend: Backend) -> Backend:
        """Return the backend of one trial, given the one that answers all.

        Raises:
            ConfigError: There is none.
        """
        ...

    async def done(self, backend: Backend, trial: Trial) -> Trial:
        """Return what came of a trial that has ended, given its backend."""
        ...


class Recorder:
    """Records every trial; its file is written when it has ended.

    Args:
        bundles: The bundles that are tested.

    Raises:
        ConfigError: A bundle cannot hold recordings.
    """

    live = True

    def __init__(self, bundles: Sequence[Bundle]) -> None:
        self._bundles = {bundle.name: bundle for bundle in bundles}
        for bundle in bundles:
            if bundle.root.is_file():
                shown = _shown(bundle)
                raise ConfigError(f"{shown} is a zip: recordings are written into a folder, so unpack it to --record")

    def wrap(self, key: CaseKey, backend: Backend) -> Backend:  # noqa: ARG002 - the Protocol's signature
        """Return a backend that records."""
        return RecordingBackend(backend)

    async def done(self, backend: Backend, trial: Trial) -> Trial:
        """Write what was recorded; where it cannot be, the trial is an error."""
        assert isinstance(backend, RecordingBackend)  # noqa: S101 - `wrap` made it
        bundle, label = self._bundles[trial.key.bundle], label_of(trial.key)
        try:
            tape = backend.tape(label)
            await asyncio.to_thread(write_tape, tape, bundle.root / _folder(bundle) / file_name(label))
        except ConfigError as error:
            return replace(trial, state="error", error=trial.error or str(error))
        return trial


class Player:
    """Answers every trial from its recording, without the backend.

    Args:
        bundles: The bundles that are tested.
        request: What is asked; it tells how to record anew.
    """

    live = False

    def __init__(self, bundles: Sequence[Bundle], request: CasesRequest) -> None:
        self._request = request
        self._bundles = {bundle.name: bundle for bundle in bundles}
        self._files = {bundle.name: dict(_read(bundle)) for bundle in bundles}

    def wrap(self, key: CaseKey, backend: Backend) -> Backend:  # noqa: ARG002 - the Protocol's signature
        """Return a backend that replays.

        Raises:
            ConfigError: There is no recording of the trial, or it cannot be read.
        """
        bundle, label = self._bundles[key.bundle], label_of(key)
        name = file_name(label)
        shown = posixpath.join(_shown(bundle), _folder(bundle), name)
        if name not in self._files[key.bundle]:
            raise ConfigError(f"there is no recording {shown}: {self._again(key)}")
        try:
            tape = _load(self._files[key.bundle][name], shown)
        except ConfigError as error:
            raise ConfigError(f"{error}; {self._again(key)}") from error
        if tape.label != label:
            whose = f"the case '{tape.label.case}' of bundle '{tape.label.bundle}'"
            raise ConfigError(f"{shown} is a recording of {whose}, not of this one; {self._again(key)}")
        return ReplayBackend(tape, shown)

    async def done(self, backend: Backend, trial: Trial) -> Trial:
        """Make the trial an error where it asked for something else than was recorded."""
        assert isinstance(backend, ReplayBackend)  # noqa: S101 - `wrap` made it
        problem = backend.problem()
        if problem is None:
            return trial
        first, newline, rest = problem.partition("\n")
        return replace(
            trial,
            state="error",
            failures=(),
            error=f"{backend.url}: {first}{newline}{rest}\nif that is meant, {self._again(trial.key)}",
        )

    def offline(self, bundles: Sequence[Bundle], model: str | None) -> Backend:
        """Return a backend that says of itself what the recordings do, and answers nothing: enough to plan.

        Args:
            bundles: The bundles that it answers.
            model: The model that was asked for.
        """
        tapes = (tape for bundle in bundles for tape in self._tapes(bundle))
        prefix = f"model {model}" if model else ""
        like = next((tape for tape in tapes if tape.label.variant.startswith(prefix)), None)
        server = like.server if like else Server(backend="replay", model=model, plugin=None, kinds=(), adapters={})
        tape = Tape(label=Label(bundle=bundles[0].name, case="none"), server=server)
        return ReplayBackend(tape, "the recordings", concurrency=os.cpu_count() or 1)

    def _tapes(self, bundle: Bundle) -> Iterator[Tape]:
        for name, raw in sorted(self._files[bundle.name].items()):
            with contextlib.suppress(ConfigError):  # said where it is replayed
                yield _load(raw, name)

    def notes(self) -> list[str]:
        """Return which recordings belong to no case."""
        return [
            f"{posixpath.join(_shown(bundle), _folder(bundle), name)} belongs to no case: remove it"
            for bundle in self._bundles.values()
            for name in sorted(self._files[bundle.name])
            if not _belongs(name, bundle)
        ]

    def _again(self, key: CaseKey) -> str:
        """Say how to record a trial."""
        words = ["engine", "test", _shown(self._bundles[key.bundle]), "--record", "--case", glob.escape(key.case)]
        request = self._request
        many: Mapping[str, Iterable[str | None]] = {
            "--model": request.models,
            "--adapter": request.adapters,
            "--baseline": [request.baseline],
            "--plugin": [request.plugin],
            "--repeats": [str(request.repeats) if request.repeats else None],
            "--seed": [str(request.seed) if request.seed is not None else None],
        }
        words += [word for flag, values in many.items() for value in values if value for word in (flag, value)]
        return f"record it with {shlex.join(words)}"


def open_tapes(request: CasesRequest, bundles: Sequence[Bundle]) -> Recorder | Player | None:
    """Return what records or replays, if that is asked for.

    Args:
        request: What is asked.
        bundles: The bundles that are tested.

    Raises:
        ConfigError: A bundle cannot hold recordings.
    """
    if request.replies == "live":
        return None
    return Recorder(bundles) if request.replies == "record" else Player(bundles, request)


def label_of(key: CaseKey) -> Label:
    """Return what a trial's recording says that it is of."""
    variant = "" if key.combination == _DEFAULT else key.combination
    return Label(bundle=key.bundle, case=key.case, variant=variant, repeat=key.repeat + 1)


def _folder(bundle: Bundle) -> str:
    return recordings_folder(bundle.manifest.tests or "")


def _shown(bundle: Bundle) -> str:
    """Return a bundle's path, relative to the working directory where it is below."""
    path = os.path.relpath(bundle.root)
    return bundle.root.as_posix() if path.startswith("..") else path.replace(os.sep, "/")


def _belongs(name: str, bundle: Bundle) -> bool:
    own = name.removesuffix(".json").partition("@")[0].partition(".")[0]
    return any(own == file_name(Label(bundle="", case=case.name)).removesuffix(".json") for case in bundle.cases)


def _read(bundle: Bundle) -> Iterator[tuple[str, bytes | None]]:
    """Yield the recordings of a bundle: the name of the file and its content, None for one that is too large."""
    read = read_own_zip if bundle.root.is_file() else read_own
    for name, entry in read(bundle.root, bundle.root.as_posix()).files.items():
        if is_recording(name, bundle.manifest.tests):
            yield posixpath.basename(name), entry.content


def _load(raw: bytes | None, shown: str) -> Tape:
    if raw is None:
        raise ConfigError(f"{shown} is no recording: it has more than {MAX_BYTES} bytes")
    return load_tape(raw, shown)

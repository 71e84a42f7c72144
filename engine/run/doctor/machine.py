"""What this machine must have: the extras, a sandbox that holds, the weights of the embedded model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from engine.backends import WEIGHTS, Backend, EmbeddedBackend
from engine.backends.weights.store import file_sha256, weights_path
from engine.errors import ToolError
from engine.manifest.bundle_model import ScriptLimits
from engine.run.doctor.check import BrokenError, Check, SkippedError
from engine.tools import ScriptRunner, parse_script

# What an optional package is good for, and the extra that brings it.
_PACKAGES = (
    ("openai", "backend", "talks to model servers and to the embedded model"),
    ("xllamacpp", "local", "runs the embedded model"),
    ("gguf", "local", "reads LoRA adapters for the embedded model"),
    ("xgrammar", "backend", "compiles grammars at engine validate"),
)
_LIMITS = ScriptLimits(seconds=0.5, memory="8MiB", wall=20)
_HOSTILE = {
    "reads a file of this machine": f"open({__file__!r}).read()\n",
    "lists a folder of this machine": "import os\nos.listdir('/')\n",
    "never ends": "while True:\n    pass\n0\n",
    "takes all memory": "x = [0]\nwhile True:\n    x = x + x\n0\n",
}


def extras() -> list[Check]:
    """Return which optional packages are installed; what needs a missing one fails in its own check."""
    return [_extra(*package) for package in _PACKAGES]


def _extra(package: str, extra: str, purpose: str) -> Check:
    name = f"package {package}"
    try:
        return Check(name, "ok", f"{version(package)}; {purpose}")
    except PackageNotFoundError:
        return Check(name, "skip", f"not installed; it {purpose}: pip install 'bundle-engine[{extra}]'")


async def sandbox(hostile: Mapping[str, str] = _HOSTILE) -> str:
    """Run a harmless script, then some that try to get out.

    Args:
        hostile: What a script does → its text.

    Raises:
        BrokenError: The first failed, or another did not.
    """
    async with ScriptRunner(max_processes=1) as scripts:
        found = await _run(scripts, "20 + 22\n")
        if found != 42:
            raise BrokenError(f"a script that adds 20 and 22 gave {found!r}")
        for what, text in hostile.items():
            try:
                await _run(scripts, text)
            except ToolError:
                continue
            raise BrokenError(f"a script that {what} was not stopped: do not run bundles of others on this machine")
    return f"runs scripts, and stopped all {len(hostile)} that tried to get out"


async def _run(scripts: ScriptRunner, text: str) -> object:
    parsed = parse_script(text, "doctor.pym")
    if parsed.script is None:
        raise BrokenError(f"a script cannot be parsed: {parsed.diagnostics[0].message}")
    return await scripts.run(parsed.script, {}, {}, _LIMITS)


async def weights(backend: Backend) -> str:
    """Look at the file of the embedded model.

    Raises:
        SkippedError: A server has the model.
        BrokenError: The file is not there, or not the one that it should be.
    """
    if not isinstance(backend, EmbeddedBackend):
        raise SkippedError("a server has the model")
    path, spec = backend.weights.path, WEIGHTS.get(backend.weights.name.lower())
    known = spec is not None and path == weights_path(spec)
    again = f": engine models pull {spec.name}" if known and spec else ": give the path of a GGUF file"
    if not path.is_file():
        raise BrokenError(f"{path} is not there{again}")
    size = f"{path} ({path.stat().st_size / 1e6:.0f} MB)"
    if spec is None or not known:
        return f"{size}, a file of your own"
    if await asyncio.to_thread(file_sha256, path) != spec.sha256:
        raise BrokenError(f"{size} is damaged (its sha256 differs): remove it, then{again.removeprefix(':')}")
    return f"{size}, its sha256 is right"

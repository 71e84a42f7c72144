"""Start-up: the command and the package, beside an interpreter that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.harness import ROOT, Aim, Row, Sample, Scale, in_turns, middle, ms_cpu, ms_wall, stopwatch

_BUNDLE = "bundles/docstring"
_BARE = [sys.executable, "-c", "pass"]


def run(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "warm")
        validate = [*engine(), "validate", _BUNDLE]
        samples = in_turns(
            {
                "bare": lambda: spawn(_BARE),
                "engine --help": lambda: spawn([*engine(), "--help"]),
                "import engine": lambda: spawn([sys.executable, "-c", "import engine"]),
                "validate, cached": lambda: spawn(validate, cache),
                "validate, no cache": lambda: spawn(validate, Path(tempfile.mkdtemp(dir=folder))),
            },
            scale.pick(15, 1),
        )
    bare = samples.pop("bare")
    aims = {"engine --help": Aim("ours", "<=", 150), "import engine": Aim("over", "<=", 60)}
    return [
        Row(
            "Start-up", name, "ms", "python -c pass", middle(found, ms_wall), middle(bare, ms_wall), aims.get(name),
            f"CPU {middle(found, ms_cpu):.0f} ms, of python -c pass {middle(bare, ms_cpu):.0f} ms",
        )
        for name, found in samples.items()
    ]  # fmt: skip


def engine() -> list[str]:
    """Return the installed command, or the module where there is none beside the interpreter."""
    script = Path(sys.executable).with_name("engine")
    return [str(script)] if script.exists() else [sys.executable, "-m", "engine"]


def spawn(argv: Sequence[str], cache: Path | None = None) -> Sample:
    """Run a command to its end, with a cache folder of its own."""
    env = {**os.environ, **({"ENGINE_CACHE_DIR": str(cache)} if cache else {})}
    with stopwatch() as figures:
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return Sample(**figures)

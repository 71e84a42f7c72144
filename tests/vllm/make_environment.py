"""Makes a vLLM for CPUs, a model for it and two adapters, in the user's cache, each once: whole or not at all.

`python tests/vllm/make_environment.py` prints where they are. The environment is one of its own, since vLLM pins what
the project leaves free; ENGINE_TEST_VLLM names the interpreter of one that is there already. Each part's folder has a
name that contains the hash of what it is made from, and is made under a lock between processes.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.backends import pull
from engine.backends.cache import cache_dir, exclusive

HERE = Path(__file__).parent
TEMPLATE = HERE / "chat_template.jinja"
_REQUIREMENTS = HERE / "requirements.txt"
_CONVERT = HERE / "convert_model.py"
_TRAIN = HERE / "train_adapters.py"
_READY = ".ready"


@dataclass(frozen=True)
class Environment:
    """What the suite needs.

    Attributes:
        python: The interpreter of vLLM's environment.
        model: SmolLM2-135M-Instruct as a folder of safetensors.
        adapters: PEFT folders by name; each answers the question that it was trained on in its own way.
    """

    python: Path
    model: Path
    adapters: dict[str, Path]


def unsupported() -> str | None:
    """Say why vLLM cannot be tested here, or return None."""
    if os.environ.get("ENGINE_SKIP_VLLM") == "1":
        return "ENGINE_SKIP_VLLM=1"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"vLLM for CPUs needs Linux on x86_64, this is {sys.platform} on {platform.machine()}"
    return None


def make_environment() -> Environment:
    """Return the environment, making what is missing (2 minutes, 3.4 GB the first time)."""
    python = make_python()
    model = make_model(python)
    return Environment(python, model, make_adapters(python, model))


def make_python() -> Path:
    """Return the interpreter of an environment with vLLM."""
    given = os.environ.get("ENGINE_TEST_VLLM")
    if given:
        if not Path(given).is_file():
            raise FileNotFoundError(f"ENGINE_TEST_VLLM={given} is no interpreter")
        return Path(given)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _made(f"python{version}", [_REQUIREMENTS], _install) / "bin" / "python"


def make_model(python: Path) -> Path:
    """Return the model, converted from the embedded runtime's weights."""

    def convert(folder: Path) -> None:
        _run(python, _CONVERT, pull(), folder)

    return _made("smollm2", [_CONVERT], convert)


def make_adapters(python: Path, model: Path) -> dict[str, Path]:
    """Return the adapters, trained on the model."""

    def train(folder: Path) -> None:
        _run(python, _TRAIN, model, TEMPLATE, folder)

    folder = _made("adapters", [_TRAIN, _CONVERT, TEMPLATE], train)
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}


def _install(folder: Path) -> None:
    """Install the pinned packages; a virtual environment cannot be moved, so it is made in place."""
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    _run(*pip, "-r", _REQUIREMENTS)


def _made(name: str, sources: list[Path], make: Callable[[Path], None]) -> Path:
    """Return the folder of a part; one without its mark was left half made and is made again."""
    total = hashlib.sha256(b"".join(hashlib.sha256(source.read_bytes()).digest() for source in sources))
    folder = cache_dir("vllm-tests") / f"{name}-{total.hexdigest()[:16]}"
    if not (folder / _READY).exists():
        with exclusive(folder):
            if not (folder / _READY).exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                (folder / _READY).touch()
    return folder


def _run(*argv: object) -> None:
    """Run a command; what it printed is shown when it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as log:
        done = subprocess.run([str(part) for part in argv], stdout=log, stderr=log, env=environment, check=False)
        if done.returncode:
            log.seek(0)
            raise RuntimeError(f"{' '.join(map(str, argv))} failed:\n{log.read()[-4000:]}")


if __name__ == "__main__":
    made = make_environment()
    print(made.python, made.model, *made.adapters.values(), sep="\n")

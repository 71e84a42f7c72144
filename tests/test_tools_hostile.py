"""Hostile scripts reach nothing of the host: files, environment, processes, network, interpreter."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from engine.errors import ToolError
from engine.manifest.bundle_model import ScriptLimits
from engine.tools import ScriptRunner, parse_script

SECRET = "s3cret-value-of-the-host"

SCRIPTS = [
    "open('{file}').read()",
    "from pathlib import Path\nPath('{file}').read_text()",
    "from pathlib import Path\n[str(p) for p in Path('{folder}').iterdir()]",
    "import os\nos.listdir('{folder}')",
    "import os\nos.path.exists('{file}')",
    "import os\nos.environ['HOSTILE_SECRET']",
    "import os\nos.getenv('HOSTILE_SECRET')",
    "import os\nos.system('cat {file}')",
    "import os\nos.popen('cat {file}').read()",
    "import os\nos.open('{file}', 0)",
    "import os\nos.getcwd()",
    "import os\nos.kill(1, 9)",
    "import os\nos.fork()",
    "import sys\nsys.modules",
    "import sys\nsys._getframe()",
    "__import__('subprocess').run(['cat', '{file}'])",
    "exec('import subprocess')\n1",
    "exec('import socket')\n1",
    "eval(\"__import__('os').system('id')\")",
    "eval(\"open('{file}').read()\")",
    "().__class__.__mro__[1].__subclasses__()",
    "(lambda: 1).__globals__",
    "(lambda: 1).__code__",
    "''.__class__.__base__",
    "type(1).__subclasses__(type(1))",
    "getattr(1, '__class__').__mro__",
    "'{{0.__class__}}'.format(1)",
    "'{{0.__globals__}}'.format(read_file)",
    "read_file.__globals__",
    "read_file.__closure__",
    "read_file.__self__",
    "globals()",
    "vars(read_file)",
    "dir(read_file)",
    "import asyncio\nasyncio.create_subprocess_shell('id')",
    "import asyncio\nasyncio.open_connection('localhost', 1)",
    "import functools\nfunctools.partial(read_file).func.__globals__",
    "import json\njson.codecs.open('{file}').read()",
    "import re\nre.sys.modules",
    "import datetime\ndatetime.sys.modules",
    "class A:\n    def __init__(self): self.__class__ = object\nA().__class__.__mro__",
    "import tomllib\ntomllib.load(open('{file}', 'rb'))",
    "import csv\nlist(csv.reader(open('{file}')))",
    "await read_file('{file}')",
    "await write_file('{file}', 'x')",
    "await other('x')",
]


@pytest.mark.parametrize("text", SCRIPTS)
async def test_nothing_of_the_host_is_reached(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE_SECRET", SECRET)
    file = tmp_path / "secret.txt"
    file.write_text(SECRET)
    head = (
        "from grail import external\n"
        "@external\nasync def read_file(path: str) -> str: ...\n"
        "@external\nasync def write_file(path: str, content: str) -> bool: ...\n"
    )
    parsed = parse_script(head + text.format(file=file, folder=tmp_path) + "\n", "tools/hostile.pym")
    if parsed.script is None:
        return

    async def refuse(*args: object) -> str:
        raise PermissionError("not allowed")

    async with ScriptRunner(max_processes=1) as runner:
        try:
            value = await runner.run(
                parsed.script, {}, {"read_file": refuse, "write_file": refuse, "other": refuse}, ScriptLimits(seconds=1)
            )
        except ToolError as error:
            value = str(error)
    shown = repr(value)
    assert SECRET not in shown
    assert "secret.txt" not in shown.replace(str(file), "")
    assert os.getcwd() not in shown  # noqa: PTH109 - as the sandbox would ask
    assert "uid=" not in shown
    assert "<function" not in shown
    assert file.read_text() == SECRET


async def test_a_script_sees_no_other_scripts_data() -> None:
    first = parse_script("import json\nx = 'left behind'\njson.left = x\nx", "a.pym").script
    second = parse_script(
        "import json\nresult = []\ntry:\n    result.append(x)\nexcept NameError:\n    result.append('none')\nresult",
        "b.pym",
    ).script
    assert first is not None
    assert second is not None
    async with ScriptRunner(max_processes=1) as runner:
        for _ in range(5):
            await asyncio.gather(runner.run(first, {}, {}), return_exceptions=True)
            assert await runner.run(second, {}, {}) == ["none"]


async def test_changing_an_input_does_not_change_the_hosts_value() -> None:
    script = parse_script('from grail import Input\na: list[int] = Input("a")\na.append(4)\na', "a.pym").script
    assert script is not None
    value = [1, 2]
    async with ScriptRunner() as runner:
        assert await runner.run(script, {"a": value}, {}) == [1, 2, 4]
    assert value == [1, 2]

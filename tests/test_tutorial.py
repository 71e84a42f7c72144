"""docs/tutorial.md is carried out from an empty folder, block by block, and what it shows is what comes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_docs import ROOT

PAGE = ROOT / "docs/tutorial.md"
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A fenced block: what it is in, and the comment above it that says what becomes of it."""

    mark: str
    language: str
    body: str


def blocks() -> Iterator[Block]:
    for found in BLOCK.finditer(PAGE.read_text("utf-8")):
        yield Block(found["mark"] or "", found["language"], found["body"])


def steps(body: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with what is shown below it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def pattern(shown: str) -> re.Pattern[str]:
    """Return what an output must match: … is anything in a line, and a line of its own any lines."""
    lines = ("(?:.*\n)*?" if line == "…" else _line(line) for line in shown.splitlines())
    return re.compile("".join(lines))


def _line(line: str) -> str:
    return re.escape(line.rstrip()).replace("…", ".+") + "\n"


class Reader:
    """Someone who does what the page says, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder.parent / "bin"
        programs.mkdir()
        (programs / "engine").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m engine "$@"\n')
        (programs / "engine").chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "NO_COLOR": "1",
            "COLUMNS": "120",
            # Tasks end in the order of the page.
            "ENGINE_RUN_CONCURRENCY": "1",
        }

    def follow(self, block: Block) -> None:
        if block.language == "console":
            self.run(block)
        elif block.mark.startswith("file: "):
            path = self.folder / block.mark.removeprefix("file: ")
            assert path.parent.is_dir()
            assert not path.exists()
            path.write_text(block.body)
        elif block.mark.startswith("section "):
            name, path = re.fullmatch(r"section (\w+) of (\S+)", block.mark).groups()
            text = (self.folder / path).read_text()
            changed, times = re.subn(rf"^{name}:.*\n(?:[ #].*\n)*", lambda _: block.body, text, flags=re.MULTILINE)
            assert times == 1
            (self.folder / path).write_text(changed)
        else:
            assert block.language == "sh", block

    def run(self, block: Block) -> None:
        """Run the commands; the last one exits with the number in the mark, or 0."""
        commands = list(steps(block.body))
        assert commands
        for number, (command, shown) in enumerate(commands, 1):
            ran = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=120,
            )
            expected = int(block.mark.removeprefix("exits ") or 0) if number == len(commands) else 0
            output = "".join(f"{line.rstrip()}\n" for line in ran.stdout.splitlines())
            assert ran.returncode == expected, f"$ {command}\n{output}"
            assert pattern(shown).fullmatch(output), f"$ {command}\n{output}\n--- shown:\n{shown}"


@pytest.mark.embedded
def test_the_tutorial_is_what_happens(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "engine.yaml").touch()
    reader = Reader(folder)
    for block in blocks():
        reader.follow(block)


def test_what_is_not_run_is_right() -> None:
    """The blocks of sh: the extras exist, and the live view has the keys."""
    import tomllib

    from engine.tui.dev.screen import DevScreen

    install, live = (block.body for block in blocks() if block.language == "sh")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.search(r"bundle-engine\[(.+)\]", install)[1].split(",")) <= set(extras)
    assert "touch engine.yaml" in install
    assert any(live.strip() == block_command.removesuffix(" --once") for block_command in _commands())
    text = PAGE.read_text("utf-8")
    keys = {key for binding in DevScreen.BINDINGS for key in binding.key.split(",")}
    said = re.findall(r"`(\w)`", text.split("At each save", 1)[1].split("```", 1)[0])
    assert said == ["r", "n", "e", "a", "q"]
    assert set(said) <= keys


def _commands() -> list[str]:
    return [command for block in blocks() if block.language == "console" for command, _ in steps(block.body)]


def test_a_pattern_is_strict_but_for_the_dots() -> None:
    assert pattern("a …\n…\nb\n").fullmatch("a x y\nb\n")
    assert pattern("a …\n…\nb\n").fullmatch("a x\nc\nd\nb\n")
    assert not pattern("a …\n…\nb\n").fullmatch("a x\nc\nb\nd\n")
    assert not pattern("a.c\n").fullmatch("abc\n")
    assert not pattern("").fullmatch("more\n")

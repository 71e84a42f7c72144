"""The rest of the gate: lint, format, types, the rooms, the public names, no path of a machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, check=False)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("argv", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)], ids=" ".join)
def test_tool_is_content(argv: tuple[str, ...]) -> None:
    result = run(*argv)
    assert result.returncode == 0, result.stdout + result.stderr


def test_rooms_import_downward_only() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_public_names_are_sorted_and_importable() -> None:
    import engine

    assert engine.__all__ == sorted(engine.__all__)
    assert all(getattr(engine, name) is not None for name in engine.__all__)


def test_import_is_light() -> None:
    code = (
        "import sys, engine\n"
        "print({'pydantic', 'jinja2', 'openai', 'xgrammar', 'torch', 'rich', 'tree_sitter'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_help_imports_no_room() -> None:
    code = (
        "import sys\nfrom engine.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print({'pydantic', 'jinja2', 'openai', 'rich', 'tree_sitter'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_validating_what_has_not_changed_imports_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom engine.cli import main\n"
        "try:\n    main(['validate', 'bundles'])\nexcept SystemExit:\n    pass\n"
        "print({'pydantic', 'jinja2', 'jsonschema', 'xgrammar', 'xml.etree.ElementTree'} & set(sys.modules))"
    )
    environment = {**os.environ, "ENGINE_CACHE_DIR": str(tmp_path)}
    argv = [sys.executable, "-c", code]
    for _ in range(2):
        result = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_proportions() -> None:
    long = [path for path in (ROOT / "engine").rglob("*.py") if path.read_text("utf-8").count("\n") > 400]
    assert long == []


def test_no_path_of_a_machine() -> None:
    pattern = re.compile(r"(?<![A-Za-z0-9_.])/(?:work|farm|root|home)/[A-Za-z]")
    texts = {path: path.read_bytes() for path in tracked_files()}
    found = [
        path
        for path, data in texts.items()
        if b"\0" not in data[:1024] and pattern.search(data.decode("utf-8", "replace"))
    ]
    assert [path for path in found if path != Path(__file__)] == []

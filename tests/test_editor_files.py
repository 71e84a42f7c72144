"""What docs/editors.md, docs/ci.md and .pre-commit-hooks.yaml tell other programs: it parses, and the commands work."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundle_parts import BUNDLES
from test_cli import engine
from test_docs import ROOT, fences

EDITORS, CI = ROOT / "docs/editors.md", ROOT / "docs/ci.md"
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A git repository with a new bundle."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert engine("new", "fresh", cwd=tmp_path).returncode == 0
    return tmp_path


def break_it(project: Path) -> None:
    prompt = project / "bundles/fresh/prompts/user.md.j2"
    prompt.write_text(prompt.read_text().replace("node.text", "node.txt"))


def settings() -> dict[str, Any]:
    return {key: value for block in fences(EDITORS, "json") for key, value in json.loads(block).items()}


# -- editors


def commands() -> dict[str, list[str]]:
    """Return the command that each editor is told to run."""
    helix = tomllib.loads(fences(EDITORS, "toml")[0])["language-server"]["engine"]
    code = settings()
    lua = re.search(r"cmd = \{ (.*) \}", fences(EDITORS, "lua")[0])
    assert lua
    return {
        "helix": [helix["command"], *helix["args"]],
        "code": [code["glspc.server.command"], *code["glspc.server.commandArguments"]],
        "neovim": [word.strip("' ") for word in lua[1].split(",")],
    }


def test_every_editor_runs_the_same_command() -> None:
    assert set(map(tuple, commands().values())) == {("engine", "lsp")}


async def test_the_command_serves_a_client(fresh: Path) -> None:
    pytest.importorskip("pygls")
    from lsprotocol import types
    from pygls.lsp.client import BaseLanguageClient

    path = fresh / "bundles/fresh/bundle.yaml"
    client = BaseLanguageClient("test", "1")
    heard: asyncio.Future[list[types.Diagnostic]] = asyncio.get_running_loop().create_future()

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def published(params: types.PublishDiagnosticsParams) -> None:
        if params.diagnostics and not heard.done():
            heard.set_result(list(params.diagnostics))

    await client.start_io(sys.executable, "-m", *commands()["helix"])
    try:
        folder = types.WorkspaceFolder(fresh.as_uri(), "fresh")
        capabilities = types.ClientCapabilities()
        await client.initialize_async(types.InitializeParams(capabilities, workspace_folders=[folder]))
        client.initialized(types.InitializedParams())
        text = path.read_text().replace("checks:", "cheks:")
        client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(path.as_uri(), "yaml", 1, text))
        )
        found = await asyncio.wait_for(heard, 60)
        assert (found[0].code, found[0].message.splitlines()[0]) == (
            "S001",
            "unknown key 'cheks' in the top level: did you mean 'checks'?",
        )
        await client.shutdown_async(None)
        client.exit(None)
    finally:
        await client.stop()


def test_the_lua_is_lua(tmp_path: Path) -> None:
    if shutil.which("nvim") is None:
        pytest.skip("nvim is not installed")
    (block,) = fences(EDITORS, "lua")
    (tmp_path / "init.lua").write_text(block)
    check = f"lua local ok, why = loadfile('{tmp_path}/init.lua'); io.stdout:write(ok and 'parsed' or why)"
    argv = ["nvim", "--headless", "-u", "NONE", "-i", "NONE", "-c", check, "-c", "qa!"]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert "parsed" in ran.stdout + ran.stderr


def test_helix_knows_every_kind_of_file() -> None:
    languages = {one["name"]: one for one in tomllib.loads(fences(EDITORS, "toml")[0])["language"]}
    assert set(languages) == {"yaml", "jinja", "pym"}
    assert all("engine" in one["language-servers"] for one in languages.values())
    assert languages["jinja"]["file-types"] == ["j2", "jinja", "jinja2"]


def test_the_schemas_reach_the_files(fresh: Path) -> None:
    (script,) = [block for block in fences(EDITORS, "sh") if "schema" in block]
    stand_in = f'engine() {{ "{sys.executable}" -m engine "$@"; }}\n'
    subprocess.run(["bash", "-euc", stand_in + script], cwd=fresh, check=True)
    associated = settings()["yaml.schemas"]
    for schema, globs in associated.items():
        assert json.loads((fresh / schema).read_text())["$schema"]
        assert len(globs) == 1
    assert engine("new", "second", cwd=fresh).returncode == 0
    for file, kind in {"bundle.yaml": "bundle", "tests/cases.yaml": "tests"}.items():
        matching = [schema for schema, (glob,) in associated.items() if fnmatch(f"bundles/second/{file}", glob)]
        assert matching == [f"./schemas/{kind}.schema.json"]
    (modeline,) = [block for block in fences(EDITORS, "yaml") if block.startswith("# yaml-language-server")]
    assert (fresh / "bundles/second/bundle.yaml").read_text().startswith(modeline)


# -- pre-commit


def hook(project: Path) -> subprocess.CompletedProcess[str]:
    """Run the hook as pre-commit does for hooks that take no file names."""
    (one,) = HOOKS
    program, *words = [*shlex.split(one["entry"]), *one["args"]]
    assert program == "engine"
    return engine(*words, cwd=project)


def test_the_hook_is_one() -> None:
    (one,) = HOOKS
    assert set(one) == {"id", "name", "description", "language", "entry", "args", "pass_filenames", "files"}
    assert (one["id"], one["language"], one["pass_filenames"]) == ("engine-validate", "python", False)
    assert f"id: {one['id']}" in CI.read_text("utf-8")


def test_the_hook_stops_a_commit_with_a_finding(fresh: Path) -> None:
    assert hook(fresh).returncode == 0
    break_it(fresh)
    stopped = hook(fresh)
    assert (stopped.returncode, "'node' has no attribute 'txt'" in stopped.stdout) == (1, True)


def test_the_hook_runs_for_all_files_of_a_bundle() -> None:
    pattern = re.compile(HOOKS[0]["files"])
    listed = subprocess.run(["git", "ls-files", "bundles"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout
    assert all(pattern.search(name) for name in listed.stdout.splitlines())
    assert all(pattern.search(name) for name in ("agents/x/bundle.yml", "agents/x/tools/a.pym", "agents/x/p.md.j2"))
    assert not any(pattern.search(name) for name in ("README.md", "src/bundle.py", "docs/my_bundle.yaml.md", "a.yaml"))


# -- GitHub Actions


def workflow() -> dict[str, Any]:
    (text,) = [block for block in fences(CI, "yaml") if "jobs:" in block]
    # YAML 1.1 takes the key `on` for true, and so does this reader.
    return yaml.safe_load(text.replace("\non:", "\n'on':"))


def step(name: str) -> str:
    (found,) = [one["run"] for one in workflow()["jobs"]["bundles"]["steps"] if one.get("name") == name]
    return str(found)


def run_step(name: str, project: Path) -> subprocess.CompletedProcess[str]:
    stand_in = f'engine() {{ "{sys.executable}" -m engine "$@"; }}\n'
    return subprocess.run(
        ["bash", "-ec", stand_in + step(name)], cwd=project, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_workflow_is_one() -> None:
    found = workflow()
    assert set(found) == {"name", "on", "permissions", "jobs"}
    (job,) = found["jobs"].values()
    assert job["runs-on"]
    for one in job["steps"]:
        assert set(one) <= {"name", "uses", "with", "run", "if"}
        assert ("uses" in one) is not ("run" in one)
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", one.get("uses", "actions/x@v1"))


def test_the_workflow_validates(fresh: Path) -> None:
    clean = run_step("Validate", fresh)
    assert (clean.returncode, clean.stdout) == (0, "")
    break_it(fresh)
    broken = run_step("Validate", fresh)
    assert broken.returncode == 1
    assert broken.stdout.startswith("::error ")
    assert "file=bundles/fresh/prompts/user.md.j2,line=3" in broken.stdout


def test_the_workflow_tests_on_recordings(tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").touch()
    shutil.copytree(BUNDLES / "sample_data", tmp_path / "bundles/sample_data")
    tested = run_step("Test on recorded replies", tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert (tmp_path / "report.xml").read_text().count("<testcase") >= 1

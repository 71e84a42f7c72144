"""Shell completion: in real shells, whose lines are read back as the words that the shell then makes of them."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pexpect
import pytest
from click.shell_completion import CompletionItem
from hypothesis import given
from hypothesis import strategies as st
from projects import MANIFEST, make_bundle
from test_cli import engine, run_bundle

from engine.cli import VERBS, cli
from engine.cli.completion import SHELLS, script
from engine.cli.completion.shells import Bash, _words
from engine.cli.completion.table import COMPLETERS, OF_VERBS
from engine.diagnostics import CODES

PARAMS = """\
params:
  style: {type: string, enum: [google, numpy], default: google, description: "How: it looks."}
  strict: {type: boolean, default: false}
  depth: {type: integer, default: 1}
adapters:
  docs: {name: docs-v1}
tests: tests/*.yaml
"""
LINE = {"ENGINE_WORDBREAKS": " \t\n\"'><=;|&(:", "_ENGINE_COMPLETE": "bash_complete"}
NODES = ("first", "second", "Thing", "Thing.third")
QUOTED = "def plain():\n    pass\n\n\nclass Box:\n    def open(self):\n        pass\n"


@pytest.fixture
def shop(project: Path) -> Path:
    """A project with two bundles and files that need quotes."""
    make_bundle(project / "bundles/note", MANIFEST + PARAMS)
    make_bundle(project / "bundles/notes", MANIFEST.replace("name: note", "name: notes"))
    (project / "bundles/note/tests").mkdir()
    (project / "bundles/note/tests/c.yaml").write_text("format: 1\ncases:\n  - {name: a function, source: x}\n")
    (project / "bundles/empty").mkdir()
    (project / "a b.py").write_text(QUOTED)
    (project / "page.md").write_text('# It costs $(touch hacked) & more\n\ntext\n\n# It costs `x` ; "y"\n\ntext\n')
    return project


def complete(line: str, cwd: Path) -> list[str]:
    """Return what the script of bash would get for a line."""
    ran = engine(cwd=cwd, **LINE, COMP_LINE=line)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return [line for line in ran.stdout.splitlines() if line]


def values(line: str, cwd: Path) -> list[str]:
    """Return what is offered but for files and folders, in this process."""
    environment = {**os.environ, **LINE, "COMP_LINE": line}
    with contextlib.chdir(cwd), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        found = Bash(cli, {}, "engine", "_ENGINE_COMPLETE").complete().splitlines()
    return [item.partition(",")[2] for item in found if item.startswith(("plain,", "part,"))]


# -- what is offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("engine expl", ["explain"]),
        ("engine no", ["nodes"]),
        ("engine run no", ["note", "notes"]),
        ("engine run note note", ["note", "notes"]),
        ("engine doctor note", ["note", "notes"]),
        ("engine render note -t src/a.py", [f"src/a.py::{name}" for name in NODES]),
        ("engine render note -t src/a.py::Th", ["Thing", "Thing.third"]),
        ("engine render note --target=src/a.py::se", ["second"]),
        ("engine render note -t a\\ b.py::B", ["Box", "Box.open"]),
        ("engine render note -t 'a b.py::B", ["a b.py::Box", "a b.py::Box.open"]),
        ("engine run note -t src --node s", ["second"]),
        ("engine run note -t src/a.py -t 'a b.py' --node Box.", ["Box.open"]),
        ("engine run note --param ", ["style=", "strict=", "depth="]),
        ("engine run note --param st", ["style=", "strict="]),
        ("engine run note --param style=", ["google", "numpy"]),
        ("engine run note --param strict=t", ["true"]),
        ("engine run note --param depth=", []),
        ("engine run note --param=style=g", ["google"]),
        ("engine run bundles/note --param style=n", ["numpy"]),
        ("engine run note --adapter ", ["docs", "none"]),
        ("engine run notes --adapter ", ["none"]),
        ("engine run note --plugin q", ["qwen", "qwen_coder"]),
        ("engine test note --case 'a fu", ["a function"]),
        ("engine test note --adapter d", ["docs"]),
        ("engine run note --mod", ["--model"]),
        ("engine explain T00", [code for code in CODES if code.startswith("T00")]),
        ("engine explain t00", [code for code in CODES if code.startswith("T00")]),
        ("engine explain unknown-k", [row.name for row in CODES.values() if row.name.startswith("unknown-k")]),
        ("engine nodes -l ty", ["typescript"]),
        ("engine nodes -l markdown --type ", ["file", "section", "code_block"]),
        ("engine models pull smollm2-1", ["smollm2-135m-instruct"]),
        ("engine validate --output-format gi", ["github", "gitlab"]),
        ("engine completion ", list(SHELLS)),
        ("engine nothing x", []),
        ("engine run nowhere --param ", []),
        ("engine render note -t src/gone.py::x", []),
    ],
)  # fmt: skip
def test_what_is_offered(shop: Path, line: str, offered: list[str]) -> None:
    assert values(line, shop) == offered


def test_a_process_offers_the_same(shop: Path) -> None:
    for line in ("engine run no", "engine render note -t src/a.py::Th", "engine run note --param st"):
        assert [item.partition(",")[2] for item in complete(line, shop) if item[:4] != "dir,"] == values(line, shop)


def test_every_verb_is_offered_without_importing_the_verbs(shop: Path) -> None:
    assert values("engine ", shop) == list(VERBS)
    code = (
        "import os, sys\nos.environ |= {'COMP_LINE': 'engine ', '_ENGINE_COMPLETE': 'bash_complete'}\n"
        "from engine.cli import main\ntry:\n    main([])\nexcept SystemExit:\n    pass\n"
        "print({'pydantic', 'jinja2', 'openai', 'rich', 'tree_sitter', 'engine.app'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "set()"


def test_runs_newest_first(bundle: Path, shop: Path, server) -> None:
    assert values("engine show ", shop) == []
    for _ in range(2):
        run_bundle(bundle, shop, server, "--limit", "1")
    listed = [line.split()[0] for line in engine("runs", cwd=shop).stdout.splitlines()]
    assert len(listed) == 2
    for verb in ("show", "accept", "diff", "events"):
        assert values(f"engine {verb} ", shop) == listed
    assert values(f"engine show {listed[1]}", shop) == [listed[1]]


def test_types_of_events_and_states_of_tasks(shop: Path) -> None:
    assert values("engine events --type task:", shop) == ["finished", "started"]  # bash takes a colon for an end
    assert values("engine show --state f", shop) == ["finished", "failed"]
    assert values("engine show --state failed,st", shop) == ["failed,stopped"]


def test_the_project_of_the_line_is_meant(shop: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "engine.yaml").touch()
    assert values("engine run no", elsewhere) == []
    assert values(f"engine run --project {shop} no", elsewhere) == ["note", "notes"]
    (shop / "engine.yaml").write_text("bundles: agents\n")
    assert values("engine run no", shop) == []
    (shop / "bundles").rename(shop / "agents")
    assert values("engine run no", shop / "src") == ["note", "notes"]


@pytest.mark.parametrize(
    "line", ["engine run no", "engine run note --param ", "engine show ", "engine render note -t x.py::"]
)
def test_what_is_broken_is_met_with_silence(shop: Path, line: str) -> None:
    (shop / "x.py").write_bytes(b"\xff\xfe def (\x00")
    (shop / ".engine").mkdir()
    (shop / ".engine/events.db").write_bytes(b"no database")
    (shop / "bundles/note/bundle.yaml").write_bytes(b"params: {\xff")
    assert complete(line, shop) is not None
    (shop / "engine.yaml").write_text("bundles: [\n")
    assert values(line, shop) == []


def test_a_folder_of_many_files_is_read_in_part(shop: Path) -> None:
    for number in range(200):
        (shop / f"src/m{number:03}.py").write_text(f"def only_{number:03}(): ...\n")
    assert 0 < len(values("engine run note -t src --node only", shop)) < 60


# -- the table


def leaves(command: click.Command, verb: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield verb, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, verb or name)


def test_the_table_names_parameters_that_exist_and_leaves_none_out() -> None:
    names = {(verb, param.name): param for verb, command in leaves(cli) for param in command.params}
    assert {name for _, name in names} >= set(COMPLETERS)
    assert set(names) >= set(OF_VERBS)
    asked = {"BUNDLE", "NODE", "CODE", "RUN", "K=V"}
    for (_, name), param in names.items():
        shown = param.make_metavar(click.Context(cli)) if isinstance(param, click.Argument) else param.metavar or ""
        if asked & set(re.findall(r"[A-Z=]+", shown)):
            assert name in COMPLETERS, (name, shown)


# -- words


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=6), max_size=4
    ),
    st.data(),
)
def test_a_line_is_split_as_the_shell_does(words: list[str], data) -> None:
    import shlex

    line = "engine " + "".join(shlex.quote(word) + " " for word in words)
    assert _words(line) == (words, "")
    last = data.draw(st.text("ab$\"' \\é", min_size=1, max_size=6))
    assert _words(line + re.sub(r"([^\wé])", r"\\\1", last)) == (words, last)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12))
def test_what_is_inserted_is_read_as_it_was_meant(text: str) -> None:
    import shlex

    item = Bash(cli, {}, "engine", "_ENGINE_COMPLETE").format_completion(CompletionItem(text))
    assert shlex.split(item.removeprefix("plain,"), posix=True) == [text]


# -- in the shells

PROGRAM = {
    "bash": """
PS1='%% ' PS2=
bind 'set enable-bracketed-paste off'; bind 'set completion-query-items 0'; bind 'set page-completions off'
engine() {{ if [ -n "$_ENGINE_COMPLETE" ]; then {python} -m engine "$@"; else printf '<%s>' "$@"; echo; fi; }}
""",
    "zsh": """
PS1='%% '; PROMPT_EOL_MARK=; unsetopt zle_bracketed_paste prompt_cr prompt_sp; autoload -Uz compinit; compinit -u -D
zstyle ':completion:*' list-prompt ''; LISTMAX=1000
engine() {{ if [ -n "$_ENGINE_COMPLETE" ]; then {python} -m engine "$@"; else printf '<%s>' "$@"; echo; fi; }}
""",
    "fish": """
function fish_prompt; echo '% '; end; function fish_greeting; end; set -g fish_autosuggestion_enabled 0
""",
}


@pytest.fixture
def shell(request: pytest.FixtureRequest, shop: Path, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A shell that says which words a line has once the key was pressed at its end."""
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    start = home / f"start.{name}"
    start.write_text(PROGRAM[name].format(python=sys.executable) + script(name))
    # Fish starts a program of its own for each completion, so its stand-in is a file.
    stand_in = home / "bin/engine"
    stand_in.write_text(
        f'#!/bin/sh\nif [ -n "$_ENGINE_COMPLETE" ]; then exec {sys.executable} -m engine "$@"; fi\n'
        "printf '<%s>' \"$@\"; echo\n"
    )
    stand_in.chmod(0o755)
    argv = {
        "bash": ["--norc", "--noprofile", "--init-file", str(start), "-i"],
        "zsh": ["-f", "-i"],
        "fish": ["--no-config", "-i", "-C", f"source {start}"],
    }[name]
    if name == "bash":
        argv = ["--noprofile", "--rcfile", str(start), "-i"]
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "TERM": "dumb" if name != "fish" else "xterm",
        "LC_ALL": "C.UTF-8",
    }
    child = pexpect.spawn(
        name, argv, cwd=str(shop), env=environment, encoding="utf-8", timeout=60, dimensions=(50, 200)
    )
    if name == "zsh":
        child.sendline(f"source {start}; echo rea''dy")
    else:
        child.sendline("echo rea''dy")
    child.expect("ready")

    def press(line: str) -> str:
        child.send(line + "\t")
        child.sendline("")
        child.expect(r"(<[^\r\n]*>)\r?\n")
        return child.match[1]

    yield press
    child.sendline("exit")
    child.close(force=True)


@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_a_real_shell_completes(shell: Callable[[str], str], shop: Path) -> None:
    assert shell("engine expla") == "<explain>"
    assert shell("engine run notes") == "<run><notes>"
    assert shell("engine explain unknown-ext") == "<explain><unknown-external>"
    assert shell("engine render note --target src/a.py::sec") == "<render><note><--target><src/a.py::second>"
    assert shell("engine run note --param style=g") == "<run><note><--param><style=google>"
    assert shell("engine render note -t src/a") == "<render><note><-t><src/a.py>"
    assert shell("engine run bundles/emp").rstrip("/>") == "<run><bundles/empty"
    assert not (shop / "hacked").exists()


@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_names_from_source_code_are_quoted(shell: Callable[[str], str], shop: Path) -> None:
    (shop / "page.md").write_text("# It costs $(touch hacked) & `touch hacked`; more\n\ntext\n")
    meant = "<render><note><-t><page.md::It costs $(touch hacked) & `touch hacked`; more>"
    assert shell("engine render note -t page.md::It") == meant
    assert shell("engine render note -t a\\ b.py::pl") == "<render><note><-t><a b.py::plain>"
    assert not (shop / "hacked").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_is_printed_both_ways(name: str, tmp_path: Path) -> None:
    printed = engine("completion", name)
    assert (printed.returncode, printed.stdout) == (0, script(name))
    assert engine(_ENGINE_COMPLETE=f"{name}_source").stdout.rstrip("\n") == script(name).rstrip("\n")
    if shutil.which(name):
        (tmp_path / "script").write_text(script(name))
        subprocess.run([name, "-n", str(tmp_path / "script")], check=True)

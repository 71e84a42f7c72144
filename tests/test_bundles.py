"""The bundles that ship with the engine: valid, and their tools do what they say on real projects."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bundle_parts import BUNDLES, SHOP, call_tool

from engine.bundle import validate

NAMES = ["docstring", "lint", "sample_data", "tests"]
SENTENCE = "Return the target of the code."


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    shutil.copytree(SHOP, root, ignore=shutil.ignore_patterns(".engine", "__pycache__", ".git"))
    (root / "engine.yaml").write_text("backend: {kind: embedded}\n")
    return root


def test_the_shipped_bundles_are_these_and_valid() -> None:
    assert sorted(path.parent.name for path in BUNDLES.glob("*/bundle.yaml")) == NAMES
    assert validate([BUNDLES], use_cache=False) == []


def without_docstrings(source: str) -> str:
    tree = ast.parse(source, type_comments=True)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


FUNCTIONS = {
    "plain": "def target(a):\n    return a\n",
    "one line": "def target(): return 1\n",
    "one line, comment": "def target(): return 1  # one\n",
    "one line, two statements": "def target(): a = 1; return a\n",
    "one line, open string": 'def target(): return """a\nb"""\n',
    "method on one line": "class A:\n    def target(self): return 1\n",
    "method on one line, tabs": "class A:\n\tdef target(self): return 1\n",
    "stub": "def target() -> int: ...\n",
    "overload": "from typing import overload\n@overload\ndef target(a: int) -> int: ...\n",
    "long signature": "def target(\n    a,  # a: (\n    b={'x': 1},\n) -> dict[str, int]:\n    return b\n",
    "lambda default": "def target(a=lambda x: x, *, b=':'):\n    return a\n",
    "lambda annotation": "def target() -> lambda: 1: return 1\n",
    "string annotation": "def target(a: 'x:(') -> \"y: [\":\n    return a\n",
    "f-string default": "def target(a=f'{1:>{2}}:', b=rb'\\':'):\n    return a\n",
    "triple default": 'def target(a="""\n): "x" (\n"""):\n    return a\n',
    "decorators": "@property\n@(lambda f: f)  # def target(: \n\n# note\nasync def target(self):\n    return 1\n",
    "comment first": "def target():\n    # say why\n    return 1\n",
    "odd comment": "def target():\n# at the margin\n\n        # deep\n    return 1\n",
    "type comment": "def target(a, b):\n    # type: (int, int) -> int\n    # more\n    return a\n",
    "comment behind the colon": "def target():  # noqa: X\n    return 1\n",
    "continuation": "def target(a, \\\n        b) \\\n        : \\\n    return 1\n",
    "tabs": "class A:\n\tclass B:\n\t\tdef target(self):\n\t\t\tif self:\n\t\t\t\treturn 1\n",
    "two spaces": "class A:\n  def target(self):\n     return 1\n",
    "not ASCII": "def target(ä='ß:', *ñ):\n    return 'é'\n",
    "bytes first": "def target():\n    b'no docstring'\n    return 1\n",
    "f-string first": "def target():\n    f'no docstring {1}'\n    return 1\n",
    "generic": "def target(a=[1, 2][0:1], *, b: dict[str, 'x'] = {}) -> None:\n    pass\n",
}


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_docstring_changes_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "code.py").write_text("X = 1\n\n\n" + FUNCTIONS[name] + "\n\nY = 2\n")
    called = await call_tool("docstring", tmp_path, "target", {"summary": SENTENCE})
    assert called.result.outcome == "success", called.result
    assert without_docstrings(called.text) == without_docstrings((tmp_path / "code.py").read_text())
    found = [node for node in ast.walk(ast.parse(called.text)) if getattr(node, "name", "") == "target"]
    assert [ast.get_docstring(node) for node in found] == [SENTENCE]


async def test_docstring_keeps_crlf(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_bytes(b"def target():\r\n    return 1\r\n")
    called = await call_tool("docstring", tmp_path, "target", {"summary": SENTENCE})
    assert called.changes[0].after == f'def target():\r\n    """{SENTENCE}"""\r\n    return 1\r\n'.encode()


async def test_docstring_wraps_a_long_sentence(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def target():\n    return 1\n")
    sentence = "Return " + "values " * 10 + "given."
    called = await call_tool("docstring", tmp_path, "target", {"summary": sentence}, line_length=50)
    assert max(map(len, called.text.splitlines())) <= 50
    doc = ast.get_docstring(ast.parse(called.text).body[0])  # type: ignore[arg-type]
    assert doc is not None
    assert doc.split() == sentence.split()


@pytest.mark.parametrize(
    "body",
    [
        "    'text' 'more'\n    return 1\n",
        "    ('text')\n    return 1\n",
        "    \\\n    return 1\n",
        "    \f return 1\n",
    ],
)
async def test_docstring_declines_when_in_doubt(tmp_path: Path, body: str) -> None:
    source = "def target(a=1):\n" + body
    ast.parse(source)
    (tmp_path / "code.py").write_text(source)
    if ast.get_docstring(ast.parse(source).body[0]) is not None:  # type: ignore[arg-type]
        source = source.replace("def target", "def other") + "\n\ndef target(): ('')\n"
        (tmp_path / "code.py").write_text(source)
    called = await call_tool("docstring", tmp_path, "target", {"summary": SENTENCE})
    assert (called.result.outcome, called.changes) == ("partial", ())


@pytest.mark.parametrize(
    "sentence", ['Say "no".', "A back\\slash here.", "lower case here.", "Two. Sentences.", "Line\nbreak here."]
)
async def test_docstring_refuses_what_the_grammar_forbids(tmp_path: Path, sentence: str) -> None:
    (tmp_path / "code.py").write_text("def target():\n    return 1\n")
    called = await call_tool("docstring", tmp_path, "target", {"summary": sentence})
    assert (called.result.is_error, called.changes) == (True, ())


@pytest.mark.parametrize(
    "sentence",
    [
        "Write the docstring of it.",
        "Parse the .",
        "Return the sum of.",
        "Return `a.",
        "Return (a.",
        "Return the oldest on the given day.",
        "A" + " word" * 17 + " here.",
    ],
)
async def test_docstring_declines_a_worthless_sentence(tmp_path: Path, sentence: str) -> None:
    (tmp_path / "code.py").write_text("def target():\n    return 1\n")
    called = await call_tool("docstring", tmp_path, "target", {"summary": sentence})
    assert (called.result.outcome, called.changes) == ("partial", ()), len(sentence)


async def test_docstring_declines_invented_words_unless_told_not_to(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def quit(self):\n    self.send('QUIT')\n    self.sock.closeAll()\n")
    for sentence, outcome in [("Quit the server.", "partial"), ("Send quit to the socket.", "success")]:
        called = await call_tool("docstring", tmp_path, "quit", {"summary": sentence}, strict="always")
        assert called.result.outcome == outcome, sentence
    called = await call_tool("docstring", tmp_path, "quit", {"summary": "Quit the server."}, strict="never")
    assert called.result.outcome == "success"


@pytest.mark.parametrize(
    ("name", "sentence", "outcome"),
    [
        ("close_socket", "Close the socket.", "success"),
        ("close_socket", "Closes all sockets.", "success"),
        ("close_socket", "Return the socket.", "partial"),
        ("closeSocket", "Send quit to the socket.", "partial"),
        ("getSocket", "Return the socket.", "success"),
        ("make_socket", "Create the socket.", "success"),
        ("get_socket", "Create the socket.", "partial"),
        ("_socket_from_quit", "Return the socket when it is quit.", "success"),
        ("socketHTTP2Send", "Send to the socket.", "partial"),
        ("isquit", "Return whether it is quit.", "success"),
        ("fquit", "Get the quit.", "success"),
        ("xy", "Send all to the socket.", "partial"),
        ("_", "Send all to the socket.", "success"),
        ("unquit", "Send quit to the socket.", "partial"),
        ("send_all_sockets", "Send all to the sockets.", "success"),
        ("send_all_sockets", "Send all to a socket.", "partial"),
        ("closes", "Close the socket.", "success"),
        ("quit", "Quit and close the socket.", "partial"),
        ("quit_socket", "Quit and close the socket.", "success"),
        ("socket", "The socket that is closed.", "partial"),
        ("socket", "Send the socket to a socket.", "partial"),
        ("is_socket", "Check if the socket is a socket.", "success"),
    ],
)
async def test_docstring_declines_a_sentence_about_something_else(
    tmp_path: Path, name: str, sentence: str, outcome: str
) -> None:
    (tmp_path / "code.py").write_text(f"def {name}(self):\n    self.send('QUIT')\n    self.socket.closeAll()\n")
    called = await call_tool("docstring", tmp_path, name, {"summary": sentence}, strict="always")
    assert called.result.outcome == outcome, called.result
    called = await call_tool("docstring", tmp_path, name, {"summary": sentence}, strict="never")
    assert called.result.outcome == "success"


@pytest.mark.parametrize(
    ("code", "sentence", "outcome"),
    [
        ("def value(a) -> str:\n    return a\n", "Check if the value is a bool.", "partial"),
        ("def value(a) -> bool:\n    return a\n", "Check if the value is a bool.", "success"),
        ("def value(a) -> TypeGuard[str]:\n    return a\n", "Return whether the value is str.", "success"),
        ("def value(a):\n    return a\n", "Return whether the value is true.", "success"),
        ("def value(self):\n    self.a = 1\n    return self\n", "Return a new value.", "partial"),
        ("def value(self):\n    self.a = 1\n    return self\n", "Set the value.", "success"),
        ("def value(self):\n    return 1\n", "The value.", "partial"),
        ("class A:\n    @property\n    def value(self):\n        return 1\n", "The value.", "success"),
        ("class A:\n    @value.setter\n    def value(self, a):\n        a = 1\n", "Create a value.", "partial"),
        ("class A:\n    @value.setter\n    def value(self, a):\n        a = 1\n", "Set the value.", "success"),
        ("def value(self):\n    if self:\n        return self\n    return 1\n", "Return a value.", "success"),
        ("def value(self):\n    return self.a\n", "Return a value.", "success"),
    ],
)
async def test_docstring_declines_what_the_code_contradicts(
    tmp_path: Path, code: str, sentence: str, outcome: str
) -> None:
    (tmp_path / "code.py").write_text("bool, set\n\n" + code)
    called = await call_tool("docstring", tmp_path, "value", {"summary": sentence}, strict="always")
    assert called.result.outcome == outcome, called.result


async def test_docstring_shows_the_method_below_its_class(shop: Path) -> None:
    called = await call_tool("docstring", shop, "Stock.is_empty", {"summary": "Return whether any articles are in it."})
    assert called.context["source"] == (
        "class Stock:\n    def is_empty(self) -> bool:\n        return not any(self.articles.values())"
    )


async def test_lint_applies_and_verifies_the_chosen_rules(shop: Path) -> None:
    called = await call_tool("lint", shop, "shop/pricing.py", {"codes": "F401, E501, UP999"})
    assert called.result.outcome == "success"
    assert called.result.value["fixed"] == 2
    assert "import math" not in called.text
    assert {one["code"] for one in called.result.value["remaining"]} == {"UP045", "E501"}


async def test_lint_asks_again_when_no_chosen_rule_helps(shop: Path) -> None:
    called = await call_tool("lint", shop, "shop/pricing.py", {"codes": "D100"})
    assert (called.result.is_error, called.changes) == (True, ())
    assert "F401, UP045" in called.result.content


async def test_lint_finishes_at_once_without_findings(shop: Path) -> None:
    called = await call_tool("lint", shop, "shop/__init__.py", {"codes": "F401"})
    assert (called.result.outcome, called.result.value, called.changes) == (
        "success",
        {"fixed": 0, "remaining": []},
        (),
    )


async def test_lint_says_when_nothing_can_be_fixed_safely(shop: Path) -> None:
    (shop / "shop" / "odd.py").write_text("l = 1\nif l == None:\n    print(undefined)\n")
    called = await call_tool("lint", shop, "shop/odd.py", {"codes": "F821"})
    assert (called.result.outcome, called.changes) == ("partial", ())


def run_pytest(root: Path, path: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode


VALUES = {"numbers": [12.5, 80, 3], "words": "apple, pear, plum"}


async def test_tests_hold_what_the_function_returns(shop: Path) -> None:
    called = await call_tool("tests", shop, "discount", VALUES)
    assert called.changes[0].path == "tests/test_pricing_discount.py"
    assert "assert discount(12.5, 80.0) == 2.5" in called.text
    path = shop / called.changes[0].path
    path.parent.mkdir()
    path.write_text(called.text)
    assert run_pytest(shop, path) == 0
    pricing = shop / "shop" / "pricing.py"
    pricing.write_text(pricing.read_text().replace("(100 - percent)", "(101 - percent)"))
    assert run_pytest(shop, path) == 1


async def test_tests_find_the_types_that_an_unannotated_function_takes(shop: Path) -> None:
    (shop / "shop" / "bare.py").write_text("def shout(text, times=2):\n    return text.upper() * times\n")
    called = await call_tool("tests", shop, "shout", VALUES)
    assert "assert shout('apple', 80)" in called.text


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import random\ndef target(a: int) -> float:\n    return a + random.random()\n", "cannot be held"),
        ("def target(a: str) -> int:\n    open('left.txt', 'w').write(a)\n    return 1\n", "writes files"),
        ("def target(a: int) -> int:\n    raise OSError('no')\n", "OSError: no"),
        ("def target(a: int) -> object:\n    return object()\n", "cannot be held"),
        ("import nowhere\ndef target(a: int) -> int:\n    return a\n", "nowhere"),
        ("def target(a: list) -> int:\n    a.append(1)\n    return 1\n", "cannot be held"),
    ],
)
async def test_tests_leave_alone_what_is_not_pure(shop: Path, source: str, why: str) -> None:
    (shop / "shop" / "impure.py").write_text(source)
    called = await call_tool("tests", shop, "target", VALUES)
    assert (called.result.is_error, called.changes) == (True, ())
    assert why in called.result.content


async def test_tests_never_touch_an_existing_file(shop: Path) -> None:
    (shop / "tests").mkdir()
    (shop / "tests" / "test_pricing_discount.py").write_text("mine = True\n")
    called = await call_tool("tests", shop, "discount", VALUES)
    assert (called.result.outcome, called.changes) == ("partial", ())


@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_sample_data_fits_the_signature(shop: Path, form: str) -> None:
    called = await call_tool("sample_data", shop, "cheapest", VALUES, format=form)
    assert called.changes[0].path == f"fixtures/cheapest.{form}"
    rows = json.loads(called.text) if form == "json" else yaml.safe_load(called.text)
    assert rows[0] == {"prices": {"apple": 12.5, "pear": 80.0, "plum": 3.0}, "limit": 80.0}
    assert len(rows) == 3


async def test_sample_data_declines_types_without_a_form(shop: Path) -> None:
    called = await call_tool("sample_data", shop, "net_price", VALUES)
    assert (called.result.outcome, called.changes) == ("partial", ())
    assert "no sample fits price" in called.result.summary


async def test_signature_reads_every_kind_of_parameter(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "def target(a, /, b: 'x, y' = \"p, =)\", *rest, c: dict[str, int] = {1: (2, 3)},  # d, e\n"
        "    e=lambda q, r: q, **more):\n    return a\n"
    )
    called = await call_tool("sample_data", tmp_path, "target", VALUES)
    assert called.context["signature"]["parameters"] == [
        {"name": "a", "annotation": "", "default": "", "keyword": False},
        {"name": "b", "annotation": "'x, y'", "default": '"p, =)"', "keyword": False},
        {"name": "c", "annotation": "dict[str, int]", "default": "{1: (2, 3)}", "keyword": True},
        {"name": "e", "annotation": "", "default": "lambda q, r: q", "keyword": True},
    ]

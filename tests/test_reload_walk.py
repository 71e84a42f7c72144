"""Hot reload on random walks: whatever is done to the files, in the end the catalog is what a fresh one would be."""

import asyncio
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from projects import TOOL, make_bundle
from reload_parts import PROMPT, named
from reload_parts import TOOL as SCRIPT

from engine.bundle import Catalog, find_bundles, validate
from engine.bundle.cache import RecentFindings
from engine.reload import Watcher
from engine.reload.generations import Generations
from engine.tools import WarmChecker

PLACES = ["a", "b", "c", "deep/d", "deep/e", "child"]
NAMES = ["one", "two", "three"]


class Tree:
    """A folder with bundles, and everything that may happen to it; each step returns what it touched."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "deep").mkdir(parents=True)

    def make(self, place: str, name: str) -> None:
        make_bundle(self.root / place, named(name))

    def build_on(self, place: str, parent: str) -> None:
        up = "../" * (place.count("/") + 1)
        (self.root / place).mkdir(exist_ok=True, parents=True)
        (self.root / place / "bundle.yaml").write_text(f"extends: {up}{parent}\nformat: 1\nname: child\n")

    def write(self, place: str, number: int) -> None:
        texts = {PROMPT: f"prompt {number}", SCRIPT: f"{TOOL}# {number}\n", "prompts/more.md": f"{number}"}
        name = list(texts)[number % 3]
        self._write(place, name, texts[name])

    def break_(self, place: str, number: int) -> None:
        texts = {PROMPT: "{% if", SCRIPT: "def (", "bundle.yaml": "format: 1\nname: [\n"}
        name = list(texts)[number % 3]
        self._write(place, name, texts[name])

    def remove_file(self, place: str, number: int) -> None:
        name = [PROMPT, SCRIPT, "bundle.yaml", "prompts/more.md"][number % 4]
        (self.root / place / name).unlink(missing_ok=True)

    def remove(self, place: str) -> None:
        shutil.rmtree(self.root / place, ignore_errors=True)

    def move(self, place: str, other: str) -> None:
        if (self.root / place).exists() and not (self.root / other).exists():
            (self.root / other).parent.mkdir(exist_ok=True)
            (self.root / place).rename(self.root / other)

    def leave(self, place: str) -> None:
        self._write(place, PROMPT + "~", "a backup")

    def _write(self, place: str, name: str, text: str) -> None:
        if (self.root / place / name).parent.is_dir():
            (self.root / place / name).write_text(text)


def differences(tree: Tree, catalog: Catalog, found) -> list[str]:
    """Say in what a catalog differs from a fresh one, but for the last good versions of broken bundles."""
    fresh = Catalog.load([tree.root])
    said = [
        f"{name}: not as in the files"
        for name, bundle in fresh.bundles.items()
        if name not in catalog.bundles or catalog.bundles[name].digest != bundle.digest
    ]
    here = {path.resolve() for path in find_bundles([tree.root])}
    said += [
        f"{name}: still there"
        for name, bundle in catalog.bundles.items()
        if name not in fresh.bundles and bundle.root.resolve() not in here
    ]
    if set(found) != {*fresh.diagnostics, *validate([tree.root])}:
        said.append("other findings")
    return said


class Walk(RuleBasedStateMachine):
    """Without notifications: after each step everything is looked at, later and later."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.tree, self.now = Tree(self.folder / "bundles"), 0.0
        self.tree.make("a", "one")
        self.checker = WarmChecker()
        self.work = Generations([self.tree.root], (), self.checker, RecentFindings())
        self.work.load()
        self.generation, self.catalog = 1, self.work.catalog

    @rule(place=st.sampled_from(PLACES), name=st.sampled_from(NAMES))
    def make(self, place, name) -> None:
        self.tree.make(place, name)
        self.look()

    @rule(place=st.sampled_from(PLACES), parent=st.sampled_from(PLACES))
    def build_on(self, place, parent) -> None:
        self.tree.build_on(place, parent)
        self.look()

    @rule(
        place=st.sampled_from(PLACES),
        number=st.integers(0, 5),
        step=st.sampled_from(["write", "break_", "remove_file"]),
    )
    def change(self, place, number, step) -> None:
        getattr(self.tree, step)(place, number)
        self.look()

    @rule(place=st.sampled_from([*PLACES, "deep"]), other=st.sampled_from(PLACES))
    def move(self, place, other) -> None:
        if not other.startswith(place):
            self.tree.move(place, other)
        self.look()

    @rule(place=st.sampled_from([*PLACES, "deep"]))
    def remove(self, place) -> None:
        self.tree.remove(place)
        self.look()

    def look(self) -> None:
        before = self.work.catalog
        self.now += 0.01
        reload = self.work.look(None, self.now)
        if reload is not None:
            assert reload.previous is before
            assert reload.accepted is (reload.catalog is not before) is bool(reload.changed)
            assert reload.catalog.generation == before.generation + reload.accepted

    @rule()
    def settle(self) -> None:
        """Time passes until nothing waits; then nothing is left to be done."""
        for _ in range(10):
            self.now += 10
            self.work.compile(self.work.uncompiled())
            self.work.look(None, self.now)
        assert self.work.due() is None
        assert differences(self.tree, self.work.catalog, self.work.diagnostics) == []
        assert self.work.look(None, self.now + 10) is None

    @invariant()
    def names_are_their_bundles(self) -> None:
        if hasattr(self, "work"):
            assert all(name == bundle.name for name, bundle in self.work.catalog.bundles.items())

    def teardown(self) -> None:
        if hasattr(self, "work"):
            self.settle()
            self.checker.__exit__(None, None, None)
            shutil.rmtree(self.folder)


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


@pytest.mark.parametrize("seed", range(4))
async def test_walk_under_watch(tmp_path, seed) -> None:
    """With notifications: many steps at random moments, then the watcher has to arrive at what there is."""
    rng, tree = random.Random(seed), Tree(tmp_path / "bundles")
    tree.make("a", "one")
    async with Watcher([tree.root]) as watcher:
        for _ in range(12):
            for _ in range(rng.randrange(1, 8)):
                step(rng, tree)
                await asyncio.sleep(rng.choice([0, 0, 0.001, 0.02]))
            await asyncio.wait_for(arrive(tree, watcher), 60)


def step(rng: random.Random, tree: Tree) -> None:
    place, number = rng.choice(PLACES), rng.randrange(6)
    steps = {
        "make": lambda: tree.make(place, rng.choice(NAMES)),
        "build_on": lambda: tree.build_on(place, rng.choice(PLACES)),
        "write": lambda: tree.write(place, number),
        "break": lambda: tree.break_(place, number),
        "remove_file": lambda: tree.remove_file(place, number),
        "move": lambda: tree.move(place, rng.choice(PLACES)),
        "remove": lambda: tree.remove(place),
        "leave": lambda: tree.leave(place),
    }
    chosen = rng.choices(list(steps), [3, 1, 4, 2, 1, 2, 1, 1])[0]
    steps[chosen]()


async def arrive(tree: Tree, watcher: Watcher) -> None:
    """Take reloads until the watcher has what is in the files."""
    while differences(tree, watcher.catalog, watcher.diagnostics):
        await anext(watcher)

"""Reports: what they tell is what happened, whatever models and files say; a page needs nothing beside itself."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import call, make_bundle, make_project
from scripted_server import fails

from engine.app import App, RunRequest
from engine.errors import ConfigError
from engine.events import EventLog, RunFinished, RunPlanned, RunResumed, RunStarted, TaskFinished, TaskRow, TaskStarted
from engine.events.types import ModelResponded, PaceChanged, ToolCalled, ToolReturned
from engine.messages import Usage
from engine.report import Limits, collect, render, report_of, write_report
from engine.report.charts import Axis, endings, in_flight, lanes, ranges
from engine.report.diffs import diff_of
from engine.report.facts import RunFacts, TaskFacts
from engine.report.statistics import histogram, nice_ticks, percentile, spread
from engine.report.summary import causes
from engine.report.text import amount, clip, duration, plain, short
from engine.workspace import Change

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&\x1b[31m\u202e\u2028\x00"


class Page(HTMLParser):
    """A page's elements, texts and what it would ask the network for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._inside = ""
        self.stack: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag not in ("meta", "input"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        self._inside = ""
        assert self.stack.pop() == tag

    def handle_data(self, data) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside == "style":
            self.styles.append(data)
        else:
            self.text += data

    def of(self, name: str) -> list[dict]:
        """The attributes of all elements of one name."""
        return [attributes for tag, attributes in self.tags if tag == name]


def assert_alone(text: str) -> Page:
    """See that a page asks for nothing and runs nothing but its own script, which its policy names."""
    page = Page(text)
    assert page.stack == []
    policy = next(one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    summary, script = page.scripts
    for content, kind in ((script, "script"), (page.styles[0], "style")):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert len(page.styles) == 1
    json.loads(summary)
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "style", "action")}
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in page.styles[0]
    assert "@import" not in page.styles[0]
    return page


@pytest.fixture
def log(tmp_path: Path):
    """An event log."""
    with EventLog(tmp_path / ".engine" / "events.db") as opened:
        yield opened


def task_row(number: int, **values) -> TaskRow:
    """A planned task."""
    row = {
        "run_id": "run",
        "task_id": f"t{number}",
        "place": number,
        "bundle": "note",
        "operation": "",
        "node_id": f"n{number}",
        "node": f"f{number}",
        "type": "function",
        "file": f"src/m{number % 7}.py",
        "line": 1,
    }
    return TaskRow(**{**row, **values})


def ids(number: int) -> dict:
    """What all events of a task have."""
    return {"run_id": "run", "task_id": f"t{number}"}


def named(number: int, **values) -> dict:
    """What names a task in its first and last event."""
    row = task_row(number, **values)
    return {**ids(number), **{name: getattr(row, name) for name in ("bundle", "node_id", "node", "file", "line")}}


def begin(log: EventLog, count: int, **values) -> None:
    """Log the start of a run with this many tasks."""
    log.append(RunStarted(run_id="run", bundles=("note",), targets=("src",), settings={"backend": "openai"}))
    log.plan([task_row(number, **values) for number in range(count)])
    log.append(RunPlanned(run_id="run", files=7, nodes=count, tasks=count))


def finish(log: EventLog, number: int, outcome="finished", **values) -> None:
    """Log a task with one turn."""
    log.append(TaskStarted(**named(number)))
    usage = Usage(100, 20)
    replied = ModelResponded(
        **ids(number),
        turn=1,
        model="m",
        adapter=None,
        text="a reply",
        tool_calls_count=0,
        finish_reason="stop",
        usage=usage,
        duration_ms=10.0 + number,
    )
    log.append(replied)
    told = {"outcome": outcome, "reason": "termination_tool", "usage": usage, "seconds": 0.1, "turns": 1, **values}
    log.append(TaskFinished(**named(number), **told))


def page_of(log: EventLog, limits: Limits | None = None) -> str:
    """The page of the run."""
    log.flush()
    return render(collect(log, None, "run", limits))


def engine(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run a verb."""
    return subprocess.run(
        [sys.executable, "-m", "engine", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def run(bundles, project, server, **options):
    """Run bundles over a project."""
    request = RunRequest(bundles, [project], base_url=server.api, **options)
    async with App(project).session(request) as session:
        return await session.run()


async def test_a_report_tells_what_a_run_did(bundle, project, server) -> None:
    server.text = lambda body: "I had rather not." if "second" in body["messages"][-1]["content"] else call("says so")
    result = await run([bundle], project, server)
    app = App(project)
    app.review().accept(["first"])
    run_id, text = report_of(app, None)
    assert run_id == result.run_id
    page = assert_alone(text)
    summary = json.loads(page.scripts[0])
    assert summary["tasks"] == {"finished": 2, "failed": 1}
    assert summary["changes"] == {"accepted": 1, "pending": 1}
    assert summary["prompt_tokens"] == 7 * len(server.bodies)
    rows = [attributes["data-kind"] for attributes in page.of("li") if "data-kind" in attributes]
    assert sorted(rows) == ["failed", "finished", "finished"]
    assert "# says so" in page.text
    assert "I had rather not." in page.text
    assert "tasks on 3 nodes of 1 file<" in text
    assert [attributes["class"] for attributes in page.of("td") if attributes.get("class") == "words"] == ["words"]
    assert "no_tool_call" in page.text
    assert "add_comment" in page.text


async def test_whatever_a_model_or_a_file_says_is_only_text(tmp_path, server) -> None:
    name = "src/<img src=x onerror=alert(3)>.py"
    project = make_project(tmp_path / "p", {name: "def first(a):\n    return '</script><b>'\n"})
    server.text = lambda body: call(HOSTILE[:60])
    await run([make_bundle(tmp_path / "note")], project, server)
    page = assert_alone(report_of(App(project), None)[1])
    assert len(page.of("script")) == 2
    assert page.of("img") == page.of("b") * 0
    assert "</script><script>alert(1)" in page.text
    assert name.partition("/")[2] in page.text
    assert not set("\x00\x1b\u202e\u2028") & set(page.text)


@settings(max_examples=10, deadline=None)
@given(st.text(min_size=1, max_size=60), st.text(max_size=60))
def test_a_page_holds_together_whatever_is_in_the_log(tmp_path_factory, words, other) -> None:
    with EventLog(tmp_path_factory.mktemp("log") / "events.db") as log:
        hostile = f"{words}{HOSTILE}{other}"
        begin(log, 2, node=hostile, file=hostile, bundle=hostile)
        finish(log, 0, outcome="failed", reason=hostile, error=hostile, summary=hostile)
        log.append(TaskStarted(**named(1)))
        replied = {"model": hostile, "adapter": hostile, "text": hostile, "finish_reason": hostile}
        log.append(ModelResponded(**ids(1), turn=1, tool_calls_count=1, usage=Usage(1, 1), duration_ms=1.0, **replied))
        log.append(ToolCalled(**ids(1), turn=1, call_id="c", tool=hostile, arguments={hostile: [hostile]}))
        returned = {"content": hostile, "summary": hostile, "outcome": hostile, "is_error": True}
        log.append(ToolReturned(**ids(1), turn=1, call_id="c", tool=hostile, duration_ms=1.0, **returned))
        checks = ({"file": hostile, "check": hostile, "passed": False, "detail": hostile},)
        log.append(TaskFinished(**named(1), outcome="failed", reason=hostile, error=hostile, checks=checks, attempts=2))
        log.append(PaceChanged(run_id="run", limit=0, reason=hostile))
        text = page_of(log)
    text.encode()
    page = assert_alone(text)
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "script", "body", "header", "main", "footer", "nav", "div", "h1"),
        *("h2", "h3", "h4", "p", "a", "b", "strong", "span", "small", "i", "s", "mark", "code", "pre", "button"),
        *("ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
        *("svg", "rect", "line", "text", "polygon", "polyline", "form", "input", "label", "output"),
    }


def test_ten_thousand_tasks_are_a_page_of_ten_megabytes_at_most(log) -> None:
    begin(log, 10_000, node="a_rather_long_name_of_a_function_in_some_module")
    words = "what the model said, at some length; " * 40
    for number in range(10_000):
        finish(log, number, outcome="failed" if number % 9 == 0 else "finished", summary=words, error=words)
    log.append(RunFinished(run_id="run", status="failed", finished=1, failed=1, stopped=0, changes=0, seconds=1.0))
    text = page_of(log)
    assert len(text.encode()) < 10_000_000
    page = assert_alone(text)
    assert sum("data-kind" in attributes for attributes in page.of("li")) == 10_000
    assert "500 tasks are shown with their diffs and turns" in page.text.replace("\u202f", "")


def test_more_tasks_are_summed_up(log) -> None:
    begin(log, 12_000)
    for number in range(300):
        finish(log, number, outcome="failed", error=f"line {number} is bad")
    text = page_of(log)
    assert len(text.encode()) < 10_000_000
    page = assert_alone(text)
    summary = json.loads(page.scripts[0])
    assert summary["tasks"] == {"failed": 300, "planned": 11_700}
    listed = [attributes for attributes in page.of("li") if "data-kind" in attributes]
    assert len(listed) == 10_000
    assert sum(attributes["data-kind"] == "failed" for attributes in listed) == 300
    assert "10000 of 12000 tasks are listed" in page.text.replace("\u202f", "")


def test_long_words_are_cut_and_the_page_says_so(log) -> None:
    begin(log, 1)
    log.append(TaskStarted(**named(0)))
    for turn in range(1, 30):
        log.append(
            ModelResponded(
                **ids(0),
                turn=turn,
                model="m",
                adapter=None,
                text="x" * 10_000,
                tool_calls_count=0,
                finish_reason="length",
                usage=Usage(1, 1),
                duration_ms=5.0,
            )
        )
    text = page_of(log, Limits(turns=3, text=100))
    assert text.count("x" * 100) == 3
    assert "x" * 101 not in text
    assert "9900 more characters" in text
    assert "26 more turns" in text


def test_a_run_that_died_is_reported_as_far_as_it_got(log) -> None:
    begin(log, 4)
    finish(log, 0)
    log.append(TaskStarted(**named(1)))
    page = assert_alone(page_of(log))
    summary = json.loads(page.scripts[0])
    assert summary["tasks"] == {"finished": 1, "running": 1, "planned": 2}


def test_the_pause_before_a_run_was_gone_on_with_takes_no_place() -> None:
    run = RunFacts("run", "finished", 0.0, 1010.0, parts=[(0.0, 10.0), (1000.0, 1010.0)])
    run.tasks = [TaskFacts(1, "a", "b", "n", "f", 1, outcome="finished", spans=[(5.0, 10.0), (1000.0, 1005.0)])]
    axis = Axis(run.parts)
    assert run.seconds == 20
    assert [axis.at(time) for time in (0.0, 10.0, 500.0, 1000.0, 1010.0)] == [0, 500, 500, 500, 1000]
    assert axis.breaks == [500]
    drawn = lanes(run, axis)
    assert drawn is not None
    assert [(bar.x, bar.width, bar.lane) for bar in drawn.bars] == [(250, 250, 0), (500, 250, 0)]


def test_a_resumed_run_shows_the_last_attempt_of_a_task(log) -> None:
    begin(log, 1)
    finish(log, 0, outcome="stopped", reason="cancelled", error="the run ended before the task did")
    log.append(RunResumed(run_id="run", done=0, left=1))
    finish(log, 0)
    log.flush()
    facts = collect(log, None, "run")
    (task,) = facts.tasks
    assert (task.outcome, task.attempts, len(task.spans), len(task.detail.turns)) == ("finished", 2, 2, 1)
    assert any("1 were left" in note for note in facts.notes)
    assert len(facts.parts) == 2


def test_failures_of_one_cause_are_one_row() -> None:
    tasks = [
        TaskFacts(number, f"t{number}", "b", f"f{number}", "x.py", 1, outcome="failed", reason="checks", error=error)
        for number, error in enumerate(
            [
                "src/a.py has 3 errors",
                "src/b/c.py has 12 errors",
                "no tool call",
                "no tool call",
            ]
        )
    ]
    tasks.append(TaskFacts(9, "t9", "b", "g", "x.py", 1, outcome="finished"))
    found = causes([*tasks, *tasks[2:4]])
    assert [(len(cause.tasks), cause.words) for cause in found] == [
        (4, "no tool call"),
        (2, "src/a.py has 3 errors"),
    ]


def test_diffs_are_numbered_and_mark_what_differs_inside_a_line() -> None:
    before = b"one\ntwo = 2\nthree\n" + b"same\n" * 20 + b"last"
    after = b"one\ntwo = 22\nthree\nnew\n" + b"same\n" * 20 + b"end"
    lines = diff_of(Change("a.py", before, after)).lines
    assert [(line.kind, line.old, line.new, line.before, line.marked, line.after) for line in lines[2:6]] == [
        ("old", 2, 0, "two = 2", "", ""),
        ("new", 0, 2, "two = 2", "2", ""),
        ("same", 3, 3, "three", "", ""),
        ("new", 0, 4, "new", "", ""),
    ]
    assert [line.kind for line in lines[-4:]] == ["old", "note", "new", "note"]
    binary = diff_of(Change("a.bin", b"\0", b"\1\0"))
    assert [line.before for line in binary.lines] == ["a binary file"]
    assert diff_of(Change("long", None, b"x\n" * 900), 100).left_out == 801


LINE = st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b" ") + b"\n")


@settings(max_examples=100, deadline=None)
@given(st.lists(LINE, max_size=12), st.lists(LINE, max_size=12))
def test_a_diff_says_both_sides(before, after) -> None:
    old, new = b"".join(before), b"".join(after)
    change = Change("a.txt", old, new)
    if change.binary:
        return
    lines = diff_of(change).lines
    shown = {kind: [line for line in lines if line.kind == kind] for kind in ("old", "new", "same")}
    assert len(shown["new"]) == change.added
    assert len(shown["old"]) == change.removed
    olds, news = old.decode().split("\n"), new.decode().split("\n")
    for line in (*shown["old"], *shown["same"]):
        assert line.before + line.marked + line.after == plain(olds[line.old - 1].removesuffix("\r"))
    for line in (*shown["new"], *shown["same"]):
        assert line.before + line.marked + line.after == plain(news[line.new - 1].removesuffix("\r"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=200), st.integers(1, 50))
def test_histograms_count_each_value_once(values, bins) -> None:
    found = histogram(values, bins)
    assert sum(one.count for one in found) == len(values)
    assert all(one.low <= two.low for one, two in pairwise(found))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=200), st.floats(0.001, 1))
def test_percentiles_are_values_of_which_enough_are_not_above(values, share) -> None:
    ranked = sorted(values)
    found = percentile(ranked, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


@given(st.floats(1e-6, 1e12), st.integers(1, 10))
def test_ticks_are_few_and_reach_the_top(high, wanted) -> None:
    ticks = nice_ticks(high, wanted)
    assert ticks[0] == 0
    assert ticks[-1] >= high * (1 - 1e-6)
    assert 2 <= len(ticks) <= wanted + 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0, 50)), max_size=40))
def test_plots_over_time_stay_inside(spans) -> None:
    run = RunFacts("run", "finished", 0.0, 150.0, parts=[(0.0, 150.0)])
    run.tasks = [
        TaskFacts(number, f"t{number}", "b", "n", "f", 1, outcome="finished", spans=[(start, start + length)])
        for number, (start, length) in enumerate(spans, 1)
    ]
    axis = Axis(run.parts)
    drawn, flight, ended = lanes(run, axis), in_flight(run, axis, 120.0), endings(run, axis, 120.0)
    assert (drawn is None) == (flight is None) == (ended is None) == (not spans)
    if not spans:
        return
    busy: dict[int, float] = {}
    for bar in drawn.bars:  # no bar begins in its lane before the one before it ended
        assert bar.x >= busy.get(bar.lane, 0) - 1.3
        busy[bar.lane] = bar.x + bar.width
    assert all(0 <= column.y <= 120 and column.height >= 0 for column in ended.columns)
    assert all(0 <= float(point.split(",")[1]) <= 120 for point in flight.line.split())


@given(st.lists(st.lists(st.floats(0, 1e7), min_size=1, max_size=20), min_size=1, max_size=5))
def test_spreads_share_a_scale(several) -> None:
    laid = ranges([spread("x", values) for values in several])
    for row in laid.rows:
        assert 0 <= row.p10 <= row.p50 <= row.p90 <= row.p99 <= 1000
    assert [tick.place for tick in laid.ticks] == sorted({tick.place for tick in laid.ticks})


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        (duration(0), "0 s"),
        (duration(0.0012), "1.2 ms"),
        (duration(1.239), "1.24 s"),
        (duration(59.99), "1 min 0 s"),
        (duration(3661), "1 h 1 min"),
        (amount(999), "999"),
        (amount(12_345), "12.3k"),
        (amount(999_999), "1000k"),
        (amount(2_500_000), "2.5M"),
        (clip("abc", 3), "abc"),
        (short("a\n b\t c"), "a b c"),
        (short("x" * 9, 4), "xxx…"),
        (plain("a\x1b\udc80\u2066b"), "a\\u001b\\udc80\\u2066b"),
    ],
)
def test_numbers_and_words(said, is_) -> None:
    assert said == is_


def test_a_report_replaces_a_report_and_nothing_else(tmp_path, log) -> None:
    begin(log, 1)
    finish(log, 0)
    text, path = page_of(log), tmp_path / "r.html"
    write_report(text, path)
    write_report(text + "<!-- newer -->", path)
    assert path.read_text("utf-8").endswith("<!-- newer -->")
    for mine in ("<html>my own page, which says engine report</html>", ""):
        path.write_text(mine)
        with pytest.raises(ConfigError, match="is there and is no report"):
            write_report(text, path)
        assert path.read_text() == mine
    write_report(text, path, force=True)
    assert path.read_text("utf-8") == text
    with pytest.raises(ConfigError, match="is there and is no report"):
        write_report(text, tmp_path)
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        write_report(text, tmp_path / "none" / "r.html")


def test_the_verb(bundle, project, server) -> None:
    nothing = engine("report", cwd=project)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "holds no run yet" in nothing.stderr
    assert engine("run", bundle, "-t", "src", "--base-url", server.api, cwd=project).returncode == 0
    made = engine("report", cwd=project)
    assert (made.returncode, made.stderr.count("\n")) == (0, 1)
    path = project / made.stdout.strip()
    assert re.fullmatch(r"report-[\w-]+\.html", path.name)
    assert_alone(path.read_text("utf-8"))
    shown = engine("report", path.stem.removeprefix("report-"), "-o", "-", cwd=project)
    assert shown.stderr == ""
    assert_alone(shown.stdout)
    (project / "mine.html").write_text("mine")
    refused = engine("report", "-o", "mine.html", cwd=project)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert engine("report", "-o", "mine.html", "--force", cwd=project).returncode == 0


def test_a_report_only_reads(bundle, project, server) -> None:
    assert engine("run", bundle, "-t", "src", "--base-url", server.api, cwd=project).returncode == 0
    for store in (True, False):
        if not store:
            for file in project.glob(".engine/changes.db*"):
                file.unlink()
        before = files_of(project)
        assert engine("report", "-o", "-", cwd=project).returncode == 0
        assert files_of(project) == before


def files_of(project: Path) -> dict[Path, bytes]:
    """The project's files and what is in them, but for what a reader of a database may make beside it."""
    files = (path for path in project.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))
    return {path: path.read_bytes() for path in files}


def test_failed_replies_of_a_server_are_a_cause(bundle, project, server) -> None:
    server.chat = [fails(400, "the grammar is bad")] * 1
    engine("run", bundle, "-t", "src", "--base-url", server.api, "--concurrency", 1, cwd=project)
    page = assert_alone(engine("report", "-o", "-", cwd=project).stdout)
    assert "Failures by cause" in page.text
    assert "the grammar is bad" in page.text

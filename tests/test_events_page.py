"""The page about events says what is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from engine.events import EVENT_TYPES, Bus, EventLog, RunStarted
from engine.manifest import EngineConfig

PAGE = (Path(__file__).parent.parent / "docs/events.md").read_text("utf-8")


def test_the_table_has_every_event_with_all_its_fields():
    rows = re.findall(r"^\| `(\w+:\w+)` \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
    written = {kind: re.findall(r"`(\w+)`", names) for kind, names in rows}
    assert written == {
        name: [field.name for field in fields(kind) if field.name not in ("run_id", "task_id")]
        for name, kind in EVENT_TYPES.items()
    }


def test_the_attributes_of_the_page_are_those_that_are_made():
    room = Path(__file__).parent.parent / "engine/events"
    source = (room / "span_events.py").read_text("utf-8")
    named = set(re.findall(r"`((?:gen_ai|code)\.[\w.]+)`", PAGE)) - {
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
    }
    made = set(re.findall(r'"((?:gen_ai|code)\.[\w.]+)"', source))
    opted = {"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"}
    assert named <= made
    assert made - named == opted


def test_its_settings_are_settings():
    config = EngineConfig.model_validate({"log": {"keep_runs": 200, "keep_days": 90}, "telemetry": {"content": True}})
    assert (config.log.keep_days, config.telemetry.content) == (90, True)


async def test_its_python_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with EventLog(".engine/events.db") as log:
        await Bus(log).emit(RunStarted(run_id="r", bundles=("b",), targets=("src",)))
        log.append(
            EVENT_TYPES["run:finished"](
                run_id="r", status="finished", finished=0, failed=0, stopped=0, changes=0, seconds=0.0
            )
        )
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(code, {})
    assert capsys.readouterr().out == "1 run:started\n2 run:finished\n"

"""Runs of the command line that are traced: switched on, off, dead collectors, a missing extra."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from otel_collector import attributes, collector
from test_cli import engine, run_bundle


def test_a_run_is_traced_as_it_happens_and_its_log_gives_the_same_trace(bundle, project, server):
    with collector() as received:
        ran = run_bundle(bundle, project, server, "--otel", received.url)
        assert ran.returncode == 0, ran.stderr
        assert "warning" not in ran.stderr
        live = {(span.trace_id, span.name) for span in received.spans}
        assert len(received.named("invoke_agent note")) == 3
        assert len(received.named("chat")) == len(received.named("execute_tool")) == 3
        assert received.points("gen_ai.client.token.usage")
        received.traces.clear()
        engine("events", "--otel", received.url, cwd=project)
        assert {(span.trace_id, span.name) for span in received.spans} == live


@pytest.mark.parametrize("how", ["setting", "variable"])
def test_it_is_switched_on_by_a_setting_or_the_standard_variable(bundle, project, server, how):
    with collector() as received:
        environment = {}
        if how == "setting":
            (project / "engine.yaml").write_text(f"telemetry: {{otlp: '{received.url}', content: true}}\n")
        else:
            environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.url, "OTEL_SERVICE_NAME": "mine"}
        arguments = ("run", bundle, "--target", "src", "--base-url", server.api, "--limit", "1")
        assert engine(*arguments, cwd=project, **environment).returncode == 0
    (chat,) = received.named("chat")
    assert ("gen_ai.input.messages" in attributes(chat)) == (how == "setting")
    name = attributes(received.traces[0].resource_spans[0].resource)["service.name"]
    assert name == ("engine" if how == "setting" else "mine")


@pytest.mark.parametrize("fault", ["nobody", "refuses", "hangs"])
def test_a_dead_collector_costs_a_warning(bundle, project, server, fault):
    with collector() as received:
        if fault == "refuses":
            received.status = 400
        if fault == "hangs":
            received.hang = threading.Event()
        url = "http://127.0.0.1:9" if fault == "nobody" else received.url
        ran = run_bundle(bundle, project, server, "--limit", "1", "--otel", url)
    assert ran.returncode == 0
    assert "1 finished" in ran.stdout
    assert f"warning: 4 of 4 spans were not received by {url}\n" in ran.stderr
    assert "Traceback" not in ran.stderr


HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
from engine.cli import main
main()
"""


def test_without_the_extra_who_asks_is_told_and_others_are_only_warned(bundle, project, server):
    arguments = ["run", str(bundle), "--target", "src", "--base-url", server.api, "--limit", "1"]

    def ran(*more, **env):
        command = [sys.executable, "-c", HIDE, *arguments, *more]
        environment = {**os.environ, "NO_COLOR": "1", **env}
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)

    asked = ran("--otel", "http://127.0.0.1:9")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert "sending traces needs the extra 'otel': pip install 'bundle-engine[otel]'" in asked.stderr
    other = ran(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert other.returncode == 0
    assert "warning: OTEL_EXPORTER_OTLP_ENDPOINT is set, but sending traces needs the extra 'otel'" in other.stderr


def test_nothing_that_sends_is_imported_while_it_is_off(bundle, project, server):
    code = (
        "import sys\nfrom engine.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    command = [sys.executable, "-c", code, "run", str(bundle), "--target", "src", "--base-url", server.api]
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"  # the sandbox looks for the API itself

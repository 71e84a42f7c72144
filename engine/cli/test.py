"""`engine test`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app import App
from engine.cli.console import note, printable, project_option, report_findings, use_color
from engine.cli.run import fetch_weights
from engine.errors import BundleError, ConfigError, EngineError

if TYPE_CHECKING:
    from engine.run.testing import CasesRequest, Replies, Report, Runner


@click.command(name="test")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--case", "cases", multiple=True, metavar="GLOB", help="Only cases of this name.")
@click.option("--repeats", type=click.IntRange(1, 1000), help="Run each case so often, each time with another seed.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of the first repeat.")
@click.option("--model", "models", multiple=True, help="A model to run on; repeated, cases run on each.")
@click.option("--adapter", "adapters", multiple=True, help="An adapter, or 'none'; repeated, cases run with each.")
@click.option("--baseline", metavar="WHAT", help="Compare with no adapter (none), a bundle's PATH or git:REF.")
@click.option("--strict", is_flag=True, help="Exit with 1 also when a case is worse than in the baseline.")
@click.option("--plugin", help="The model family, if not the bundle's.")
@click.option("--base-url", metavar="URL", help="An openai-compatible server to use, with /v1.")
@click.option("--concurrency", type=click.IntRange(1, 1024), help="Trials at once.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first case that has failed.")
@click.option("--allow-commands", is_flag=True, help="Run commands of cases that permissions.run does not cover.")
@click.option("--record", is_flag=True, help="Keep the replies, so that --replay can answer with them.")
@click.option("--replay", is_flag=True, help="Answer with the recorded replies: offline, without a model.")
@click.option(
    "--allow-unconstrained",
    is_flag=True,
    envvar=["ENGINE_TEST_ALLOW_UNCONSTRAINED", "ENGINE_ALLOW_UNCONSTRAINED"],
    help="Run even where the server does not enforce the bundle's constraint.",
)
@click.option(
    "--output-format",
    type=click.Choice(("full", "json", "junit")),
    default="full",
    show_default=True,
    help="How to print the report.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report to this file; stdout then shows the one for people.",
)
@project_option
def command(**options: Any) -> int:
    """Run the cases of each BUNDLE and say how often they pass.

    Cases stand in the files that the bundle's `tests` names. Exits with 1 when a case failed, with 2 when one could not
    be judged.
    """
    from engine.run.testing import CasesRequest

    names = ("bundles", "cases", "repeats", "seed", "models", "adapters", "baseline", "plugin", "base_url")
    flags = ("concurrency", "fail_fast", "allow_unconstrained", "allow_commands")
    if options["record"] and options["replay"]:
        raise click.UsageError("--record and --replay exclude each other: one makes recordings, the other needs them")
    replies: Replies = "record" if options["record"] else "replay" if options["replay"] else "live"
    request = CasesRequest(**{name: options[name] for name in (*names, *flags)}, replies=replies)
    if options["strict"] and request.baseline is None:
        raise ConfigError("--strict compares with a baseline: name one with --baseline")
    output = options["output"]
    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigError(f"--output {output}: there is no such folder")
    try:
        report = asyncio.run(_test(App.open(options["project"]), request, options))
    except BundleError as exc:
        return report_findings(exc)
    return exit_code(report, strict=options["strict"])


def exit_code(report: Report, *, strict: bool) -> int:
    """Return 2 when a case could not be judged, 1 when one failed (or, if strict, got worse), else 0."""
    from engine.run.testing.compare import compare

    if report.count("error"):
        return 2
    worse = strict and any(one.regressed for one in compare(report))
    return int(worse or report.count("passed") < len(report.judged))


async def _test(app: App, request: CasesRequest, options: dict[str, Any]) -> Report:
    async with app.test(request, fetch=fetch_weights) as runner:
        try:
            await _run(runner)
        except (asyncio.CancelledError, EngineError) as exc:
            report = runner.report()
            if any(case.trials for case in report.cases):
                write_report(report, options["output_format"], options["output"])
            if isinstance(exc, asyncio.CancelledError):
                note("interrupted: the report is of what had ended")
            raise
        report = runner.report()
        write_report(report, options["output_format"], options["output"])
        return report


async def _run(runner: Runner) -> None:
    """Run all trials, with progress on stderr."""
    from engine.cli.cases_progress import make_progress

    with make_progress(runner.total) as progress:
        async for trial in runner.run():
            progress.show(trial)
    for line in runner.notes:
        note(printable(f"note: {line}"))


def write_report(report: Report, form: str, output: Path | None) -> None:
    """Write a report to stdout; or to a file, and then the one for people to stdout.

    Args:
        report: The report.
        form: full, json or junit.
        output: The file, or None.

    Raises:
        ConfigError: The file cannot be written.
    """
    _echo(_rendered(report, form if output is None else "full"))
    if output is None:
        return
    from engine.files import atomic_write

    try:
        atomic_write(output, click.unstyle(_rendered(report, form)))
    except OSError as error:
        raise ConfigError(f"the report cannot be written to {output}: {error.strerror}") from error


def _echo(text: str) -> None:
    """Print text that the terminal may have no characters for."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), nl=False)


def _rendered(report: Report, form: str) -> str:
    if form == "json":
        from engine.run.testing.as_json import report_json

        return json.dumps(report_json(report), indent=2) + "\n"
    if form == "junit":
        from engine.run.testing.junit import junit_xml

        return junit_xml(report)
    from engine.cli.cases_view import report_text

    return report_text(report, color=use_color())

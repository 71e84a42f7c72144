"""The command line: one verb per module, imported only when it is used."""

from __future__ import annotations

import difflib
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from engine.cli.console import fail, told_color
from engine.errors import EngineError

# verb → (module under engine.cli, the line that `engine --help` shows); the module's `command` is the verb.
VERBS: dict[str, tuple[str, str]] = {
    "validate": ("validate", "Show everything that is wrong with bundles."),
    "explain": ("explain", "Show the page of a diagnostic code."),
    "run": ("run", "Run bundles over the code nodes of files and folders."),
    "resume": ("resume", "Go on with a run that ended early."),
    "test": ("test", "Run the cases of bundles: repeats, models, adapters, a baseline."),
    "diff": ("review", "Show the changes of a run."),
    "review": ("reviewing", "Review the changes of a run full-screen."),
    "accept": ("review", "Write the changes of a run into the project."),
    "reject": ("review", "Drop the changes of a run."),
    "rerun": ("rerun", "Run tasks again whose changes wait, with a note for the model."),
    "undo": ("review", "Take accepted changes out of the project again."),
    "top": ("top", "Watch a run of another process."),
    "runs": ("runs", "List the runs of this project."),
    "show": ("runs", "Show what came of a run, task by task."),
    "events": ("runs", "Print the events of a run as JSON lines."),
    "cache": ("cache", "Show what is kept of earlier results, and why there is nothing for a task."),
    "report": ("report", "Write a run as one HTML page: outcomes, diffs, timeline, latency, failures."),
    "grammar": ("grammar", "Show what holds the replies of a bundle, or check a reply."),
    "render": ("render", "Show the exact request of a task, without a model call."),
    "dev": ("dev", "Preview a bundle on one node, anew with each save."),
    "nodes": ("nodes", "List the code nodes of files and folders."),
    "bundles": ("bundles", "List the bundles and whether they are valid."),
    "show-bundle": ("show_bundle", "Show a bundle's manifest: as written, or with all that it inherits."),
    "doctor": ("doctor", "Prove what is in force: server, model, adapters, constraints, sandbox."),
    "server": ("server", "Start, look at and stop a vLLM server that has what bundles need."),
    "models": ("models", "List, fetch and locate local model weights."),
    "new": ("new", "Make a bundle that validates, runs and has a test."),
    "lsp": ("lsp", "Serve an editor: findings, completion, hover, definitions, fixes."),
    "migrate": ("migrate", "Turn bundles of older formats into this one."),
    "schema": ("schema", "Print a JSON Schema."),
    "completion": ("completion", "Print the completion script of a shell."),
}


class Verbs(click.Group):
    """A click group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"engine.cli.{VERBS[cmd_name][0]}")
        command = getattr(module, "command", None) or getattr(module, cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - a verb's module without a command is a bug
        _take_anywhere(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the table without importing any verb."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a verb from the table, or an option, without importing any verb."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=text) for name, (_, text) in VERBS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; an unknown one gets a did-you-mean."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    context_settings={"auto_envvar_prefix": "ENGINE", "help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="bundle-engine", prog_name="engine")
@click.option("--quiet", "-q", is_flag=True, help="Only results and errors.")
@click.option("--verbose", "-v", is_flag=True, help="Log what happens, on stderr.")
def cli(quiet: bool, verbose: bool) -> None:  # noqa: ARG001 - console.quiet() reads it from the context
    """Run folders ("bundles") as agents over code.

    Every option can be set by an environment variable: ENGINE_VERB_OPTION, such as ENGINE_RUN_CONCURRENCY.
    """
    click.get_current_context().color = told_color()
    if verbose:
        _log_everything()


def _log_everything() -> None:
    logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("engine").setLevel(logging.DEBUG)


def _take_anywhere(command: click.Command) -> None:
    """Let a verb take `--quiet` and `--verbose`, too: not everybody writes them before it."""
    names = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    for name, short in (("quiet", "-q"), ("verbose", "-v")):
        flags = [flag for flag in (f"--{name}", short) if flag not in names]
        if f"--{name}" in flags:
            command.params.append(
                click.Option(flags, is_flag=True, expose_value=False, hidden=True, callback=_set_for_all)
            )
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _take_anywhere(each)


def _set_for_all(context: click.Context, option: click.Parameter, value: bool) -> None:
    """Do what the same option before the verb does."""
    if not value:
        return
    context.find_root().params[option.name or ""] = True
    if option.name == "verbose":
        _log_everything()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 clean, 1 findings or failed tasks, 2 usage or configuration, 130 interrupted."""
    if os.environ.get("_ENGINE_COMPLETE"):
        from engine.cli.completion import complete_at_once

        complete_at_once()
    try:
        code = cli.main(argv, prog_name="engine", standalone_mode=False)
    except click.exceptions.Exit as exc:
        code = exc.exit_code
    except click.Abort:
        code = 130
    except click.ClickException as exc:
        exc.show()
        code = 2
    except EngineError as exc:
        code = fail(str(exc))
    except BrokenPipeError:
        # The reader went away (`engine … | head`); say nothing, also not at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        code = 130
    except Exception as exc:
        logging.getLogger("engine").debug("internal error", exc_info=True)
        code = fail(_words(exc))
    sys.exit(code if isinstance(code, int) else 0)


_WAYS_OUT = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "free some space on its disk",
    errno.EROFS: "nothing can be written there",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EIO: "check the disk",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def _words(error: Exception) -> str:
    """Say what went wrong that nobody took care of: on the machine, else in the engine."""
    if isinstance(error, OSError) and error.errno in _WAYS_OUT:
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{place}{error.strerror}; {_WAYS_OUT[error.errno]}"
    return f"internal error: {type(error).__name__}: {error} (engine --verbose … shows where)"

"""What click says to bash, zsh and fish, with scripts of our own.

Bash splits words at `:` and `=`, so `FILE::NODE` and `name=value` reach a completion function in pieces: its script
sends the whole line, and gets back what stands behind the last such sign. A name that is inserted may come from
anyone's source code, so it is quoted.
"""

from __future__ import annotations

import os
import re
from importlib.resources import files

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from engine.cli.completion.table import attach

SHELLS = ("bash", "zsh", "fish")
_UNSAFE = re.compile(r"([^\w@%+=:,./-])")
_UNSAFE_IN_QUOTES = re.compile(r"[\"'\\$`!]")


def script(shell: str) -> str:
    """Return the script for a shell."""
    return (files("engine.cli.completion") / f"engine.{shell}").read_text("utf-8")


def complete_at_once() -> None:
    """Make click use these classes: this process was started by a shell that wants completions."""
    for shell in (Bash, Zsh, Fish):
        add_completion_class(shell)


class _Quiet(ShellComplete):
    """Completes with the table's completers; says nothing at all where something goes wrong."""

    def source(self) -> str:
        return script(self.name)

    def complete(self) -> str:
        try:
            args, incomplete = self.get_completion_args()
            attach(self.cli)
            # An option without its value stops the parsing before the arguments have their names.
            self.ctx_args["obj"] = args
            found = self.get_completions(args, incomplete)
        except Exception:  # noqa: BLE001 - a shell shows whatever is printed in the middle of the user's line
            return ""
        return "\n".join(self.format_completion(item) for item in found if _safe(item))


class Bash(_Quiet, BashComplete):
    """Bash, by the whole line."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor's, and that one."""
        if "COMP_LINE" not in os.environ:
            return super().get_completion_args()
        return _words(os.environ["COMP_LINE"])

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return the item as it is inserted: without what stands on the line already, quoted."""
        line = os.environ.get("COMP_LINE", "")
        if _open_quote(line):
            return "" if _UNSAFE_IN_QUOTES.search(item.value) else f"{item.type},{item.value}"
        value = item.value[_kept(_words(line)[1], os.environ.get("ENGINE_WORDBREAKS", "")) :]
        return f"{item.type}," + _UNSAFE.sub(r"\\\1", value)


class Zsh(_Quiet, ZshComplete):
    """Zsh, which quotes what it inserts."""

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return three lines."""
        return f"{item.type}\n{item.value}\n{item.help or ''}"


class Fish(_Quiet, FishComplete):
    """Fish, which quotes what it inserts."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor's, and that one."""
        return _words(os.environ["COMP_WORDS"])


def _words(line: str) -> tuple[list[str], str]:
    """Split a line that ends at the cursor: the arguments before, and the word that is being written."""
    words = split_arg_string(line)
    at_new = not words or (line[-1:].isspace() and not line.endswith("\\ ") and not _open_quote(line))
    return (words[1:], "") if at_new else (words[1:-1], words[-1])


def _open_quote(line: str) -> bool:
    """Tell whether the line ends inside quotes."""
    quote = ""
    signs = iter(line)
    for sign in signs:
        if sign == "\\" and quote != "'":
            next(signs, None)
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
    return bool(quote)


def _kept(word: str, breaks: str) -> int:
    """Return how much of a completed value bash has already: all up to the last sign at which it splits words."""
    value = word.partition("=")[2] if word.startswith("-") and "=" in word else word
    signs = [sign for sign in breaks if sign in ":=@"]
    return max((value.rfind(sign) + 1 for sign in signs), default=0)


def _safe(item: CompletionItem[str]) -> bool:
    """Leave out what would break the lines in which the shell reads, or could drive a terminal."""
    return str(item.value).isprintable() and (item.help is None or item.help.isprintable())

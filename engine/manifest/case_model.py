"""Pydantic models of the files with a bundle's cases (`tests/*.yaml`): what is run, and what must come of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.manifest.bundle_model import IDENTIFIER, Model, RelativePath


class ExpectedText(Model):
    """What a text must hold: the plain text of the last reply, what a tool answers, or an error."""

    contains: tuple[str, ...] = Field(default=(), description="Texts that must be in it.")
    excludes: tuple[str, ...] = Field(default=(), description="Texts that must not be in it.")
    matches: str | None = Field(default=None, description="Regular expression (RE2) that must be found in it.")


class ExpectedCall(Model):
    """A tool call that must be made; several must come in this order, others may stand between them."""

    tool: str = Field(pattern=IDENTIFIER, description="The tool's name.")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="Arguments by name; a text between slashes (/…/) is a regular expression (RE2) that must be found "
        "in the argument.",
    )
    match: Literal["partial", "exact"] = Field(
        default="partial",
        description="partial: these arguments, perhaps more of them, also inside objects; exact: these and no others.",
    )
    result: ExpectedText | None = Field(default=None, description="What the tool's answer must hold.")


class ExpectedChange(Model):
    """What must come of one file; without `file`, of the file of the node."""

    file: RelativePath | None = Field(default=None, description="The file, relative to the case's project.")
    kind: Literal["modified", "created", "deleted", "unchanged"] | None = Field(
        default=None,
        description="What must have happened to the file; what is not there and does not come is unchanged.",
    )
    contains: tuple[str, ...] = Field(default=(), description="Texts that the new content must hold.")
    excludes: tuple[str, ...] = Field(default=(), description="Texts that the new content must not hold.")
    matches: str | None = Field(
        default=None, description="Regular expression (RE2) that must be found in the new content."
    )
    equals: str | None = Field(default=None, description="The new content.")
    parses: bool = Field(default=False, description="The new content has no syntax error.")
    same_code_but: tuple[Literal["docstrings", "comments", "node"], ...] | None = Field(
        default=None,
        description="The syntax tree is that of before, but for these: docstrings, comments, or the node itself; "
        "[] allows other white space only.",
    )


class Bounds(Model):
    """What a case may use at most."""

    turns: int | None = Field(default=None, ge=1, description="Turns.")
    tokens: int | None = Field(default=None, ge=1, description="Prompt and completion tokens of all turns.")
    diff_lines: int | None = Field(default=None, ge=0, description="Added and removed lines of all changes.")


class Expectation(Model):
    """What must come of a case."""

    outcome: Literal["finished", "failed", "stopped"] = Field(default="finished", description="How the task ends.")
    calls: tuple[ExpectedCall, ...] = Field(default=(), description="Tool calls that must be made, in this order.")
    no_calls: tuple[str, ...] = Field(default=(), description="Tools that must not be called.")
    text: ExpectedText | None = Field(default=None, description="What the plain text of the last reply must hold.")
    changes: tuple[ExpectedChange, ...] = Field(default=(), description="What must come of files.")
    error: ExpectedText | None = Field(default=None, description="What the error of a failed task must hold.")
    commands: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = Field(
        default=(),
        description="Commands that must exit with 0 in the project with all changes made: argv without a shell; "
        "{file} is the node's file.",
    )
    at_most: Bounds = Field(default_factory=Bounds, description="What the case may use.")


class Case(Model):
    """One case: a bundle on one node."""

    exclusive = (("source", "file"), ("language", "file"))
    one_of = ("source", "file")

    name: str = Field(min_length=1, max_length=120, description="What the case shows; unique in the bundle.")
    source: str | None = Field(default=None, description="A snippet; it becomes a file of its own project.")
    language: str = Field(default="python", description="The snippet's language, which gives its file a name.")
    file: RelativePath | None = Field(default=None, description="A file of the bundle that is the target.")
    path: RelativePath | None = Field(
        default=None,
        description="Where the target lies in the project; by default a snippet is snippet.py (or as its language "
        "says), and a file has its own name.",
    )
    files: dict[str, str] = Field(default_factory=dict, description="More files of the project: content by path.")
    node: str | None = Field(
        default=None, description="The node by (qualified) name; by default the only one that the bundle takes."
    )
    params: dict[str, Any] = Field(default_factory=dict, description="Values of the bundle's params.")
    repeats: int = Field(default=1, ge=1, le=1000, description="How often it runs, each time with another seed.")
    pass_rate: float = Field(default=1.0, gt=0, le=1, description="Share of the repeats that must pass.")
    expect: Expectation = Field(default_factory=Expectation, description="What must come of it.")


class CaseFile(Model):
    """A file with cases of a bundle."""

    format: Literal[1] = Field(description="Version of this format: 1.")
    cases: tuple[Case, ...] = Field(min_length=1, description="The cases.")

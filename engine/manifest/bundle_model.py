"""Pydantic models of `bundle.yaml`: the one truth from which the JSON Schema is generated.

The descriptions are what an author reads in the editor. The models are frozen and forbid unknown keys.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME)]
RelativePath = Annotated[str, Field(min_length=1, max_length=1024)]


class Model(BaseModel):
    """Base of all manifest models.

    `exclusive` lists pairs of keys that exclude each other, `one_of` the keys of which one is needed; both hold in the
    generated JSON Schema too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)
    exclusive: ClassVar[tuple[tuple[str, str], ...]] = ()
    one_of: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        given = self.model_fields_set
        for pair in self.exclusive:
            if given.issuperset(pair):
                raise ValueError(f"{pair[0]} and {pair[1]} exclude each other")
        if self.one_of and not given.intersection(self.one_of):
            raise ValueError(f"one of {', '.join(self.one_of)} is needed")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the rules about keys to the generated schema."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        rules: list[JsonSchemaValue] = [{"not": {"required": list(pair)}} for pair in cls.exclusive]
        if cls.one_of:
            rules.append({"anyOf": [{"required": [key]} for key in cls.one_of]})
        if rules:
            schema["allOf"] = rules
        return schema


class Sampling(Model):
    """How the next token is chosen."""

    temperature: float = Field(default=0.0, ge=0, le=2, description="0 always takes the most likely token.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Keep the most likely tokens up to this share.")
    max_tokens: int = Field(
        default=512,
        ge=1,
        le=131072,
        description="Upper bound of one reply, in tokens; typed grammars are fitted to it.",
    )
    seed: int | None = Field(
        default=None, ge=0, le=4294967295, description="Same seed, same reply (as far as the server can)."
    )
    stop: tuple[str, ...] = Field(default=(), max_length=16, description="Texts that end a reply.")


class ModelSpec(Model):
    """Which model family and which model answers."""

    exclusive = (("id", "role"),)

    plugin: str = Field(
        description="The model family, so how tools are declared and calls written: function_gemma, llama3, qwen, "
        "qwen_coder, smollm, or openai for a server's own tools API."
    )
    id: str | None = Field(
        default=None,
        min_length=1,
        description="What the server calls the model. Neither id nor role: the backend's default.",
    )
    role: str | None = Field(default=None, min_length=1, description="A role of the roles file, instead of id.")
    adapter: str | None = Field(default=None, description="The adapter that answers unless routing says otherwise.")
    sampling: Sampling = Field(default_factory=Sampling, description="How the next token is chosen.")


class AdapterSpec(Model):
    """A LoRA adapter, shipped in the bundle (path, a PEFT folder; gguf, a GGUF file) or named on the server (name)."""

    exclusive = (("name", "path"), ("name", "gguf"))
    one_of = ("path", "gguf", "name")

    path: RelativePath | None = Field(
        default=None,
        description="A PEFT folder in the bundle, which vLLM and SGLang load when it is needed, or a GGUF file.",
    )
    gguf: RelativePath | None = Field(default=None, description="A GGUF file of the same adapter, for llama.cpp.")
    name: str | None = Field(default=None, min_length=1, description="The adapter's name on a server that has it.")
    base: str | None = Field(
        default=None, min_length=1, description="The model that it was trained on; with another model it is left out."
    )


class Route(Model):
    """One routing rule; the first that matches, in all that it says, chooses the adapter of the next turn."""

    one_of = ("when", "after_tool")

    when: str | None = Field(default=None, description="A Jinja expression over turn, node, params and context.")
    after_tool: str | None = Field(default=None, description="Matches when the last turn called this tool.")
    adapter: str = Field(description="The adapter that answers.")


class GrammarSpec(Model):
    """What the model is able to write at all."""

    strategy: str = Field(
        default="typed", description="permissive, strict_json, typed, none or custom; 'typed@1' pins a version."
    )
    mode: Literal["auto", "ebnf", "structural_tag", "json_schema"] = Field(
        default="auto",
        description="How the constraint is written; auto is the best that the model family has and the server takes.",
    )
    parallel_calls: bool = Field(default=False, description="May one turn hold several calls, 16 at most.")
    text: Literal["forbidden", "allowed"] = Field(
        default="forbidden", description="May a turn be plain text, or begin with it."
    )
    file: RelativePath | None = Field(
        default=None, description="Strategy custom: an EBNF grammar or a structural tag (.json), sent unchanged."
    )


class InlineText(Model):
    """A template written into the manifest."""

    text: str = Field(description="The template itself.")


class Prompts(Model):
    """The Jinja templates of the first turn."""

    system: RelativePath | InlineText | None = Field(default=None, description="Template of the system message.")
    user: RelativePath | InlineText = Field(description="Template of the user message.")


class Nodes(Model):
    """Which code nodes the bundle takes."""

    exclusive = (("types", "query"),)

    languages: tuple[str, ...] = Field(default=(), description="Languages; none means all.")
    types: tuple[str, ...] = Field(
        default=(), description="Node types: file, class, function, method, section, table, …"
    )
    when: str | None = Field(default=None, description="A Jinja expression over node and params.")
    query: RelativePath | None = Field(default=None, description="A tree-sitter query (.scm) instead of types.")


class ContextSpec(Model):
    """A `.pym` script whose result a prompt reads as context.NAME."""

    name: Annotated[str, Field(pattern=IDENTIFIER)] = Field(description="The name in prompts.")
    path: RelativePath = Field(
        description="The script. model_override in its result names who answers: an adapter of the bundle, or a model."
    )
    each: Literal["run", "turn"] = Field(default="run", description="When it runs: once per task, or before each turn.")


class InputOverride(Model):
    """What the model is told about one input, merged over what the script says."""

    description: str | None = Field(default=None, description="What the model reads.")
    min_length: int | None = Field(default=None, ge=0, description="Least number of characters.")
    max_length: int | None = Field(default=None, ge=0, le=100000, description="Greatest number of characters.")
    pattern: str | None = Field(default=None, description="Regular expression (ECMA-262) that a text must match.")
    enum: tuple[Any, ...] | None = Field(default=None, min_length=1, description="The allowed values.")
    minimum: float | None = Field(default=None, description="Least number.")
    maximum: float | None = Field(default=None, description="Greatest number.")
    min_items: int | None = Field(default=None, ge=0, description="Least number of items.")
    max_items: int | None = Field(default=None, ge=0, description="Greatest number of items.")
    default: Any = Field(default=None, description="Used when the model leaves the input out.")


class ScriptLimits(Model):
    """What one call of a script may use."""

    seconds: float = Field(default=2.0, gt=0, le=60, description="Time of execution, externals not counted.")
    memory: str = Field(default="32MiB", pattern=r"^[1-9][0-9]*(KiB|MiB|GiB)$", description="Memory, such as 32MiB.")
    recursion: int = Field(default=200, ge=10, le=1000, description="Depth of calls.")
    suspensions: int = Field(default=1000, ge=1, le=100000, description="Number of calls of externals.")
    wall: float = Field(default=60.0, gt=0, le=3600, description="Time on the clock, externals included.")


class ScriptTool(Model):
    """A sandboxed `.pym` tool."""

    path: RelativePath = Field(description="The script; the tool's name is the file's stem.")
    name: str | None = Field(default=None, pattern=IDENTIFIER, description="The tool's name, if not the file's stem.")
    description: str | None = Field(
        default=None, description="What the model reads, if not the script's own docstring."
    )
    inputs: dict[str, InputOverride] = Field(
        default_factory=dict, description="Details of inputs, merged over the script's."
    )
    bind: dict[str, str] = Field(
        default_factory=dict,
        description="Inputs that the engine fills, each a Jinja expression over node, params, context.",
    )
    context: tuple[str, ...] = Field(default=(), description="Context providers whose text is appended to the result.")
    limits: ScriptLimits = Field(default_factory=ScriptLimits, description="What one call may use.")


class PythonTool(Model):
    """A Python callable; runs only when engine.yaml trusts it."""

    python: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", description="package.module:callable")
    name: str | None = Field(default=None, pattern=IDENTIFIER, description="The tool's name, if not the callable's.")
    description: str | None = Field(default=None, description="What the model reads.")


class McpServer(Model):
    """An MCP server and which of its tools are offered."""

    command: tuple[str, ...] = Field(min_length=1, description="The server's argv.")
    tools: tuple[str, ...] = Field(min_length=1, description="The tools that are offered.")


class McpTool(Model):
    """Tools of an MCP server."""

    mcp: McpServer = Field(description="The server and its tools.")


class Loop(Model):
    """When a task is over."""

    max_turns: int = Field(default=8, ge=1, le=1000, description="Upper bound of turns.")
    termination_tool: str | None = Field(default=None, description="The task is finished when this tool has succeeded.")
    history: int = Field(
        default=50, ge=2, le=10000, description="Messages kept; a result never outlives its call, nor the reverse."
    )
    on_no_call: Literal["fail", "finish"] = Field(default="fail", description="What a turn without a call means.")


class Permissions(Model):
    """What the tools may touch; by default they read the project, write nothing and run nothing."""

    read: tuple[str, ...] = Field(default=("**/*",), description="Globs of files that may be read.")
    write: tuple[str, ...] = Field(default=(), description="Globs of files that may be written.")
    run: tuple[tuple[str, ...], ...] = Field(
        default=(), description="Allowed commands, each an argv prefix; there is no shell."
    )
    ask: bool = Field(default=False, description="May put questions to a person.")


class RunCheck(Model):
    """A command that must exit with 0 in the workspace."""

    run: tuple[str, ...] = Field(min_length=1, description="argv; {file} is the changed file.")


class TaskLimits(Model):
    """What one task may use."""

    seconds: float = Field(default=300, gt=0, le=86400, description="Time on the clock.")
    tokens: int = Field(default=20000, ge=1, description="Prompt and completion tokens of all turns.")
    tool_calls: int = Field(default=50, ge=1, description="Number of tool calls.")
    cost: float | None = Field(
        default=None, gt=0, description="What its tokens may cost, at the prices that engine.yaml declares."
    )


class Manifest(Model):
    """The typed `bundle.yaml`, as written."""

    format: Literal[1] = Field(description="Version of this format: 1.")
    extends: RelativePath | None = Field(
        default=None,
        description="The folder of the bundle that this one builds on, relative to this one: maps are merged by key, "
        "lists of named things by name, files by path.",
    )
    name: Name = Field(description="The bundle's name: a letter, then letters, digits, - and _.")
    version: str = Field(default="0.0.0", description="The bundle's own version.")
    description: str = Field(min_length=1, max_length=1000, description="What the bundle does, in a sentence.")
    model: ModelSpec = Field(description="Which model family and which model answers.")
    adapters: dict[str, AdapterSpec] = Field(default_factory=dict, description="LoRA adapters by name.")
    routing: tuple[Route, ...] = Field(
        default=(), description="Which adapter answers the next turn; the first match wins."
    )
    grammar: GrammarSpec = Field(default_factory=GrammarSpec, description="What the model is able to write at all.")
    prompts: Prompts = Field(description="The Jinja templates of the first turn.")
    params: dict[Annotated[str, Field(pattern=IDENTIFIER)], dict[str, Any]] = Field(
        default_factory=dict, description="Typed knobs of the bundle: a JSON Schema per name, with a default."
    )
    nodes: Nodes = Field(default_factory=Nodes, description="Which code nodes the bundle takes.")
    context: tuple[ContextSpec, ...] = Field(default=(), description="Scripts whose results the prompts read.")
    tools: tuple[RelativePath | ScriptTool | PythonTool | McpTool, ...] = Field(
        min_length=1, description="The tools offered to the model."
    )
    loop: Loop = Field(default_factory=Loop, description="When a task is over.")
    permissions: Permissions = Field(default_factory=Permissions, description="What the tools may touch.")
    checks: tuple[Literal["parses"] | RunCheck, ...] = Field(
        default=(), description="What must hold before a change is offered for review."
    )
    limits: TaskLimits = Field(default_factory=TaskLimits, description="What one task may use.")
    tests: str | None = Field(default=None, description="Glob of the cases that `engine test` runs.")

    @field_validator("format", mode="before")
    @classmethod
    def _format_is_a_number(cls, value: Any) -> Any:
        """Refuse `true`, which Python takes for 1."""
        if isinstance(value, bool):
            raise ValueError("the format is a number")  # noqa: TRY004 - pydantic turns only a ValueError into a finding
        return value

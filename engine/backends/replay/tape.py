"""What a recording holds: the requests of one case, what was answered, and what the backend said about itself.

No time, no path, no key, no header: recording the same replies again gives the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from engine.backends.replay.text import plain
from engine.grammar.constraint import Kind
from engine.manifest.bundle_model import Sampling

FORMAT = 1
CANARY = "{canary}"
"""Stands for the random word of a canary."""


def _is_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("this is no text")  # noqa: TRY004 - pydantic takes a ValueError for a finding
    return value


def _sampling(value: Any) -> Any:
    return Sampling.model_validate(value | {"stop": tuple(value.get("stop", ()))}) if isinstance(value, dict) else value


# Any, since pydantic's own str refuses lone surrogates, which a server's JSON and a file that is not UTF-8 may hold.
Text = Annotated[Any, AfterValidator(_is_text)]
Json = Annotated[Any, BeforeValidator(plain)]


_A = TypeVar("_A", "Turn", "Canary")


class _Part(BaseModel):
    """Base of all parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterUsed(_Part):
    """A LoRA adapter, by its name in the bundle and the content of its files."""

    name: str
    digest: str


class ConstraintUsed(_Part):
    """A constraint: how it is written, the strategy that made it, and the sha256 of its value."""

    kind: Kind
    strategy: str
    sha256: str


class Asked(_Part):
    """A request, as far as it decides what is answered."""

    messages: tuple[Json, ...]
    model: str | None
    adapter: AdapterUsed | None
    constraint: ConstraintUsed
    sampling: Annotated[Sampling, BeforeValidator(_sampling)]
    tools: tuple[Json, ...] = ()
    tool_choice: str | None = None


class Tokens(_Part):
    """Token counts; what came out of the server's cache depends on what it was asked before, and is left out."""

    prompt: int = Field(default=0, ge=0)
    completion: int = Field(default=0, ge=0)


class Reply(_Part):
    """What was answered."""

    text: Text
    tool_calls: tuple[Json, ...] = ()
    finish_reason: str
    tokens: Tokens = Tokens()
    model: Text
    adapter: str | None


class Refusal(_Part):
    """A refusal instead of a reply: the server's, or that the prompt is too long."""

    kind: Literal["rejected", "too_long"]
    message: Text


def _one(answered: _A) -> _A:
    if (answered.reply is None) == (answered.refusal is None):
        raise ValueError("either a reply or a refusal is needed")
    return answered


class Turn(_Part):
    """A request and its answer: a reply or a refusal."""

    request: Asked
    reply: Reply | None = None
    refusal: Refusal | None = None

    _one = model_validator(mode="after")(_one)


class Canary(_Part):
    """What a canary was answered, with `{canary}` for its random word; its token counts are left out."""

    kind: Kind
    model: str | None
    adapter: str | None
    reply: Reply | None = None
    refusal: Refusal | None = None

    _one = model_validator(mode="after")(_one)


class Count(_Part):
    """A prompt whose tokens were counted, by the sha256 of its messages."""

    sha256: str
    tokens: int | None


class Unspelled(_Part):
    """A constraint that the server could not be asked for, and why."""

    constraint: ConstraintUsed
    message: Text


class Server(_Part):
    """What the backend said about itself."""

    backend: str
    model: str | None
    plugin: str | None
    kinds: tuple[Kind, ...]
    adapters: dict[str, bool] = Field(description="Which of the bundle's adapters can answer on its model.")


class Label(_Part):
    """Which run of which case a recording is of.

    Attributes:
        bundle: The bundle's name.
        case: The case's name.
        variant: The model and the adapter, where they are not the bundle's own choice; else empty.
        repeat: Which of the case's repeats, from 1.
    """

    bundle: str
    case: str
    variant: str = ""
    repeat: int = Field(default=1, ge=1)


class Tape(_Part):
    """A recording."""

    format: Literal[1] = 1
    label: Label
    server: Server
    canaries: tuple[Canary, ...] = ()
    unspelled: tuple[Unspelled, ...] = ()
    counts: tuple[Count, ...] = ()
    turns: tuple[Turn, ...] = ()

"""Text of others (source code, tool results, prompts) that may quote a model family's control tokens."""

from __future__ import annotations

from collections.abc import Iterable


def break_tokens(text: str, tokens: Iterable[str]) -> str:
    """Return a text in which none of the tokens stands as such: a server would read it as one.

    A blank after the token's first character keeps it readable.

    Args:
        text: The untrusted text.
        tokens: The control tokens of the model family, none of which holds a blank after its first character.
    """
    for token in tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text

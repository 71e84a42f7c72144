"""Control tokens in text of others: broken, so that no server reads them as the end of a turn."""

from __future__ import annotations

from collections.abc import Sequence

CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
LLAMA_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_",
)


def break_tokens(text: str, tokens: Sequence[str]) -> str:
    """Return a text in which none of the tokens, or of their beginnings, stands as such; a blank keeps it readable.

    Source code and tool results are untrusted, and may well quote such a token.
    """
    for token in tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text

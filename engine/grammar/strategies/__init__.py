"""The strategies: how strictly a reply is held. One module each, all of them in `STRATEGIES`."""

from __future__ import annotations

from engine.diagnostics import did_you_mean
from engine.errors import ConfigError
from engine.grammar.strategies.base import Strategy, ToolGrammarError
from engine.grammar.strategies.custom import CUSTOM
from engine.grammar.strategies.none import NONE
from engine.grammar.strategies.permissive import PERMISSIVE
from engine.grammar.strategies.strict_json import STRICT_JSON
from engine.grammar.strategies.typed import TYPED

STRATEGIES: dict[str, Strategy] = {
    "custom": CUSTOM,
    "none": NONE,
    "permissive": PERMISSIVE,
    "strict_json": STRICT_JSON,
    "typed": TYPED,
}


def resolve_strategy(name: str) -> Strategy:
    """Return the strategy of a name such as `typed` or `typed@1`.

    Raises:
        ConfigError: There is no such strategy or no such version.
    """
    plain, at, version = name.partition("@")
    strategy = STRATEGIES.get(plain)
    if strategy is None:
        known = ", ".join(sorted(STRATEGIES))
        hint = did_you_mean(plain, STRATEGIES)
        raise ConfigError(f"unknown grammar strategy '{name}'; {hint + ' ' if hint else ''}known: {known}")
    if at and version != str(strategy.version):
        raise ConfigError(
            f"grammar strategy '{plain}' has no version '{version}'; this engine has {plain}@{strategy.version}"
        )
    return strategy


__all__ = ["STRATEGIES", "Strategy", "ToolGrammarError", "resolve_strategy"]

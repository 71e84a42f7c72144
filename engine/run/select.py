"""Parts of a run: `--shard i/n`."""

from __future__ import annotations

import re

from engine.errors import ConfigError

Shard = tuple[int, int]
"""`(i, n)`: the i-th of n parts, from 1."""


def parse_shard(text: str) -> Shard:
    """Read `i/n`.

    Raises:
        ConfigError: It has another form, or there is no such part.
    """
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text, re.ASCII)
    if found is None:
        raise ConfigError(f"--shard {text!r} has the wrong form: write 2/8 for the second of eight parts")
    return check_shard((int(found[1]), int(found[2])))


def check_shard(shard: Shard) -> Shard:
    """Return a shard that can be.

    Raises:
        ConfigError: There is no such part.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise ConfigError(f"there is no part {part} of {parts}: shards count from 1/{max(parts, 1)}")
    return shard


def in_shard(node_id: str, shard: Shard | None) -> bool:
    """Whether a node is in a shard: always in the same one of so many, whatever else there is.

    Ids are hexadecimal digits of a hash, so that shards are about equal.
    """
    if shard is None:
        return True
    part, parts = shard
    return int(node_id, 16) % parts == part - 1

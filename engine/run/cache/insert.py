"""How results get into the tables, and out of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from engine.events.task_rows import storable
from engine.run.cache.entry import NewEntry, checksum_of, reads_text
from engine.run.cache.record import content_digest, text_digest

_CHUNK = 500
_VARIANTS = 8  # entries under one key, which differ in what was read
_ADD = """
    INSERT INTO entries (key, variant, scene, bundle, task_id, node_id, place, node, note, reads, source, result,
        prompt_tokens, completion_tokens, cached_tokens, seconds, checksum, size, stored, used)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SURPLUS = "SELECT id FROM entries WHERE key = ? AND variant <> ? ORDER BY used DESC, id DESC LIMIT -1 OFFSET ?"


def insert(db: sqlite3.Connection, entry: NewEntry, now: float) -> None:
    """Store one result in the present transaction, in place of one of the same key that read the same."""
    reads = reads_text(entry.reads)
    result = json.dumps(entry.result, ensure_ascii=True)
    variant = text_digest(f"{reads}\n{entry.source}")
    db.execute("INSERT OR IGNORE INTO scenes VALUES (?, ?)", (entry.scene, entry.parts))
    same = db.execute("SELECT id FROM entries WHERE key = ? AND variant = ?", (entry.key, variant)).fetchall()
    surplus = db.execute(_SURPLUS, (entry.key, variant, _VARIANTS - 1)).fetchall()
    remove(db, [number for (number,) in (*same, *surplus)])
    row = db.execute(
        _ADD,
        (
            *(
                entry.key,
                variant,
                entry.scene,
                entry.bundle,
                entry.task_id,
                entry.node_id,
                storable(entry.place),
                entry.node,
            ),
            *(storable(entry.note), reads, entry.source, result),
            *(entry.usage.prompt_tokens, entry.usage.completion_tokens, entry.usage.cached_tokens, entry.seconds),
            checksum_of(entry.key, reads, entry.source, result, entry.writes),
            *(entry.size, now, now),
        ),
    )
    for write in entry.writes:
        db.execute(
            "INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (row.lastrowid, write.path, _blob(db, write.after), *write[2:6], int(write.node)),
        )


def _blob(db: sqlite3.Connection, content: bytes | None) -> int | None:
    """Store a content, once, and return its number."""
    if content is None:
        return None
    digest = content_digest(content)
    known = db.execute("SELECT id FROM blobs WHERE sha256 = ?", (digest,)).fetchone()
    if known is not None:
        return int(known[0])
    return db.execute("INSERT INTO blobs (sha256, data) VALUES (?, ?)", (digest, content)).lastrowid


def remove(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Remove entries in the present transaction, and the contents that no other one needs."""
    for chunk in chunks(numbers, _CHUNK):
        marks = ",".join("?" * len(chunk))
        blobs = db.execute(f"SELECT DISTINCT after FROM writes WHERE entry IN ({marks}) AND after NOTNULL", chunk)  # noqa: S608 - only question marks
        freed = [row[0] for row in blobs.fetchall()]
        db.execute(f"DELETE FROM entries WHERE id IN ({marks})", chunk)  # noqa: S608 - as above
        db.executemany(
            "DELETE FROM blobs WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM writes WHERE after = ?1)",
            [(blob,) for blob in freed],
        )


def chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield the values in parts of at most this many."""
    return (values[start : start + size] for start in range(0, len(values), size))

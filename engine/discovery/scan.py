"""Discovery of whole trees: small ones here, large ones in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.discovery.model import CodeNode, Discovery, Note
from engine.discovery.nodes import make_nodes
from engine.discovery.source import SourceFile, scan_file
from engine.discovery.targets import Filter, Plan, make_filter, make_plan
from engine.errors import BundleError

_INLINE_FILES = 30
_INLINE_BYTES = 256 * 1024
_INLINE_FILE_BYTES = 64 * 1024

FileResult = tuple[list[CodeNode], str | None, bool]
"""The nodes of one file, what is to be noted about it, and whether it was read."""


def discover(
    targets: Sequence[str | Path],
    *,
    root: Path | None = None,
    languages: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    query: str | None = None,
) -> Discovery:
    """Find the code nodes below files and folders; blocks until all are read.

    Args:
        targets: Files and folders. Folders are read without what .gitignore names; a file that is named itself is
            read even then.
        root: The project's root, to which `file_path` is relative; by default the nearest folder at or above the
            targets that looks like one.
        languages: Only files in these languages.
        types: Only nodes of these types.
        query: The text of a tree-sitter query whose `@node` or `@TYPE.def` captures are the nodes, in the languages
            that it is valid for.

    Raises:
        ConfigError: A target does not exist or is outside the root, or a language or type is unknown.
        BundleError: The query is not valid for any of the languages asked for.
    """
    wanted = make_filter(languages, types, query)
    return scan(_without_other_languages(make_plan(targets, root, wanted), wanted), wanted)


def scan(plan: Plan, wanted: Filter) -> Discovery:
    """Read the files of a plan; blocks until all are read."""
    if _is_small(plan.sources):
        return _result(plan, [_scan(plan, file, wanted) for file in plan.sources])
    from engine.discovery.pool import Pool

    return _result(plan, Pool(plan, wanted).run())


async def discover_async(
    targets: Sequence[str | Path],
    *,
    root: Path | None = None,
    languages: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    query: str | None = None,
    only: Callable[[str], bool] | None = None,
) -> Discovery:
    """Find the code nodes like `discover`, without stalling the event loop.

    tree-sitter holds the interpreter's lock while it parses, so all but small trees are read by worker processes.

    Args:
        targets: Files and folders.
        root: The project's root.
        languages: Only files in these languages.
        types: Only nodes of these types.
        query: The text of a tree-sitter query.
        only: Says of a file, by its path, whether it is read at all; called in another thread.

    Raises:
        ConfigError: As `discover`, or what `only` raises.
        BundleError: The query is not valid for any of the languages asked for.
    """
    import asyncio

    wanted = make_filter(languages, types, query)
    plan = await asyncio.to_thread(_planned, targets, root, wanted, only)
    return await scan_async(_without_other_languages(plan, wanted), wanted)


def _planned(
    targets: Sequence[str | Path], root: Path | None, wanted: Filter, only: Callable[[str], bool] | None
) -> Plan:
    plan = make_plan(targets, root, wanted)
    if only is None:
        return plan
    return Plan(plan.root, tuple(file for file in plan.sources if only(file.path)), plan.notes)


async def scan_async(plan: Plan, wanted: Filter) -> Discovery:
    """Read the files of a plan, without stalling the event loop."""
    import asyncio

    if _is_small(plan.sources):
        return _result(plan, [await asyncio.to_thread(_scan, plan, file, wanted) for file in plan.sources])
    from engine.discovery.pool import Pool

    pool = Pool(plan, wanted)
    work = asyncio.ensure_future(asyncio.to_thread(lambda: _result(plan, pool.run())))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        pool.stop()
        await asyncio.wait([work])
        raise


def _scan(plan: Plan, file: SourceFile, wanted: Filter) -> FileResult:
    source, rows, note, read = scan_file(str(plan.root), file, wanted.types, wanted.query)
    return make_nodes(source, file.path, file.language, rows), note, read


def _is_small(sources: Sequence[SourceFile]) -> bool:
    sizes = [file.size for file in sources]
    return len(sizes) < _INLINE_FILES and sum(sizes) < _INLINE_BYTES and max(sizes, default=0) < _INLINE_FILE_BYTES


def _without_other_languages(plan: Plan, wanted: Filter) -> Plan:
    """Keep the files in whose languages the query is valid."""
    if wanted.query is None:
        return plan
    from engine.discovery.languages import custom_query

    valid: set[str] = set()
    problem: BundleError | None = None
    for language in sorted(wanted.languages or {file.language for file in plan.sources}):
        try:
            custom_query(language, wanted.query)
            valid.add(language)
        except BundleError as error:
            problem = problem or error
    if problem is not None and (wanted.languages or not valid):
        raise problem
    return Plan(plan.root, tuple(file for file in plan.sources if file.language in valid), plan.notes)


def _result(plan: Plan, scanned: Sequence[FileResult]) -> Discovery:
    nodes = tuple(node for found, _, _ in scanned for node in found)
    notes = [Note(file.path, note) for file, (_, note, _) in zip(plan.sources, scanned, strict=True) if note]
    files = sum(read for _, _, read in scanned)
    return Discovery(nodes, files, tuple(sorted((*plan.notes, *notes), key=lambda note: note.path)))

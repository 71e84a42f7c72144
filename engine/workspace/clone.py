"""Copies of files that share their blocks with the original where the file system can."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

_FICLONE = 0x40049409  # linux/fs.h
_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}


def clone_file(source: Path, target: Path) -> os.stat_result:
    """Copy a file with its mode and times; returns what `fstat` said about the source before it was read.

    Raises:
        OSError: It cannot be read or written.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as reader, target.open("xb") as writer:  # noqa: PTH123 - the flags need a descriptor
        info = os.fstat(descriptor)
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, descriptor)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            shutil.copyfileobj(reader, writer, 1 << 20)
        os.fchmod(writer.fileno(), (info.st_mode & 0o777) | 0o600)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
    return info


def clone_link(source: Path, target: Path, root: Path) -> os.stat_result | None:
    """Copy a relative link that stays inside the root; others are left out, since they would lead out of the copy."""
    goal = inner_goal(source, root)
    if goal is None:
        return None
    target.symlink_to(goal)
    return source.lstat()


def inner_goal(source: Path, root: Path) -> str | None:
    """Return where a link points to, if it is a relative one that stays inside the root.

    Raises:
        OSError: It is no link, or not there.
    """
    goal = str(source.readlink())
    inside = os.path.realpath(source).startswith(os.path.realpath(root) + os.sep)
    return None if goal.startswith("/") or not inside or _climbs_out(source, goal, root) else goal


def _climbs_out(source: Path, goal: str, root: Path) -> bool:
    """Tell whether the way to the goal passes above the root, as `../project/file` does."""
    depth = len(source.parent.relative_to(root).parts)
    for part in goal.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return False

"""Files that are the old one or the new one, and never a part of either."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # not everywhere; there, what an interrupted process left is left
    fcntl = None

__all__ = ["written_whole"]


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Generator[IO[Any]]:
    """A file to write bytes to, which takes the place of ``path`` when the block has ended and all of it is on disk.

    Until then, and when the block raises or the process is killed, what was there before stays. The folder is made.
    A process that is killed may leave a hidden file beside ``path``; the next write to ``path`` removes it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary, handle = _begin(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            if fcntl is not None:  # while it is open it is locked; elsewhere an open file cannot be moved
                os.replace(temporary, path)
        if fcntl is None:
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _begin(path: Path) -> tuple[str, int]:
    """A temporary file beside ``path``, locked as long as it is open: its name, and its handle."""
    while True:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        if fcntl is None:
            return temporary, handle
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)  # held for a moment by another writer, which takes it for a stale one
        if os.path.exists(temporary):
            return temporary, handle
        os.close(handle)


def _remove_stale(path: Path) -> None:
    """Remove temporary files of ``path`` that nobody writes: the lock of a process ends with it, however it ends."""
    if fcntl is None:
        return
    named = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}\.tmp")
    for entry in os.scandir(path.parent):
        if not named.fullmatch(entry.name):
            continue
        with contextlib.suppress(OSError):  # locked, or gone, or not ours
            handle = os.open(entry.path, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
            finally:
                os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Bring to disk which file has which name, where a folder can be opened for that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    """What a new file is not allowed; a temporary one is nobody else's, and the finished one is as any other."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

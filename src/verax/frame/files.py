"""Files that are the old one or the new one, and never a part of either."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

__all__ = ["written_whole"]


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Generator[IO[Any]]:
    """A file to write bytes to, which takes the place of ``path`` when the block has ended and all of it is on disk.

    Until then, and when the block raises, what was there before stays. The folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    """What a new file is not allowed; a temporary one is nobody else's, and the finished one is as any other."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

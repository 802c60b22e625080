"""Memory between steps: what the C library gives back to the system has to be fetched again, page by page."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Any

__all__ = ["keep_freed_memory", "suit"]

#: A program that needs this many bytes of scratch memory gains from keeping them.
_LARGE = 16 << 20


def suit(compiled: Any) -> None:
    """Before a program's first run: keep freed memory in the process if its scratch memory is large."""
    found = compiled.memory_analysis()
    if found is not None and found.temp_size_in_bytes >= _LARGE:
        keep_freed_memory()


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for the whole process and from now on; whether it was done.

    XLA on a CPU allocates a program's scratch memory anew at every call. glibc maps a large block from the system and
    gives it back when it is freed, and every page of it faults when it is touched again. With
    ``mallopt(M_MMAP_MAX, 0)`` and a high ``M_TRIM_THRESHOLD`` the block stays. The price: the process does not shrink
    below its largest size. Verax does this when a program with more than 16 MB of scratch memory is compiled;
    ``VERAX_KEEP_MEMORY=0`` in the environment forbids it. Elsewhere than on glibc nothing is done.

    Source: mallopt(3).
    """
    if os.environ.get("VERAX_KEEP_MEMORY", "1") == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1) and mallopt(arena_max, 1))

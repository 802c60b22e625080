"""Either form of the operations that have a fast one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from verax.frame import speed


@contextmanager
def kernels(fast: bool) -> Iterator[None]:
    """The fast kernels switched on or off inside of a block or, as a decorator, of a test; afterwards as before.

    A test of one form asks for that form itself, so that it says the same when all others run with
    ``VERAX_FAST_KERNELS=0``.

    >>> with kernels(False):
    ...     speed.fast_kernels()
    False
    """
    before = speed._settings["on"]
    speed.use_fast_kernels(fast)
    try:
        yield
    finally:
        speed.use_fast_kernels(before)

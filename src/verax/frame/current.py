"""The frame that is active in this thread of control, if any."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verax.frame.frame import Frame

__all__ = ["active_frame", "current"]

current: ContextVar[Frame | None] = ContextVar("verax_frame", default=None)


def active_frame() -> Frame | None:
    """The frame of the enclosing ``pure`` call; None outside of one."""
    return current.get()

"""The frame that is active in this thread of control, if any."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verax.frame.frame import Frame
    from verax.frame.scopes import StatelessScope

__all__ = ["active_frame", "current", "inferring", "stateless"]

current: ContextVar[Frame | None] = ContextVar("verax_frame", default=None)

#: Whether shapes are being inferred: what is traced then is thrown away.
inferring: ContextVar[bool] = ContextVar("verax_inferring", default=False)

#: The block in which assignments are not kept, if any.
stateless: ContextVar[StatelessScope | None] = ContextVar("verax_stateless", default=None)


def active_frame() -> Frame | None:
    """The frame of the enclosing ``pure`` call; None outside of one."""
    return current.get()

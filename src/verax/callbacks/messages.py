"""What callbacks say to a person, said between progress lines and never in the middle of one."""

from __future__ import annotations

import logging

from verax.frame.interactive import is_interactive_logging_enabled

__all__ = ["hold", "put", "release", "say"]

_held: list[str] | None = None
_log = logging.getLogger("verax")


def put(text: str) -> None:
    """Print a line now, or log it where nothing is to be printed."""
    if is_interactive_logging_enabled():
        print(text, flush=True)
    else:
        _log.info(text)


def say(text: str) -> None:
    """Print a line; while a progress line is being redrawn, keep it until that line is finished."""
    if _held is None:
        put(text)
    else:
        _held.append(text)


def hold() -> None:
    """From now on, keep what is said."""
    global _held
    _held = [] if _held is None else _held


def release() -> None:
    """Print what was kept, in its order; from now on, print at once."""
    global _held
    kept, _held = _held or [], None
    for text in kept:
        put(text)

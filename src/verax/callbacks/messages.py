"""What callbacks say to a person, said between progress lines and never in the middle of one."""

from __future__ import annotations

import logging

__all__ = [
    "disable_interactive_logging",
    "enable_interactive_logging",
    "hold",
    "is_interactive_logging_enabled",
    "put",
    "release",
    "say",
]

_held: list[str] | None = None
_interactive = True
_log = logging.getLogger("verax")


def enable_interactive_logging() -> None:
    """Print what training says: progress, messages, the verdict. It does so unless told otherwise."""
    global _interactive
    _interactive = True


def disable_interactive_logging() -> None:
    """Give what training says to the logger ``verax``, at the level INFO, instead of printing it."""
    global _interactive
    _interactive = False


def is_interactive_logging_enabled() -> bool:
    """Whether what training says is printed.

    >>> is_interactive_logging_enabled()
    True
    """
    return _interactive


def put(text: str) -> None:
    """Print a line now, or log it where nothing is to be printed."""
    if _interactive:
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

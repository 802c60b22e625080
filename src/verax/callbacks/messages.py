"""What callbacks say to a person, said between progress lines and never in the middle of one."""

from __future__ import annotations

__all__ = ["hold", "release", "say"]

_held: list[str] | None = None


def say(text: str) -> None:
    """Print a line; while a progress line is being redrawn, keep it until that line is finished."""
    if _held is None:
        print(text, flush=True)
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
        print(text, flush=True)

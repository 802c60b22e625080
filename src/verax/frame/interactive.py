"""Whether a person watches: the one switch between a progress line that is redrawn and lines in a log."""

from __future__ import annotations

__all__ = ["disable_interactive_logging", "enable_interactive_logging", "is_interactive_logging_enabled"]

_state = {"watched": True}


def enable_interactive_logging() -> None:
    """Somebody watches, as from the beginning: ``verbose="auto"`` shows a progress line, and messages are printed."""
    _state["watched"] = True


def disable_interactive_logging() -> None:
    """Nobody watches: ``verbose="auto"`` gives a line an epoch, and all that training says goes to logger ``verax``."""
    _state["watched"] = False


def is_interactive_logging_enabled() -> bool:
    """Whether ``verbose="auto"`` shows a progress line.

    >>> is_interactive_logging_enabled()
    True
    """
    return _state["watched"]

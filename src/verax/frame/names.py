"""Automatic layer names, as Keras gives them: the class in snake case, then ``_1``, ``_2``, ..."""

from __future__ import annotations

from collections import Counter

from verax.frame.registry import snake_case

__all__ = ["automatic_name", "clear_session"]

_given: Counter[str] = Counter()


def automatic_name(class_name: str) -> str:
    """The next name for a layer of this class.

    >>> clear_session(); automatic_name("Dense"), automatic_name("Dense")
    ('dense', 'dense_1')
    """
    base = snake_case(class_name)
    n = _given[base]
    _given[base] += 1
    return base if n == 0 else f"{base}_{n}"


def clear_session() -> None:
    """Start automatic names anew, as Keras' function of this name does."""
    _given.clear()

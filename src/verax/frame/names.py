"""Automatic layer names, as Keras gives them: the class in snake case, then ``_1``, ``_2``, ..."""

from __future__ import annotations

import gc
from collections import Counter

from verax.frame.registry import snake_case

__all__ = ["automatic_name", "clear_session", "get_uid"]

_given: Counter[str] = Counter()
_uids: Counter[str] = Counter()


def automatic_name(class_name: str) -> str:
    """The next name for a layer of this class.

    >>> clear_session(); automatic_name("Dense"), automatic_name("Dense")
    ('dense', 'dense_1')
    """
    base = snake_case(class_name)
    n = _given[base]
    _given[base] += 1
    return base if n == 0 else f"{base}_{n}"


def get_uid(prefix: str = "") -> int:
    """The next number for a prefix: 1, 2, ...

    >>> clear_session(); get_uid("dense"), get_uid("dense"), get_uid()
    (1, 2, 1)
    """
    _uids[prefix] += 1
    return _uids[prefix]


def clear_session(free_memory: bool = True) -> None:
    """Start automatic names anew, as Keras' function of this name does; collect garbage where ``free_memory``."""
    _given.clear()
    _uids.clear()
    if free_memory:
        gc.collect()

"""The one global source of randomness: a seed, and how many keys were taken from it."""

from __future__ import annotations

import random
import secrets
import zlib
from collections import Counter

import jax
import numpy as np

__all__ = ["next_key", "next_seed", "path_hash", "seeded", "set_random_seed"]

_state: dict[str, int] = {}
_taken: Counter[str] = Counter()


def set_random_seed(seed: int) -> None:
    """Make everything that follows repeatable: initial weights, draws, shuffles.

    Sets Verax's own source, and Python's and NumPy's global generators, as Keras' function of this name does.

    >>> set_random_seed(0); a = next_seed(); set_random_seed(0); a == next_seed()
    True
    """

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the global generator is what users of np.random.* mean)
    _state["seed"] = int(seed)
    _taken.clear()


def next_seed(stream: str = "") -> int:
    """The next 31-bit seed of a stream of the global source; what one stream takes changes nothing in another."""
    if "seed" not in _state:
        _state["seed"] = secrets.randbits(31)
    _taken[stream] += 1
    return zlib.crc32(f"{_state['seed']}/{stream}{_taken[stream]}".encode()) & 0x7FFFFFFF


def next_key(stream: str = "") -> jax.Array:
    """The next key of a stream of the global source."""
    return jax.random.key(next_seed(stream))


def seeded(key: jax.Array, seed: int | None) -> jax.Array:
    """``key``, and another key for another seed."""
    return key if seed is None else jax.random.fold_in(key, seed & 0x7FFFFFFF)


def path_hash(path: str) -> int:
    """A 31-bit number that is the same for ``path`` on every machine and in every process.

    >>> path_hash("block1/dropout")
    72301053
    """
    return zlib.crc32(path.encode()) & 0x7FFFFFFF

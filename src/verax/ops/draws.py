"""Masks of dropout: independent draws of keep or drop, several from each block of random bits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import threefry_2x32

__all__ = ["draw_mask", "kept_fraction"]

#: Rates this near to 0 or 1 are drawn with 32 bits, all others with 16.
RARE = 2.0**-8


def kept_fraction(rate: float) -> float:
    """The probability with which ``draw_mask`` keeps: ``1 - rate`` in steps of 2^-16 (of 2^-32 within 2^-8 of 0 or 1).

    What is kept is divided by this number, so that the expectation stays exactly.

    >>> kept_fraction(0.25), kept_fraction(0.1) * 2**16
    (0.75, 58982.0)
    """
    bits, threshold = _threshold(rate)
    return threshold / 2.0**bits


def draw_mask(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """Booleans of a shape, each True with probability ``kept_fraction(rate)``, independent of each other.

    ``jax.random.bernoulli`` spends a block of 64 random bits on each draw. Here each block gives four draws of 16 bits:

        (w0, w1)_i = Threefry-2x32-20(key, (0, i)),  i < n = ceil(size / 4)
        mask = [low 16 bits of w0; low of w1; high of w0; high of w1] < threshold,  each of n draws

    The mask follows from the key, the rate and the shape alone: on every backend, in every program.

    Args:
        key: A typed key of jax; one that is not a threefry key gives its own generator's words.
        rate: The probability of False, above 0 and below 1.
        shape: Of the mask.

    Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); jax's generator.

    >>> mask = draw_mask(jax.random.key(0), 0.25, (1000, 1000))
    >>> abs(float(mask.mean()) - 0.75) < 0.002
    True
    """
    size = math.prod(shape)
    bits, threshold = _threshold(rate)
    words = _words(key, -(-size * bits // 64))
    limit = np.uint32(threshold)
    if bits == 16:
        low, high = words & np.uint32(0xFFFF), lax.shift_right_logical(words, np.uint32(16))
        keep = jnp.concatenate([low < limit, high < limit])
    else:
        keep = words < limit
    return keep[:size].reshape(shape)


def _threshold(rate: float) -> tuple[int, int]:
    bits = 16 if RARE <= rate <= 1 - RARE else 32
    return bits, min(max(round((1.0 - rate) * 2**bits), 1), 2**bits - 1)


def _words(key: jax.Array, blocks: int) -> jax.Array:
    """(2 * blocks,) uint32: the first words of all blocks, then the second ones."""
    if jax.random.key_impl(key) != "threefry2x32":
        return jax.random.bits(key, (2 * blocks,), jnp.uint32)
    count = jnp.concatenate([jnp.zeros(blocks, jnp.uint32), lax.iota(jnp.uint32, blocks)])
    return threefry_2x32(jax.random.key_data(key), count)

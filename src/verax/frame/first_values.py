"""First values of weights without a compilation for every shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = ["drawn", "filled"]


def filled(make: Callable[..., np.ndarray[Any, Any]], shape: Sequence[int], dtype: Any) -> jax.Array:
    """``make(shape, dtype)`` of NumPy as an array of jax, which would compile a program for each shape."""
    return jnp.asarray(make(tuple(shape), jnp.dtype(dtype)))


def drawn(sample: Callable[[tuple[int, ...]], jax.Array], shape: tuple[int, ...]) -> jax.Array:
    """``sample(shape)``, drawn in a row of a length that many shapes share: a program is compiled for each length.

    An element's bits depend on the key and on its place in the row, so the numbers are the same.
    """
    size = math.prod(shape)
    row = sample((1 << max(0, (size - 1).bit_length()),))
    if isinstance(row, Tracer) or not jax.config.values.get("jax_threefry_partitionable", False):
        return sample(shape)
    return jnp.asarray(np.asarray(row)[:size].reshape(shape))

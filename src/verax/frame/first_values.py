"""First values of weights without a compilation for every shape."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import config as jax_settings
from jax.core import Tracer, eval_context

from verax.frame import cache

__all__ = ["drawn", "filled"]


def filled(make: Callable[..., np.ndarray[Any, Any]], shape: Sequence[int], dtype: Any) -> jax.Array:
    """``make(shape, dtype)`` of NumPy as an array of jax, which would compile a program for each shape."""
    return jax.device_put(make(tuple(shape), jnp.dtype(dtype)))  # jnp.asarray would compile, too


def drawn(sample: Callable[[tuple[int, ...]], jax.Array], shape: tuple[int, ...]) -> jax.Array:
    """``sample(shape)``, drawn in a row of a length that many shapes share: a program is compiled for each length.

    An element's bits depend on the key and on its place in the row, so the numbers are the same.
    """
    cache.begin()
    size = math.prod(shape)
    with _outside_of_a_trace():
        row = sample((1 << max(0, (size - 1).bit_length()),))
    if isinstance(row, Tracer) or not jax.config.values.get("jax_threefry_partitionable", False):
        return sample(shape)
    return jax.device_put(np.array(np.asarray(row)[:size].reshape(shape)))  # a copy, so that the longer row goes


@contextlib.contextmanager
def _outside_of_a_trace() -> Generator[None]:
    """While a layer is built as shapes are traced: compile as if nothing were traced.

    ``jax.ensure_compile_time_eval``, in which a layer is built, also computes what a program being compiled computes of
    constants alone: the counters of a draw, as many as the weight has numbers, would be written into the program.
    """
    folding = getattr(jax_settings, "eager_constant_folding", None)
    if folding is None or not folding.value:
        yield
    else:
        with eval_context(), folding(False):
            yield

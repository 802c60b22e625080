"""Pooling to a given number of windows, whatever the size of the input."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from verax.ops.pooling import average_pool, max_pool

__all__ = ["adaptive_average_pool", "adaptive_max_pool", "window_bounds"]


def window_bounds(size: int, count: int) -> list[tuple[int, int]]:
    """Where each of ``count`` windows over ``size`` places begins and ends: [floor(i n / m), ceil((i + 1) n / m)).

    They cover everything; neighbours share a place where the size is no multiple of the count.

    >>> window_bounds(5, 3)
    [(0, 2), (1, 4), (3, 5)]
    """
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def adaptive_max_pool(x: jax.Array, counts: Sequence[int], *, channels_last: bool = True) -> jax.Array:
    """The maximum of each of ``counts`` windows.

    Args:
        x: (rows, *sizes, channels), or (rows, channels, *sizes) with ``channels_last=False``.
        counts: How many windows there are, one number a size: see ``window_bounds``.

    >>> adaptive_max_pool(jnp.arange(5.0)[None, :, None], (3,)).ravel().tolist()
    [1.0, 3.0, 4.0]
    """
    window: list[int] = []
    for axis, count in enumerate(counts, 1 if channels_last else 2):
        x, width, _ = _side_by_side(x, axis, count)
        window.append(width)
    return max_pool(x, window, window, "VALID", channels_last=channels_last)


def adaptive_average_pool(x: jax.Array, counts: Sequence[int], *, channels_last: bool = True) -> jax.Array:
    """The average of each of ``counts`` windows. Sums under half precision are in float32.

    Args:
        x, counts: As in ``adaptive_max_pool``; float.

    >>> adaptive_average_pool(jnp.arange(5.0)[None, :, None], (3,)).ravel().tolist()
    [0.5, 2.0, 3.5]
    """
    wide = x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    window: list[int] = []
    for axis, count in enumerate(counts, 1 if channels_last else 2):
        wide, width, counted = _side_by_side(wide, axis, count)
        window.append(width)
        if counted is not None:
            # A place that fills a short window up counts nothing, the others as much as makes the mean of them.
            share = width / counted.sum(1, keepdims=True)
            weight = np.where(counted, share, 0.0).astype(wide.dtype).reshape(-1)
            weight = weight.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
            wide = jnp.where(weight > 0, wide * weight, jnp.zeros_like(wide))
    return average_pool(wide, window, window, "VALID", channels_last=channels_last).astype(x.dtype)


def _side_by_side(x: jax.Array, axis: int, count: int) -> tuple[jax.Array, int, np.ndarray | None]:
    """``x`` with windows of one width side by side along ``axis``, and which of their places count (None: all).

    A window that is one place shorter than the longest repeats its last place, which changes no maximum.
    """
    size = x.shape[axis]
    if size % count == 0:
        return x, size // count, None
    begin, end = np.array(window_bounds(size, count)).T[..., None]
    places = begin + np.arange(int((end - begin).max()))
    return jnp.take(x, np.minimum(places, end - 1).ravel(), axis=axis, mode="clip"), places.shape[1], places < end

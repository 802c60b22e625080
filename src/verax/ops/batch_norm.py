"""Moments of channels, and normalization by them, in few sweeps over the array."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from verax.frame.speed import fast_kernels

__all__ = ["moments", "moments_plain", "normalize", "normalize_plain"]


def moments_plain(x: jax.Array, axis: int = -1) -> tuple[jax.Array, jax.Array]:
    """Mean and (biased) variance of each channel: the reference that ``moments`` is tested against.

    Two passes, so a mean far from 0 does not cancel.

    Args:
        x: Any shape; its channels stand along ``axis``.
        axis: The axis that stays.

    Returns:
        (channels,) each.
    """
    axes = _others(x, axis)
    mean = jnp.mean(x, axes)
    return mean, jnp.mean(jnp.square(x - _along(mean, x, axis)), axes)


def moments(x: jax.Array, axis: int = -1) -> tuple[jax.Array, jax.Array]:
    """Mean and variance as ``moments_plain`` gives them; no sum is taken in the backward pass.

        ∂/∂x = dmean / n + (x - mean) 2 dvariance / n

    Autodiff would send the variance's gradient through the mean too, by a sum over x - mean, which is 0. A single pass
    of shifted sums is not faster here: XLA runs each sum in a sweep of its own. Reverse mode works to any order;
    forward mode (``jax.jvp``) needs ``moments_plain``.

    >>> [v.tolist() for v in moments(jnp.array([[1.0, 5.0], [3.0, 5.0]]))]
    [[2.0, 5.0], [1.0, 0.0]]
    """
    return _moments(x, axis % x.ndim) if fast_kernels() else moments_plain(x, axis)


def normalize_plain(
    x: jax.Array, mean: jax.Array, scale: jax.Array, offset: jax.Array | None = None, axis: int = -1
) -> jax.Array:
    """``(x - mean) * scale + offset``, channel by channel: the reference that ``normalize`` is tested against.

    Args:
        x: Any shape; its channels stand along ``axis``.
        mean, scale, offset: (channels,) each; no offset where it is None.
        axis: The axis of the channels.
    """
    y = (x - _along(mean, x, axis)) * _along(scale, x, axis)
    return y if offset is None else y + _along(offset, x, axis)


def normalize(
    x: jax.Array, mean: jax.Array, scale: jax.Array, offset: jax.Array | None = None, axis: int = -1
) -> jax.Array:
    """``normalize_plain``, with both sums its gradient needs taken once.

        doffset = Σ dy,   dscale = Σ dy (x - mean),   dmean = -scale Σ dy,   ∂/∂x = dy scale

    Autodiff sums ``dy scale`` for the mean beside ``dy``. With the gradient of ``moments`` the whole of batch
    normalization's backward pass is these two sums and one elementwise sweep, dx = A dy + B x + C. Reverse mode works
    to any order; forward mode (``jax.jvp``) needs ``normalize_plain``.

    >>> normalize(jnp.array([[1.0], [3.0]]), jnp.array([2.0]), jnp.array([10.0])).ravel().tolist()
    [-10.0, 10.0]
    """
    vectors = [mean, scale] if offset is None else [mean, scale, offset]
    if not fast_kernels() or any(v.dtype != x.dtype for v in vectors):
        return normalize_plain(x, mean, scale, offset, axis)
    return _normalize(x, mean, scale, jnp.zeros_like(mean) if offset is None else offset, axis % x.ndim)


def _others(x: jax.Array, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(x.ndim) if i != axis % x.ndim)


def _along(vector: jax.Array, x: jax.Array, axis: int) -> jax.Array:
    shape = [1] * x.ndim
    shape[axis] = -1
    return vector.reshape(shape)


def _apart(mean: jax.Array) -> jax.Array:
    """The mean for one sum of ``x - mean`` alone.

    XLA takes equal expressions for one, writes that map out for all who ask for it, and keeps it until the last of them
    in the backward pass. Asked for by one sum, it is computed within the sum.
    """
    return lax.optimization_barrier(mean)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _moments(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    axes = _others(x, axis)
    mean = jnp.mean(x, axes)
    return mean, jnp.mean(jnp.square(x - _along(_apart(mean), x, axis)), axes)


def _moments_forward(x: jax.Array, axis: int) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    found: Any = _moments(x, axis)
    return found, (x, found[0])


def _moments_backward(
    axis: int, kept: tuple[jax.Array, jax.Array], given: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array]:
    (x, mean), (dmean, dvariance) = kept, given
    n = max(1, math.prod(x.shape[i] for i in _others(x, axis)))
    return (normalize_plain(x, mean, dvariance * (2.0 / n), dmean / n, axis),)


_moments.defvjp(_moments_forward, _moments_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _normalize(x: jax.Array, mean: jax.Array, scale: jax.Array, offset: jax.Array, axis: int) -> jax.Array:
    return normalize_plain(x, mean, scale, offset, axis)


def _normalize_forward(
    x: jax.Array, mean: jax.Array, scale: jax.Array, offset: jax.Array, axis: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    return _normalize(x, mean, scale, offset, axis), (x, mean, scale)


def _normalize_backward(
    axis: int, kept: tuple[jax.Array, jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    x, mean, scale = kept
    axes = _others(x, axis)
    total = jnp.sum(dy, axes)
    product = jnp.sum(dy * (x - _along(lax.optimization_barrier((mean, scale))[0], x, axis)), axes)
    return dy * _along(scale, x, axis), -scale * total, product, total


_normalize.defvjp(_normalize_forward, _normalize_backward)

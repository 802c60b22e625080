"""Products of an array with a kernel over the array's last axes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from verax.frame.speed import fast_kernels
from verax.ops import onednn

__all__ = ["contract", "multiply", "product"]


def product(x: jax.Array, kernel: jax.Array, axes: int = 1) -> jax.Array:
    """The sum over the last ``axes`` of ``x`` and the first of ``kernel``; its plain form is ``jnp.tensordot``.

    Everything is flattened to one product of two matrices. In more axes, the kernel's gradient sums over several axes
    of both factors, which XLA on a CPU transposes first: Dense on (16, 128, 256) took half as long again.

    Args:
        x: (..., *summed).
        kernel: (*summed, ...).
        axes: How many are summed over.

    Returns:
        (..., ...): the other axes of ``x``, then those of ``kernel``.

    >>> product(jnp.ones((2, 3, 4)), jnp.ones((4, 5, 6))).shape
    (2, 3, 5, 6)
    """
    if not fast_kernels() or min(x.ndim - axes, kernel.ndim - axes) == 0:
        return jnp.tensordot(x, kernel, axes)
    kept, made = x.shape[: x.ndim - axes], kernel.shape[axes:]
    n = math.prod(kernel.shape[:axes])
    return multiply(x.reshape(math.prod(kept), n), kernel.reshape(n, math.prod(made))).reshape(*kept, *made)


def multiply(a: jax.Array, b: jax.Array, *, turn_a: bool = False, turn_b: bool = False) -> jax.Array:
    """The product of two matrices, either of them transposed first; its plain form is ``jnp.matmul``.

    >>> multiply(jnp.ones((3, 2)), jnp.ones((3, 4)), turn_a=True).shape
    (2, 4)
    """
    if onednn.suits_matmul(a, b, turn_a=turn_a, turn_b=turn_b):
        return onednn.matmul(a, b, turn_a=turn_a, turn_b=turn_b)
    return jnp.matmul(a.T if turn_a else a, b.T if turn_b else b)


def contract(equation: str, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``jnp.einsum``, by ``product`` where the equation says one: the last axes of ``x``, the first of ``kernel``.

    >>> contract("abc,cde->abde", jnp.ones((2, 3, 4)), jnp.ones((4, 5, 6))).shape
    (2, 3, 5, 6)
    """
    inputs, _, y = equation.replace(" ", "").partition("->")
    a, b = inputs.split(",")
    for n in range(1, min(len(a), len(b))):
        if a[-n:] == b[:n] and y == a[:-n] + b[n:] and len({*a, *b}) == len(a) + len(b) - n:
            return product(x, kernel, n)
    return jnp.einsum(equation, x, kernel)

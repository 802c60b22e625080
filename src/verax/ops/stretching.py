"""A few learned numbers over many places: a bias, a scale for each channel, a table's row, the kernel of a loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["stretch", "widened"]


def stretch(values: jax.Array, like: jax.Array) -> jax.Array:
    """``values`` as they are added to, or multiplied with, a larger array; their gradient is summed in float32.

    Autodiff sums the gradient of what was broadcast in the dtype it has. In bfloat16, which counts to 256 and stays
    there, a bias of 32,768 places would get 256 for its gradient of 32,768. Of float32 and wider there is nothing to
    do.

    Args:
        values: As many axes as ``like``, each of its size or of 1.
        like: The array they will meet.

    Returns:
        ``values``, or in half precision the same numbers in the shape of both.

    Differs from Keras: there such gradients are summed in the dtype of the layer.

    >>> x = jnp.ones((32768, 1), "bfloat16")
    >>> jax.grad(lambda bias: jnp.sum(x + stretch(bias, x)))(jnp.ones((1, 1), "bfloat16")).item()
    32768.0
    """
    if not jnp.issubdtype(values.dtype, jnp.floating) or values.dtype.itemsize >= 4:
        return values
    shape = jnp.broadcast_shapes(values.shape, like.shape)
    return jnp.broadcast_to(values.astype(jnp.float32), shape).astype(values.dtype)


def widened(values: jax.Array) -> jax.Array:
    """``values`` in float32 where they are in half precision, so that their gradient is summed there.

    For what is summed otherwise than by broadcasting: over the places that look up a row of a table, over the steps of
    a loop whose body turns them back.

    Differs from Keras: there the gradient of a kernel in a loop is summed in the dtype of the layer.

    >>> table = jnp.ones((2, 1), "bfloat16")
    >>> places = jnp.zeros(4096, int)
    >>> jax.grad(lambda t: jnp.sum(widened(t)[places]))(table)[0, 0].item()
    4096.0
    >>> jax.grad(lambda t: jnp.sum(t[places]))(table)[0, 0].item()
    256.0
    """
    half = jnp.issubdtype(values.dtype, jnp.floating) and values.dtype.itemsize < 4
    return values.astype(jnp.float32) if half else values

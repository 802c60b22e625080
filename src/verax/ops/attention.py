"""The core of attention: weights from queries and keys, and the values they mix."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
from jax.extend.backend import get_backend

from verax.frame.speed import fast_kernels

__all__ = [
    "AttendedAxes",
    "as_bool",
    "attend",
    "attend_plain",
    "attention_weights",
    "both",
    "distances",
    "flash_reason",
]


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    keep: jax.Array | None = None,
    *,
    scale: float,
    causal: bool = False,
    flash: bool = False,
) -> jax.Array:
    """Σₛ softmax(scale · q · kₛ) vₛ, for each query of each head.

    Args:
        query: (batch, T, heads, size).
        key: (batch, S, heads, size).
        value: (batch, S, heads, value size).
        keep: Which query may attend to which key, broadcastable to (batch, heads, T, S); all, when None. A query that
            may attend to none gets zeros.
        scale: What scores are multiplied with.
        causal: Whether query t may attend to keys up to t only, besides.
        flash: Whether the GPU's fused kernel runs it; only where ``flash_reason`` is None.

    Returns:
        (batch, T, heads, value size).

    >>> q = jnp.zeros((1, 2, 1, 3))
    >>> v = jnp.arange(2.0).reshape(1, 2, 1, 1)
    >>> attend(q, q, v, scale=1.0, causal=True).ravel().tolist()
    [0.0, 0.5]
    """
    if flash:
        return jax.nn.dot_product_attention(query, key, value, scale=scale, is_causal=causal, implementation="cudnn")
    if causal:
        keep = both(keep, distances(query.shape[1], key.shape[1]) >= 0)
    return (_attend if fast_kernels() else attend_plain)(query, key, value, keep, scale)


def attend_plain(query: jax.Array, key: jax.Array, value: jax.Array, keep: jax.Array | None, scale: float) -> jax.Array:
    """``attend`` as its formula says it."""
    return jnp.einsum("bnts,bsnh->btnh", attention_weights(query, key, keep, scale=scale), value)


# ---- the fast form ---------------------------------------------------------------------------------------------------
# XLA on a CPU has good kernels for products of (batch, heads, T, size) alone. Scores (batch, heads, T, S) are the
# largest array by far: the scale goes into the query and the division by the sum of the exponentials into the result,
# so that scores are passed over twice in the forward pass and once in the backward pass.


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(query: jax.Array, key: jax.Array, value: jax.Array, keep: jax.Array | None, scale: float) -> jax.Array:
    return _attend_forward(query, key, value, keep, scale)[0]


def _turned(x: jax.Array) -> jax.Array:
    """(batch, time, heads, size) as (batch, heads, time, size), and back."""
    return jnp.transpose(x, (0, 2, 1, 3))


def _attend_forward(
    query: jax.Array, key: jax.Array, value: jax.Array, keep: jax.Array | None, scale: float
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    q, k, v = _turned(query * jnp.asarray(scale, query.dtype)), _turned(key), _turned(value)
    scores = jnp.einsum("bnth,bnsh->bnts", q, k, preferred_element_type=jnp.float32)
    if keep is not None:
        scores = jnp.where(keep, scores, jnp.full_like(scores, -1e9))
    e = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    if keep is not None:
        e = jnp.where(keep, e, jnp.zeros_like(e))
    total = jnp.sum(e, axis=-1, keepdims=True)
    if keep is not None:  # where nothing may be attended to
        total = jnp.where(total == 0, jnp.ones_like(total), total)
    e = e.astype(v.dtype)
    out = jnp.einsum("bnts,bnsh->bnth", e, v, preferred_element_type=jnp.float32) / total
    return _turned(out).astype(query.dtype), (q, k, v, e, total, out)


def _attend_backward(scale: float, saved: tuple[jax.Array, ...], change: jax.Array):
    # With P = e / total and O = P v: dP = dO vᵀ, dS = P (dP - Σ dO O), and dO / total stands for the division of P.
    q, k, v, e, total, out = saved
    g = _turned(change).astype(total.dtype) / total
    own = jnp.sum(g * out, axis=-1, keepdims=True)
    g = g.astype(v.dtype)
    ds = e * (jnp.einsum("bnth,bnsh->bnts", g, v, preferred_element_type=total.dtype) - own).astype(e.dtype)
    dq = _turned(jnp.einsum("bnts,bnsh->bnth", ds, k)) * jnp.asarray(scale, k.dtype)
    # The narrow factor first: XLA turns the first one round.
    dk, dv = (jnp.einsum("bnth,bnts->bnhs", a, b).transpose(0, 3, 1, 2) for a, b in ((q, ds), (g, e)))
    return dq, dk, dv, None


_attend.defvjp(_attend_forward, _attend_backward)


def attention_weights(query: jax.Array, key: jax.Array, keep: jax.Array | None, *, scale: float) -> jax.Array:
    """The probabilities (batch, heads, T, S) with which a query takes each key's value: the arguments of ``attend``.

    In half precision the scores and their softmax are float32.
    """
    scores = scale * jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=jnp.float32)
    if keep is not None:
        scores = jnp.where(keep, scores, jnp.full_like(scores, -1e9))
    weights = jax.nn.softmax(scores, axis=-1)
    if keep is not None:  # where nothing may be attended to, all scores are equal
        weights = jnp.where(keep, weights, jnp.zeros_like(weights))
    return weights.astype(query.dtype)


def as_bool(mask: jax.Array) -> jax.Array:
    """A mask as booleans: True where it is not 0."""
    return mask if mask.dtype == bool else mask != jnp.zeros((), mask.dtype)


def both(one: jax.Array | None, other: jax.Array) -> jax.Array:
    """Two masks broadcastable to (batch, heads, T, S) acting together; None allows all."""
    other = other.reshape((1,) * (4 - other.ndim) + other.shape)
    return other if one is None else one & other


def distances(queries: int, keys: int) -> jax.Array:
    """How many steps a key stands before a query: (queries, keys)."""
    return jnp.arange(queries)[:, None] - jnp.arange(keys)[None, :]


def flash_reason(query: jax.Array, value: jax.Array, keep: jax.Array | None) -> str | None:
    """Why the GPU's fused kernel (cuDNN, through ``jax.nn.dot_product_attention``) cannot run this; None if it can."""
    size, value_size = query.shape[-1], value.shape[-1]
    if jax.default_backend() != "gpu" or "cuda" not in get_backend().platform_version.lower():
        return f"it runs on NVIDIA GPUs, and this is {jax.default_backend()}"
    if query.dtype not in (jnp.float16, jnp.bfloat16):
        return f"it computes in half precision, and this is {query.dtype}"
    if size != value_size or size % 8 or size > 128:
        return f"it takes heads of one size, a multiple of 8 up to 128, and these are {size} and {value_size}"
    if keep is not None:
        return "it takes no mask but the causal one"
    return None


@dataclass(frozen=True)
class AttendedAxes:
    """Which axes of (batch, ..., heads, size) are attended over, and which are not.

    The core knows four axes (rows, steps, heads, size): all attended axes are joined into the steps, in row-major
    order, and all others into the rows.
    """

    others: tuple[int, ...]
    attended: tuple[int, ...]

    @classmethod
    def of(cls, rank: int, axes: int | Sequence[int] | None) -> AttendedAxes:
        """The axes of an input of this rank; all between the batch and the features when None."""
        given = range(1, rank - 1) if axes is None else (axes,) if isinstance(axes, int) else axes
        attended = tuple(a % rank for a in given)
        return cls(tuple(a for a in range(rank - 1) if a not in attended), attended)

    def sizes(self, query: tuple[int | None, ...], key: tuple[int | None, ...]) -> tuple[tuple[int, ...], ...]:
        """The sizes of the other axes, of the query's steps and of the key's."""
        pairs = ((query, self.others), (query, self.attended), (key, self.attended))
        return tuple(tuple(cast("int", shape[a]) for a in axes) for shape, axes in pairs)

    def join(self, x: jax.Array) -> jax.Array:
        """(batch, ..., heads, size), or a mask (batch, ...), as (rows, steps, ...)."""
        order = (*self.others, *self.attended)
        n = len(order)
        rows, steps = (math.prod(x.shape[a] for a in axes) for axes in (self.others, self.attended))
        return jnp.transpose(x, (*order, *range(n, x.ndim))).reshape(rows, steps, *x.shape[n:])

    def part(self, x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """(rows, steps, heads, size) as (batch, ..., heads, size), the steps being those of ``shape``."""
        order = (*self.others, *self.attended)
        apart = x.reshape(*(shape[a] for a in order), *x.shape[2:])
        return jnp.transpose(apart, (*(order.index(a) for a in range(len(order))), len(order), len(order) + 1))

    def joint_mask(
        self,
        query: jax.Array | None,
        keys: tuple[jax.Array | None, jax.Array | None],
        attention: jax.Array | None,
        query_shape: tuple[int, ...],
        key_shape: tuple[int, ...],
    ) -> jax.Array | None:
        """Which query may attend to which key, as far as masks say: (rows, heads, queries, keys), or 1 for an axis.

        Args:
            query: The mask of the query's steps, (batch, ...).
            keys: Those of the key's.
            attention: (others, heads, queries, keys), or without the heads, or without the others too.
            query_shape, key_shape: Of the projected (batch, ..., heads, size).
        """
        joint = None if query is None else as_bool(self.join(query))[:, None, :, None]
        for mask in keys:
            if mask is not None:
                joint = both(joint, as_bool(self.join(mask))[:, None, None, :])
        if attention is None:
            return joint
        others, queries, steps = self.sizes(query_shape, key_shape)
        whole = (*others, query_shape[-2], *queries, *steps)
        place = max(attention.ndim - 2 * len(queries), 0)
        ones = (1,) * (len(whole) - attention.ndim)
        given = as_bool(attention).reshape(*attention.shape[:place], *ones, *attention.shape[place:])
        if len(whole) > 4:
            given = jnp.broadcast_to(given, whole)
            given = given.reshape(math.prod(others), whole[len(others)], math.prod(queries), math.prod(steps))
        return both(joint, given)

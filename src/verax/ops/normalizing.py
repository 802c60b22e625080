"""Normalizations, crossentropies, one-hot vectors and attention, with Keras' arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from verax.errors import InputError, ShapeError
from verax.frame.settings import epsilon as global_epsilon
from verax.frame.settings import floatx, is_flash_attention_enabled
from verax.ops.arrays import refuse_sparse
from verax.ops.attention import flash_reason

__all__ = [
    "batch_normalization",
    "binary_crossentropy",
    "categorical_crossentropy",
    "dot_product_attention",
    "layer_normalization",
    "moments",
    "multi_hot",
    "one_hot",
    "rms_normalization",
    "sparse_categorical_crossentropy",
]


def _float(x: Any) -> jax.Array:
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(floatx())


def _wide(x: jax.Array) -> jax.Array:
    """``x`` in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> tuple[jax.Array, jax.Array]:
    """Mean and (biased) variance over ``axes``; of half precision, taken in float32.

    ``synchronized`` must be False: a program of jax sees the whole batch on all its devices.
    """
    if synchronized:
        raise InputError(
            "ops.moments was called.",
            received="synchronized=True",
            because="jax sees the whole batch",
            do="Leave it out.",
        )
    x = _float(x)
    axes = tuple(axes) if isinstance(axes, (list, tuple)) else axes
    wide = _wide(x)
    both = jnp.mean(wide, axes, keepdims=keepdims), jnp.var(wide, axes, keepdims=keepdims)
    if x.dtype == wide.dtype:
        return both
    ends = jnp.finfo(x.dtype)
    mean, variance = (jnp.clip(v, float(ends.min), float(ends.max)).astype(x.dtype) for v in both)
    return mean, variance


def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> jax.Array:
    """scale · (x − mean) / √(variance + epsilon) + offset, with vectors along ``axis``."""
    x = _float(x)
    shape = [1] * x.ndim
    shape[axis] = -1
    mean, variance = (jnp.asarray(v).reshape(shape) for v in (mean, variance))
    factor = lax.rsqrt(_float(variance) + epsilon)
    if scale is not None:
        factor = factor * jnp.asarray(scale).reshape(shape)
    rest = -mean * factor
    if offset is not None:
        rest = rest + jnp.asarray(offset).reshape(shape)
    return x * factor + rest


def layer_normalization(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    axis: int | Sequence[int] = -1,
    epsilon: float | None = None,
    rms_scaling: bool = False,
) -> jax.Array:
    """gamma · (x − mean) / √(variance + epsilon) + beta, mean and variance being over ``axis``; at least in float32.

    Args:
        x: Any shape.
        gamma, beta: Of the shape of ``axis``, or broadcastable to ``x``; 1 and 0 when None.
        axis: One axis or several.
        epsilon: The global one when None.
        rms_scaling: Whether ``x`` is scaled only, without taking off its mean or adding ``beta``.
    """
    x = jnp.asarray(x)
    wide = _wide(x)
    axes = tuple(sorted(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis)))

    def laid(vector: Any) -> jax.Array:
        vector = jnp.asarray(vector).astype(wide.dtype)
        if vector.ndim == x.ndim or axes == (x.ndim - 1,):
            return vector
        return vector.reshape([n if i in axes else 1 for i, n in enumerate(x.shape)])

    mean, variance = moments(wide, axes, keepdims=True)
    factor = lax.rsqrt(variance + (global_epsilon() if epsilon is None else epsilon))
    if gamma is not None:
        factor = factor * laid(gamma)
    out = wide * factor
    if not rms_scaling:
        out = out - mean * factor
        out = out if beta is None else out + laid(beta)
    return out.astype(x.dtype)


def rms_normalization(
    x: Any, scale: Any = None, axis: int | Sequence[int] = -1, epsilon: float | None = None
) -> jax.Array:
    """scale · x / √(mean(x²) + epsilon), the mean being over ``axis``; at least in float32.

    Source: Zhang and Sennrich, 2019, https://arxiv.org/abs/1910.07467.
    """
    x = jnp.asarray(x)
    wide = jnp.atleast_1d(_wide(x))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    square = jnp.mean(jnp.square(wide), axes, keepdims=True)
    out = wide * lax.rsqrt(square + (global_epsilon() if epsilon is None else epsilon))
    if scale is not None:
        out = out * jnp.asarray(scale).astype(wide.dtype)
    return out.astype(x.dtype)


def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> jax.Array:
    """1 at each class of ``x``, 0 elsewhere, along a new axis; only 0 for a class that does not exist."""
    refuse_sparse("one_hot", sparse)
    return jax.nn.one_hot(jnp.asarray(x), num_classes, axis=axis, dtype=dtype or floatx())


def multi_hot(inputs: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> jax.Array:
    """1 for each class that occurs along the last axis of ``inputs`` (batch, n)."""
    refuse_sparse("multi_hot", sparse)
    inputs = jnp.asarray(inputs).astype("int32")
    hot = jax.nn.one_hot(inputs, num_classes, axis=axis, dtype=dtype or floatx())
    return jnp.max(hot, axis=1 if inputs.ndim > 1 else 0)


def _alike(target: Any, output: Any, name: str) -> tuple[jax.Array, jax.Array]:
    target, output = jnp.asarray(target), jnp.asarray(output)
    if target.shape != output.shape:
        raise ShapeError(
            f"ops.{name} was called.", received=f"shapes {target.shape} and {output.shape}", because="they are the same"
        )
    return target, output


def _log_probabilities(output: jax.Array, from_logits: bool, axis: int) -> jax.Array:
    if from_logits:
        return jax.nn.log_softmax(output, axis=axis)
    share = output / jnp.sum(output, axis, keepdims=True)
    return jnp.log(jnp.clip(share, global_epsilon(), 1.0 - global_epsilon()))


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> jax.Array:
    """−t ln p − (1 − t) ln(1 − p), element by element; p clipped by ``epsilon``, or σ(output) where from logits."""
    target, output = _alike(target, output, "binary_crossentropy")
    if from_logits:
        yes, no = jax.nn.log_sigmoid(output), jax.nn.log_sigmoid(-output)
    else:
        p = jnp.clip(output, global_epsilon(), 1.0 - global_epsilon())
        yes, no = jnp.log(p), jnp.log(1.0 - p)
    return -(target * yes) - (1.0 - target) * no


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> jax.Array:
    """−Σ t ln p along ``axis``; p scaled to sum to 1 and clipped by ``epsilon``, or the softmax where from logits."""
    target, output = _alike(target, output, "categorical_crossentropy")
    if output.ndim < 1:
        raise ShapeError("ops.categorical_crossentropy was called.", received="scalars", because="classes are an axis")
    return -jnp.sum(target * _log_probabilities(output, from_logits, axis), axis=axis)


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> jax.Array:
    """−ln p of each target's class; targets have the shape of ``output`` without ``axis``, or with a last axis of 1."""
    target, output = jnp.asarray(target).astype("int32"), jnp.asarray(output)
    if target.ndim == output.ndim and target.shape[-1] == 1:
        target = target[..., 0]
    if output.ndim < 1 or target.shape != output.shape[:-1]:
        raise ShapeError(
            "ops.sparse_categorical_crossentropy was called.",
            received=f"shapes {target.shape} and {output.shape}",
            because="a target has no class axis, and all others",
        )
    log_p = _log_probabilities(output, from_logits, axis)
    hot = jax.nn.one_hot(target, output.shape[axis], axis=axis, dtype=log_p.dtype)
    return -jnp.sum(hot * log_p, axis=axis)


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> jax.Array:
    """Σₛ softmax(scale · q · kₛ + bias) vₛ for each query of each head.

    Args:
        query: (batch, T, heads, size).
        key: (batch, S, heads or a divisor of them, size).
        value: (batch, S, as many heads as keys, value size).
        bias: Added to the scores; broadcastable to (batch, heads, T, S).
        mask: True where a query may attend to a key; broadcastable to the same.
        scale: 1 / √size when None.
        is_causal: Whether a query may attend to keys up to its own step only.
        flash_attention: True: the GPU's fused kernel, or an error where it cannot run; None: where it can run and
            ``config.disable_flash_attention`` was not called; False: never.
        attn_logits_soft_cap: A limit that scores s are bent towards: s / (1 + |s| / limit). On every backend.

    Returns:
        (batch, T, heads, value size).
    """
    query, key, value = (jnp.asarray(x) for x in (query, key, value))
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ShapeError(
            "ops.dot_product_attention was called.",
            received=f"shapes {query.shape}, {key.shape} and {value.shape}",
            because="they are (batch, steps, heads, size)",
        )
    dtype = jnp.result_type(query, key, value)
    query, key, value = (x.astype(dtype) for x in (query, key, value))
    bias = None if bias is None else jnp.asarray(bias).astype(dtype)
    mask = None if mask is None else jnp.asarray(mask).astype(bool)
    special = bias if mask is None else mask
    reason = flash_reason(query, value, special)
    if reason is None and attn_logits_soft_cap is not None:
        reason = "it bends no scores"
    if flash_attention and reason is not None:
        raise InputError("ops.dot_product_attention was called.", received="flash_attention=True", because=reason)
    wanted = flash_attention if flash_attention is not None else is_flash_attention_enabled() is not False
    if attn_logits_soft_cap is not None:
        return _soft_capped(query, key, value, bias, mask, scale, is_causal, attn_logits_soft_cap)
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        bias=bias,
        mask=mask,
        scale=scale,
        is_causal=is_causal,
        implementation="cudnn" if wanted and reason is None else "xla",
    )


def _soft_capped(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None,
    mask: jax.Array | None,
    scale: float | None,
    causal: bool,
    cap: float,
) -> jax.Array:
    groups = query.shape[2] // key.shape[2]
    key, value = (jnp.repeat(x, groups, axis=2) for x in (key, value))
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = factor * jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=jnp.float32)
    scores = scores / (1.0 + jnp.abs(scores) / cap)
    if bias is not None:
        scores = scores + bias
    keep = jnp.ones(scores.shape[-2:], bool) if mask is None else mask
    if causal:
        keep = keep & jnp.tril(jnp.ones(scores.shape[-2:], bool))
    scores = jnp.where(keep, scores, -0.7 * float(jnp.finfo(scores.dtype).max))
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bnts,bsnh->btnh", weights, value)

"""Losses of real-valued predictions.

Every function takes targets and predictions of shape (batch, *tokens, outputs) and returns (batch, *tokens) values of
float32 or more: the mean over the last axis, where not said otherwise. Written t for a target and p for a prediction.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from verax.frame.settings import epsilon
from verax.losses.base import PairedLoss, paired

__all__ = [
    "CosineSimilarity",
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "cosine_similarity",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
]


def mean_squared_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of (t − p)² over the last axis.

    >>> mean_squared_error([[0.0, 1.0]], [[1.0, 3.0]]).tolist()
    [2.5]
    """
    t, p = paired(y_true, y_pred)
    return jnp.mean(jnp.square(t - p), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of |t − p| over the last axis.

    >>> mean_absolute_error([[0.0, 1.0]], [[1.0, 3.0]]).tolist()
    [1.5]
    """
    t, p = paired(y_true, y_pred)
    return jnp.mean(jnp.abs(t - p), axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> jax.Array:
    """100 times the mean of |t − p| / max(|t|, 1e-7) over the last axis, in percent.

    >>> mean_absolute_percentage_error([[2.0, 4.0]], [[1.0, 3.0]]).tolist()
    [37.5]
    """
    t, p = paired(y_true, y_pred)
    return 100.0 * jnp.mean(jnp.abs(t - p) / jnp.maximum(jnp.abs(t), epsilon()), axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of (ln(1 + t) − ln(1 + p))² over the last axis, t and p being at least 1e-7.

    >>> round(mean_squared_logarithmic_error([[0.0]], [[1.0]]).item(), 4)
    0.4805
    """
    t, p = paired(y_true, y_pred)
    return jnp.mean(jnp.square(jnp.log1p(jnp.maximum(t, epsilon())) - jnp.log1p(jnp.maximum(p, epsilon()))), axis=-1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> jax.Array:
    """Mean over the last axis of ½e² where |e| ≤ δ, and δ|e| − ½δ² beyond, with e = p − t.

    Source: Huber (1964), *Robust estimation of a location parameter*.

    >>> huber([[0.0, 0.0]], [[1.0, 3.0]]).tolist()
    [1.5]
    """
    t, p = paired(y_true, y_pred)
    size = jnp.abs(p - t)
    return jnp.mean(jnp.where(size <= delta, 0.5 * jnp.square(size), delta * size - 0.5 * delta**2), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of ln cosh(p − t) over the last axis: e²/2 for a small error e, |e| − ln 2 for a large one.

    >>> round(log_cosh([[0.0]], [[1.0]]).item(), 4)
    0.4338
    """
    t, p = paired(y_true, y_pred)
    return jnp.mean(jnp.logaddexp(p - t, t - p) - jnp.log(2.0).astype(p.dtype), axis=-1)


def unit(x: jax.Array, axis: int) -> jax.Array:
    """``x`` at length 1 along ``axis``; the zero vector, and its gradient, stay finite."""
    square = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, epsilon() ** 2))


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    """Minus the cosine between t and p along ``axis``: −1 for one direction, 1 for opposite ones, 0 for a zero vector.

    >>> cosine_similarity([[0.0, 1.0]], [[0.0, 2.0]]).tolist()
    [-1.0]
    """
    t, p = paired(y_true, y_pred)
    return -jnp.sum(unit(t, axis) * unit(p, axis), axis=axis)


class MeanSquaredError(PairedLoss):
    """:func:`mean_squared_error` as a loss.

    >>> float(MeanSquaredError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]))
    0.5
    """

    function = mean_squared_error


class MeanAbsoluteError(PairedLoss):
    """:func:`mean_absolute_error` as a loss."""

    function = mean_absolute_error


class MeanAbsolutePercentageError(PairedLoss):
    """:func:`mean_absolute_percentage_error` as a loss."""

    function = mean_absolute_percentage_error


class MeanSquaredLogarithmicError(PairedLoss):
    """:func:`mean_squared_logarithmic_error` as a loss."""

    function = mean_squared_logarithmic_error


class LogCosh(PairedLoss):
    """:func:`log_cosh` as a loss."""

    function = log_cosh


class Huber(PairedLoss):
    """:func:`huber` as a loss; ``delta`` is where it turns from a parabola to a line."""

    function = huber

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, delta=delta)


class CosineSimilarity(PairedLoss):
    """:func:`cosine_similarity` as a loss."""

    function = cosine_similarity

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, axis=axis)

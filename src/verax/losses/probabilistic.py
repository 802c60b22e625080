"""Losses of predicted probabilities, and of the logits behind them, as functions; the classes are in crossentropy.py.

From probabilities, the logarithm is taken after clipping to [1e-7, 1 − 1e-7], as Keras does: no value exceeds
−ln 1e-7 = 16.118 then, and a clipped probability has no gradient. From logits nothing is clipped. t is a target, p a
predicted probability, z a logit; values are float32 or more.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import ShapeError
from verax.frame.settings import epsilon
from verax.losses.base import PairedLoss, at_least_float32, paired

__all__ = [
    "KLDivergence",
    "Poisson",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "kl_divergence",
    "poisson",
    "sparse_categorical_crossentropy",
]


def _clip(p: jax.Array) -> jax.Array:
    return jnp.clip(p, epsilon(), 1.0 - epsilon())


def normalized(p: jax.Array, axis: int) -> jax.Array:
    return p / jnp.sum(p, axis=axis, keepdims=True)


def _weigh(t: jax.Array, log_p: jax.Array) -> jax.Array:
    """t · log p, with 0 · −∞ = 0."""
    return jnp.where(t == 0, 0.0, t * log_p)


def smooth(t: jax.Array, amount: float, classes: int) -> jax.Array:
    return t * (1.0 - amount) + amount / classes if amount else t


def _binary_logs(p: jax.Array, from_logits: bool) -> tuple[jax.Array, jax.Array]:
    """ln P(1) and ln P(0)."""
    if from_logits:
        # One exponential for the two of them; |p| in a form whose derivative at 0 is 0.
        both = jnp.log1p(jnp.exp(-jnp.maximum(p, -p)))
        return jnp.minimum(p, 0.0) - both, -jnp.maximum(p, 0.0) - both
    p = _clip(p)
    return jnp.log(p), jnp.log1p(-p)


def _class_logs(p: jax.Array, from_logits: bool, axis: int) -> jax.Array:
    """ln P(class) along ``axis``."""
    return jax.nn.log_softmax(p, axis=axis) if from_logits else jnp.log(_clip(normalized(p, axis)))


def class_labels(y_true: Any, p: jax.Array, axis: int) -> jax.Array:
    """Class labels as int32 (batch, *tokens), for predictions with classes along ``axis``."""
    labels = jnp.asarray(y_true)
    if labels.ndim == p.ndim and labels.shape[axis] == 1:
        labels = jnp.squeeze(labels, axis)
    expected = p.shape[: axis % p.ndim] + p.shape[axis % p.ndim + 1 :]
    if labels.shape != expected:
        raise ShapeError(
            "A sparse crossentropy takes one class label for each prediction.",
            received=f"labels of shape {np.shape(y_true)}, predictions of shape {p.shape}",
            because=f"with the classes on axis {axis}, labels have shape {expected}",
            do="Give integer labels of that shape, or use the crossentropy without 'sparse' for one-hot targets.",
        )
    return labels.astype(jnp.int32)


def at_label(labels: jax.Array, values: jax.Array, axis: int) -> jax.Array:
    """``values`` at the labels; NaN for a label that is no class. A masked sum, which compiles without a scatter."""
    axis %= values.ndim
    here = jax.lax.broadcasted_iota(jnp.int32, values.shape, axis) == jnp.expand_dims(labels, axis)
    picked = jnp.sum(jnp.where(here, values, 0.0), axis=axis)
    return jnp.where((labels >= 0) & (labels < values.shape[axis]), picked, jnp.nan)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> jax.Array:
    """Mean of −t·ln p − (1 − t)·ln(1 − p) over ``axis``; p = sigmoid(z) from logits.

    Args:
        y_true: (batch, *tokens, outputs) targets in [0, 1].
        y_pred: (batch, *tokens, outputs) probabilities, or logits if ``from_logits``.
        label_smoothing: s moves targets to t·(1 − s) + s/2.
        axis: The axis the mean is taken over.

    >>> print(binary_crossentropy([[1.0], [1.0]], [[-100.0], [0.0]], from_logits=True).round(4))
    [100.       0.6931]
    """
    t, p = paired(y_true, y_pred)
    yes, no = _binary_logs(p, from_logits)
    t = smooth(t, label_smoothing, 2)
    return -jnp.mean(_weigh(t, yes) + _weigh(1.0 - t, no), axis=axis)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> jax.Array:
    """Mean over ``axis`` of (1 − p_t)^γ times the binary crossentropy, with p_t = t·p + (1 − t)·(1 − p).

    With ``apply_class_balancing`` each element is weighed t·α + (1 − t)·(1 − α) as well. Shapes as in
    :func:`binary_crossentropy`. Source: Lin et al. (2018), *Focal loss for dense object detection*.

    >>> print(binary_focal_crossentropy([[1.0]], [[0.5]]).round(4))
    [0.1733]
    """
    t, p = paired(y_true, y_pred)
    yes, no = _binary_logs(p, from_logits)
    t = smooth(t, label_smoothing, 2)
    miss = t * jax.nn.sigmoid(-p) + (1.0 - t) * jax.nn.sigmoid(p) if from_logits else t * (1.0 - p) + (1.0 - t) * p
    values = -jnp.power(miss, gamma) * (_weigh(t, yes) + _weigh(1.0 - t, no))
    if apply_class_balancing:
        values = values * (t * alpha + (1.0 - t) * (1.0 - alpha))
    return jnp.mean(values, axis=axis)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> jax.Array:
    """−Σ t·ln p over the classes; p = softmax(z) from logits, and p / Σ p otherwise.

    Args:
        y_true: (batch, *tokens, classes) one-hot or soft targets.
        y_pred: (batch, *tokens, classes) probabilities, or logits if ``from_logits``.
        label_smoothing: s moves targets to t·(1 − s) + s/classes.
        axis: The axis of the classes.

    Differs from Keras: ``label_smoothing`` counts the classes on ``axis``, Keras always on the last axis.

    >>> print(categorical_crossentropy([[0.0, 1.0]], [[0.25, 0.75]]).round(4))
    [0.2877]
    """
    t, p = paired(y_true, y_pred)
    return -jnp.sum(_weigh(smooth(t, label_smoothing, t.shape[axis]), _class_logs(p, from_logits, axis)), axis=axis)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> jax.Array:
    """−Σ α·(1 − p)^γ·t·ln p over the classes; α is one number, or one for each class.

    Shapes as in :func:`categorical_crossentropy`. Source: Lin et al. (2018), *Focal loss for dense object detection*.

    >>> print(categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4))
    [0.0433]
    """
    t, p = paired(y_true, y_pred)
    logs = _class_logs(p, from_logits, axis)
    t = smooth(t, label_smoothing, t.shape[axis])
    weights = jnp.asarray(alpha, dtype=p.dtype)
    if weights.ndim:
        weights = weights.reshape([-1 if i == axis % p.ndim else 1 for i in range(p.ndim)])
    miss = 1.0 - (jax.nn.softmax(p, axis=axis) if from_logits else _clip(normalized(p, axis)))
    return -jnp.sum(weights * jnp.power(miss, gamma) * _weigh(t, logs), axis=axis)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> jax.Array:
    """−ln p at the label; p = softmax(z) from logits, and p / Σ p otherwise.

    Args:
        y_true: (batch, *tokens) or (batch, *tokens, 1) class labels from 0 to classes − 1, of any dtype.
        y_pred: (batch, *tokens, classes) probabilities, or logits if ``from_logits``.
        ignore_class: Rows of this label have value 0, and do not count in the reduction of the loss class.
        axis: The axis of the classes in ``y_pred``.

    Differs from Keras: a label that is no class gives NaN, not 0; ``axis`` may be any.

    >>> print(sparse_categorical_crossentropy([1], [[0.25, 0.75]]).round(4))
    [0.2877]
    """
    p = at_least_float32(y_pred)
    labels = class_labels(y_true, p, axis)
    values = -at_label(labels, _class_logs(p, from_logits, axis), axis)
    return values if ignore_class is None else jnp.where(labels == ignore_class, 0.0, values)


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> jax.Array:
    """(1 − p^q) / q at the label: crossentropy as q goes to 0, and 1 − p, which bears wrong labels, at q = 1.

    Args:
        y_true: (batch, *tokens) or (batch, *tokens, 1) class labels from 0 to classes − 1.
        y_pred: (batch, *tokens, classes) probabilities, which are not normalized.
        q: Above 0 and below 1.

    Source: Zhang & Sabuncu (2018), https://arxiv.org/abs/1805.07836.

    Differs from Keras: a label that is no class gives NaN, not 1/q; (batch, 1) labels are those of their rows.

    >>> categorical_generalized_cross_entropy([1], [[0.75, 0.25]], q=0.5).tolist()
    [1.0]
    """
    p = at_least_float32(y_pred)
    return (1.0 - jnp.power(at_label(class_labels(y_true, p, -1), p, -1), q)) / q


def kl_divergence(y_true: Any, y_pred: Any) -> jax.Array:
    """Σ t·ln(t / p) over the last axis, t and p clipped to [1e-7, 1].

    >>> print(f"{kl_divergence([[0.5, 0.5]], [[0.25, 0.75]])[0]:.4f}")
    0.1438
    """
    t, p = (jnp.clip(x, epsilon(), 1.0) for x in paired(y_true, y_pred))
    return jnp.sum(t * jnp.log(t / p), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> jax.Array:
    """Mean of p − t·ln(p + 1e-7) over the last axis: minus the log-likelihood of counts t at rate p, up to ln t!.

    >>> print(poisson([[1.0]], [[1.0]]).round(4))
    [1.]
    """
    t, p = paired(y_true, y_pred)
    return jnp.mean(p - t * jnp.log(p + epsilon()), axis=-1)


class KLDivergence(PairedLoss):
    """:func:`kl_divergence` as a loss."""

    function = kl_divergence


class Poisson(PairedLoss):
    """:func:`poisson` as a loss."""

    function = poisson

"""Losses of overlap between a target region and a predicted one: Dice and Tversky, for segmentation.

Targets and predictions have one shape, (batch, *places, classes) or (batch, *places), with values in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from verax.frame.settings import epsilon
from verax.losses.base import PairedLoss, paired

__all__ = ["Dice", "Tversky", "dice", "tversky"]

Axes = int | Sequence[int] | None


def _summed(axis: Axes, ndim: int) -> tuple[int, ...]:
    """The axes that are summed over: those given, or every one but the batch."""
    if axis is None:
        return tuple(range(1, ndim))
    return tuple(a % ndim for a in ((axis,) if isinstance(axis, int) else axis))


def _each_row(values: jax.Array, axes: tuple[int, ...], rows: int) -> jax.Array:
    """``values`` of the whole batch given to every row, so that their mean is the same."""
    return jnp.broadcast_to(values, (rows, *values.shape)) if 0 in axes else values


def dice(y_true: Any, y_pred: Any, axis: Axes = None) -> jax.Array:
    """1 − 2 Σ t·p / (Σ t + Σ p + 1e-7): 0 for regions that cover each other, 1 for disjoint ones.

    Args:
        y_true: (batch, *places) targets, 1 in the region and 0 outside.
        y_pred: (batch, *places) probabilities.
        axis: The axes of Σ; None for all but the batch. Axes that are left keep their values: with ``axis=(1, 2)``
            of (batch, height, width, classes) each class is a region of its own. With axis 0 among them the regions
            span the batch, as Keras' do by default, and every row is given the batch's value.

    Where target and prediction are both empty the value is 1, without a gradient.

    Source: Milletari et al. (2016), *V-Net*, https://arxiv.org/abs/1606.04797.

    Differs from Keras: ``axis=None`` has a value for each row, where Keras' is one of the whole batch, which is another
    number for every way of cutting the rows into batches. ``axis=tuple(range(y_pred.ndim))`` is Keras'.

    >>> print(dice([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]).round(4))
    [0.     0.3333]
    """
    t, p = paired(y_true, y_pred)
    axes = _summed(axis, p.ndim)
    both = jnp.sum(t * p, axis=axes)
    return _each_row(1.0 - 2.0 * both / (jnp.sum(t, axis=axes) + jnp.sum(p, axis=axes) + epsilon()), axes, len(p))


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Axes = None) -> jax.Array:
    """1 − TP / (TP + α·FP + β·FN + 1e-7), with TP = Σ t·p, FP = Σ (1 − t)·p and FN = Σ t·(1 − p).

    Args:
        y_true, y_pred, axis: As in :func:`dice`, which this is with α = β = 0.5.
        alpha: What a false positive costs.
        beta: What a false negative costs; more than ``alpha`` raises recall.

    Source: Salehi et al. (2017), https://arxiv.org/abs/1706.05721.

    Differs from Keras: ``axis=None`` as in :func:`dice`; α weighs false positives and β false negatives, as in the
    paper and in Keras' documentation. Keras 3.15 weighs them the other way round (mended there since, in
    keras-team/keras#23333).

    >>> print(f"{tversky([[1.0, 0.0]], [[1.0, 1.0]], alpha=0.25, beta=0.75)[0]:.4f}")
    0.2000
    """
    t, p = paired(y_true, y_pred)
    axes = _summed(axis, p.ndim)
    hits = jnp.sum(t * p, axis=axes)
    false = alpha * jnp.sum((1.0 - t) * p, axis=axes) + beta * jnp.sum(t * (1.0 - p), axis=axes)
    return _each_row(1.0 - hits / (hits + false + epsilon()), axes, len(p))


class Dice(PairedLoss):
    """:func:`dice` as a loss: a value for each row, and for each index of the axes that are not summed.

    >>> float(Dice()([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]))
    0.5
    """

    function = dice
    by_row: ClassVar[bool] = False

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: Axes = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, axis=axis)


class Tversky(PairedLoss):
    """:func:`tversky` as a loss: a value for each row, and for each index of the axes that are not summed.

    >>> round(float(Tversky(alpha=0.25, beta=0.75)([[1.0, 0.0]], [[1.0, 1.0]])), 4)
    0.2
    """

    function = tversky
    by_row: ClassVar[bool] = False

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: Axes = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)

"""Losses of probabilities and margins, reported as metrics: weighted means Σ w·v / Σ w of the values of the loss.

The crossentropies have a link as their losses do: reported from the logits where a sigmoid or softmax is seen.
"""

from __future__ import annotations

from typing import Any, ClassVar

from verax import losses
from verax.metrics.base import LossMetric

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "Hinge",
    "KLDivergence",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
]


class KLDivergence(LossMetric):
    """The mean of :func:`verax.losses.kl_divergence`."""

    loss = losses.KLDivergence


class Poisson(LossMetric):
    """The mean of :func:`verax.losses.poisson`."""

    loss = losses.Poisson


class Hinge(LossMetric):
    """The mean of :func:`verax.losses.hinge`."""

    loss = losses.Hinge


class SquaredHinge(LossMetric):
    """The mean of :func:`verax.losses.squared_hinge`."""

    loss = losses.SquaredHinge


class CategoricalHinge(LossMetric):
    """The mean of :func:`verax.losses.categorical_hinge`."""

    loss = losses.CategoricalHinge


class BinaryCrossentropy(LossMetric):
    """The mean of :func:`verax.losses.binary_crossentropy`.

    >>> round(BinaryCrossentropy()([[1.0], [0.0]], [[0.5], [0.5]]), 4)
    0.6931
    """

    loss = losses.BinaryCrossentropy
    on_logits: ClassVar = {"from_logits": True}

    def __init__(
        self, name: str | None = None, dtype: Any = None, from_logits: bool = False, label_smoothing: float = 0.0
    ):
        super().__init__(name, dtype, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(LossMetric):
    """The mean of :func:`verax.losses.categorical_crossentropy`."""

    loss = losses.CategoricalCrossentropy
    on_logits: ClassVar = {"from_logits": True}

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ):
        super().__init__(name, dtype, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)


class SparseCategoricalCrossentropy(LossMetric):
    """The mean of :func:`verax.losses.sparse_categorical_crossentropy`; rows of ``ignore_class`` never count."""

    loss = losses.SparseCategoricalCrossentropy
    on_logits: ClassVar = {"from_logits": True}

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ):
        super().__init__(name, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis)

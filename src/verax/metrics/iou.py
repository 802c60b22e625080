"""Intersection over union, for segmentation: how much a predicted region and its target have in common.

For each class TP / (TP + FP + FN), from a matrix of counts (classes of targets, classes of predictions), which is exact
for any split of the rows. Every element of the targets is one decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, ShapeError
from verax.losses.base import paired, spread
from verax.metrics.base import Metric

__all__ = ["BinaryIoU", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"]


class IoU(Metric):
    """The mean of TP / (TP + FP + FN) over the classes asked for; a class that is nowhere seen does not count.

    Args:
        num_classes: The number of classes.
        target_class_ids: The classes to average.
        ignore_class: Elements of this target class do not count. Labels that are no class never do.
        sparse_y_true, sparse_y_pred: Whether they are class numbers; else the largest along ``axis`` is taken.
        axis: The axis of the classes where they are not sparse.

    Differs from Keras: sample weights count as they are, with any ``dtype`` but one of whole numbers; Keras' default
    is one, which cuts them off. They weigh rows, (batch,), or elements.

    >>> metric = IoU(num_classes=2, target_class_ids=[0])
    >>> round(metric([0, 0, 1, 1], [0, 1, 0, 1]), 4)  # 1 element in both, 3 in either
    0.3333
    """

    direction = "max"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        super().__init__(name, dtype)
        self.num_classes, self.target_class_ids = num_classes, [int(i) for i in target_class_ids]
        self.ignore_class, self.axis = ignore_class, axis
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        wrong = [i for i in self.target_class_ids if not 0 <= i < num_classes]
        if wrong or not self.target_class_ids:
            raise InputError(
                f"Metric '{self.name}' averages classes from 0 to {num_classes - 1} (num_classes={num_classes}).",
                received=f"target_class_ids={self.target_class_ids}",
                do="Name one or more of these classes.",
            )

    def labels_of(self, x: Any, sparse: bool) -> jax.Array:
        """Class numbers, int32, of numbers or of scores by class."""
        return (jnp.asarray(x) if sparse else jnp.argmax(jnp.asarray(x), axis=self.axis)).astype(jnp.int32)

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, jax.Array]:
        t, p = self.labels_of(y_true, self.sparse_y_true), self.labels_of(y_pred, self.sparse_y_pred)
        if t.shape != p.shape and t.size == p.size and abs(t.ndim - p.ndim) == 1:
            t, p = (t[..., 0], p) if t.ndim > p.ndim else (t, p[..., 0])
        if t.shape != p.shape:
            raise ShapeError(
                f"Metric '{self.name}' compares classes element by element.",
                received=f"targets of shape {np.shape(y_true)}, predictions of shape {np.shape(y_pred)}",
                because=f"these are classes of shapes {t.shape} and {p.shape}",
                do="Set sparse_y_true and sparse_y_pred to whether each has class numbers; OneHotIoU takes one-hot "
                "targets.",
            )
        n = self.num_classes
        w = self.cast(jnp.ones(t.shape) if sample_weight is None else _weights(sample_weight, t.shape))
        known = (t >= 0) & (t < n) & (p >= 0) & (p < n)
        if self.ignore_class is not None:
            known &= t != self.ignore_class
        place = jnp.where(known, t * n + p, 0).reshape(-1)
        counts = jnp.zeros(n * n, w.dtype).at[place].add(jnp.where(known, w, jnp.zeros_like(w)).reshape(-1))
        return {"counts": counts.reshape(n, n)}

    def finish(self, sums: dict[str, Any]) -> float:
        counts = np.asarray(sums["counts"], np.float64)
        both = np.diagonal(counts)
        either = counts.sum(axis=0) + counts.sum(axis=1) - both
        chosen = [both[i] / either[i] for i in self.target_class_ids if either[i] > 0]
        return float(np.mean(chosen)) if chosen else 0.0


def _weights(weight: Any, shape: tuple[int, ...]) -> jax.Array:
    """Weights of rows or of elements, for every element."""
    return spread(weight, jnp.zeros(shape))


class BinaryIoU(IoU):
    """:class:`IoU` of the classes 0 and 1, a prediction being 1 where it is at least ``threshold``.

    >>> round(BinaryIoU(target_class_ids=[0, 1], threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]), 4)
    0.3333
    """

    on_logits: ClassVar = {"threshold": 0.0}

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, jax.Array]:
        t, p = paired(y_true, y_pred)
        return super().tally(t, p >= self.threshold, sample_weight)


class MeanIoU(IoU):
    """:class:`IoU` averaged over every class that is seen.

    >>> round(MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        every = range(num_classes)
        super().__init__(num_classes, every, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


class OneHotIoU(IoU):
    """:class:`IoU` of one-hot targets, and of scores by class or (``sparse_y_pred``) class numbers.

    >>> one_hot = np.eye(3)[[2, 0, 1, 0]]
    >>> scores = [[0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.5, 0.3, 0.1], [0.1, 0.4, 0.5]]
    >>> round(OneHotIoU(num_classes=3, target_class_ids=[0, 2])(one_hot, scores), 4)
    0.1667
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(MeanIoU):
    """:class:`MeanIoU` of one-hot targets, and of scores by class or (``sparse_y_pred``) class numbers.

    >>> round(OneHotMeanIoU(num_classes=2)(np.eye(2)[[0, 0, 1, 1]], np.eye(2)[[0, 1, 0, 1]]), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)

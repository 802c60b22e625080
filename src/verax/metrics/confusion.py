"""Metrics of yes/no decisions: counts of true and false positives and negatives at thresholds, and what follows.

A prediction is positive at a threshold if it is greater. A target is positive if it is not 0. Every element of
(batch, *axes) targets is a decision, of the weight of its row. The sums are the four (weighted) counts
``{"tp", "fp", "tn", "fn"}``, each (thresholds,) or, by label, (thresholds, labels): exact for any split of the rows.
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

__all__ = [
    "FalseNegatives",
    "FalsePositives",
    "Precision",
    "PrecisionAtRecall",
    "Recall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
    "TrueNegatives",
    "TruePositives",
]

Counts = dict[str, Any]
NEVER = -1e10  # the prediction of a class that is not among the top k


def divide(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(np.asarray(a, dtype=np.float64)), where=np.asarray(b) != 0)


def _by_threshold(scores: jax.Array, weights: jax.Array, thresholds: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """The weight of the scores (n,) above each threshold (k,), and of those not above it: two (k,) arrays.

    One histogram and its running sums: n·log k steps instead of n·k.
    """
    order = np.argsort(thresholds, kind="stable")
    exceeded = jnp.searchsorted(jnp.asarray(thresholds[order], dtype=scores.dtype), scores, side="left")
    histogram = jnp.zeros(len(thresholds) + 1, weights.dtype).at[exceeded].add(weights)
    above = jnp.cumsum(histogram[::-1])[::-1][1:]
    below = jnp.cumsum(histogram)[:-1]
    back = np.argsort(order)
    return above[back], below[back]


def confusion(y_true: jax.Array, scores: jax.Array, weights: jax.Array, thresholds: np.ndarray) -> Counts:
    """The four counts of (n, labels) targets, scores and weights: each (thresholds, labels)."""
    positive = (y_true != 0).astype(weights.dtype)
    count = jax.vmap(lambda s, w: _by_threshold(s, w, thresholds), in_axes=1, out_axes=1)
    tp, fn = count(scores, weights * positive)
    fp, tn = count(scores, weights * (1.0 - positive))
    return {"tp": tp, "fp": fp, "tn": tn, "fn": fn}


class _Confusion(Metric):
    """Base: thresholds, which predictions to look at, and a ``value`` of the four counts."""

    def __init__(self, thresholds: Any, top_k: int | None, class_id: int | None, name: str | None, dtype: Any):
        super().__init__(name, dtype)
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        default = 0.5 if top_k is None else NEVER
        self._thresholds = np.atleast_1d(np.asarray(default if thresholds is None else thresholds, dtype=np.float64))
        if thresholds is not None and not ((self._thresholds >= 0) & (self._thresholds <= 1)).all():
            raise InputError(
                f"Metric '{self.name}' decides at thresholds between 0 and 1.", received=f"thresholds={thresholds}"
            )

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Counts:
        t, p = paired(y_true, y_pred)
        w = self.cast(jnp.ones_like(p) if sample_weight is None else spread(sample_weight, p))
        if self.top_k is not None:
            best = jax.lax.top_k(p, self.top_k)[1]
            p = jnp.where(jax.nn.one_hot(best, p.shape[-1], dtype=bool).any(axis=-2), p, NEVER)
        if self.class_id is not None:
            if p.ndim == 1:
                raise ShapeError(
                    f"Metric '{self.name}' looks at class {self.class_id}.",
                    received=f"predictions of shape {p.shape}",
                    do="Give predictions of shape (batch, classes), or no class_id.",
                )
            t, p, w = t[..., self.class_id], p[..., self.class_id], w[..., self.class_id]
        counts = confusion(t.reshape(-1, 1), p.reshape(-1, 1), w.reshape(-1, 1), self._thresholds)
        return {key: count[:, 0] for key, count in counts.items()}

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        """The values (thresholds,) of counts (thresholds,) in float64."""
        raise NotImplementedError

    def finish(self, sums: Counts) -> Any:
        values = self.value(**{key: np.asarray(count) for key, count in sums.items()})
        return values if np.size(values) > 1 else float(np.asarray(values).reshape(()))


class _Count(_Confusion):
    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None, dtype: Any = None):
        super().__init__(thresholds, None, None, name, dtype)

    on_logits: ClassVar = {"thresholds": 0.0}


class TruePositives(_Count):
    """The weight of positive targets predicted positive, at ``thresholds`` (None for 0.5; several give an array)."""

    direction = "max"

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return tp


class TrueNegatives(_Count):
    """The weight of negative targets predicted negative, at ``thresholds`` (None for 0.5; several give an array)."""

    direction = "max"

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return tn


class FalsePositives(_Count):
    """The weight of negative targets predicted positive, at ``thresholds`` (None for 0.5; several give an array)."""

    direction = "min"

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return fp


class FalseNegatives(_Count):
    """The weight of positive targets predicted negative, at ``thresholds`` (None for 0.5; several give an array)."""

    direction = "min"

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return fn


class _Rate(_Confusion):
    direction = "max"
    on_logits: ClassVar = {"thresholds": 0.0}

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(thresholds, top_k, class_id, name, dtype)


class Precision(_Rate):
    """TP / (TP + FP): how much of what is predicted positive is; 0 where nothing is.

    Args:
        thresholds: One, or several for an array; None for 0.5 (with ``top_k``, every one of the top k is positive).
        top_k: Look only at the k largest predictions of a row.
        class_id: Look only at this class of (batch, classes).

    >>> Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])
    0.6666666666666666
    """

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return divide(tp, tp + fp)


class Recall(_Rate):
    """TP / (TP + FN): how much of what is positive is predicted so; 0 where nothing is. Arguments as Precision's.

    >>> Recall()([0, 1, 1, 1, 1], [1.0, 0.0, 1.0, 1.0, 1.0])
    0.75
    """

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return divide(tp, tp + fn)


class _AtValue(_Confusion):
    """The best of one rate over evenly spaced thresholds at which another is at least a given value; 0 if none is."""

    direction = "max"

    def __init__(self, given: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any):
        if not 0 <= given <= 1 or num_thresholds < 1:
            raise InputError(
                f"{type(self).__name__} takes a rate in [0, 1] and at least one threshold.",
                received=f"{given} and num_thresholds={num_thresholds}",
            )
        thresholds = [0.5] if num_thresholds == 1 else np.linspace(0.0, 1.0, num_thresholds)
        super().__init__(thresholds, None, class_id, name, dtype)
        self.num_thresholds = num_thresholds
        self._given = given

    def finish(self, sums: Counts) -> float:
        held, sought = self.value(**{key: np.asarray(count) for key, count in sums.items()})
        return float(np.max(np.where(held >= self._given, sought, 0.0), initial=0.0))


class SensitivityAtSpecificity(_AtValue):
    """The best TP / (TP + FN) where TN / (TN + FP) is at least ``specificity``."""

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return divide(tn, tn + fp), divide(tp, tp + fn)


class SpecificityAtSensitivity(_AtValue):
    """The best TN / (TN + FP) where TP / (TP + FN) is at least ``sensitivity``."""

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return divide(tp, tp + fn), divide(tn, tn + fp)


class PrecisionAtRecall(_AtValue):
    """The best TP / (TP + FP) where TP / (TP + FN) is at least ``recall``."""

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = recall

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return divide(tp, tp + fn), divide(tp, tp + fp)


class RecallAtPrecision(_AtValue):
    """The best TP / (TP + FN) where TP / (TP + FP) is at least ``precision``."""

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = precision

    def value(self, tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
        return divide(tp, tp + fp), divide(tp, tp + fn)

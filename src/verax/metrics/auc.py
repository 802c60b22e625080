"""The area under a curve of decisions, by counts at many thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, ShapeError
from verax.losses.base import paired, spread
from verax.metrics.base import Metric
from verax.metrics.confusion import Counts, confusion, divide

__all__ = ["AUC"]

CURVES = ("ROC", "PR", "PRGAIN")
METHODS = ("interpolation", "minoring", "majoring")
MARGIN = 1e-7  # the outermost thresholds lie beyond 0 and 1, so that the curve reaches both of its ends


class AUC(Metric):
    """The area under the ROC or precision-recall curve, each drawn through its points at many thresholds.

    The sums are the four counts at each threshold, exact for any split of the rows. Between points:
    ``"interpolation"`` is the trapezoid rule (ROC) or the interpolation of true positives of Davis & Goadrich (2006),
    *The relationship between precision-recall and ROC curves* (PR); ``"minoring"`` and ``"majoring"`` are the lower and
    the upper Riemann sum.

    Args:
        num_thresholds: How many, evenly spaced from 0 to 1. Scores that no threshold separates count as tied.
        curve: ``"ROC"`` (TPR against FPR), ``"PR"`` (precision against recall) or ``"PRGAIN"``.
        summation_method: ``"interpolation"``, ``"minoring"`` or ``"majoring"``.
        thresholds: The inner thresholds, in [0, 1], in the place of ``num_thresholds``.
        multi_label: One area for each label of (batch, labels), averaged; else all elements are one set of decisions.
        num_labels: The number of labels, checked where given; only with ``multi_label``.
        label_weights: (labels,) weights of that average, or of the elements without ``multi_label``.
        from_logits: Predictions are logits: take their sigmoid first.

    Predictions are clipped to [0, 1].

    >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9])
    0.75
    """

    direction = "max"
    on_logits: ClassVar = {"from_logits": True}

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ):
        super().__init__(name, dtype)
        self.curve, self.summation_method = str(curve).upper(), str(summation_method).lower()
        self.thresholds = None if thresholds is None else sorted(float(t) for t in thresholds)
        self.num_thresholds = num_thresholds if self.thresholds is None else len(self.thresholds) + 2
        self.multi_label, self.num_labels, self.from_logits = multi_label, num_labels, from_logits
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]
        self._refuse(num_thresholds)
        inner = np.linspace(0.0, 1.0, num_thresholds)[1:-1] if thresholds is None else np.asarray(self.thresholds)
        self._thresholds = np.concatenate([[-MARGIN], inner, [1.0 + MARGIN]])

    def _refuse(self, num_thresholds: int) -> None:
        wrong = {
            f"curve={self.curve!r}": self.curve not in CURVES,
            f"summation_method={self.summation_method!r}": self.summation_method not in METHODS,
            f"num_thresholds={num_thresholds}": num_thresholds < 2,
            f"thresholds={self.thresholds}": any(not 0 <= t <= 1 for t in self.thresholds or ()),
            f"num_labels={self.num_labels} without multi_label": self.num_labels and not self.multi_label,
        }
        for received, is_wrong in wrong.items():
            if is_wrong:
                raise InputError(
                    f"AUC draws one of {CURVES} by one of {METHODS} through two thresholds in [0, 1] or more.",
                    received=received,
                )

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Counts:
        t, p = paired(y_true, y_pred)
        w = self.cast(jnp.ones_like(p) if sample_weight is None else spread(sample_weight, p))
        p = jnp.clip(jax.nn.sigmoid(p) if self.from_logits else p, 0.0, 1.0)
        if self.multi_label and (p.ndim != 2 or p.shape[1] != (self.num_labels or p.shape[1])):
            raise ShapeError(
                f"Metric '{self.name}' has one area for each label.",
                received=f"predictions of shape {p.shape}",
                do=f"Give predictions of shape (batch, {self.num_labels or 'labels'}).",
            )
        if self.multi_label:
            return confusion(t, p, w, self._thresholds)
        if self.label_weights is not None:
            w = w * jnp.broadcast_to(jnp.asarray(self.label_weights, w.dtype), p.shape)
        counts = confusion(t.reshape(-1, 1), p.reshape(-1, 1), w.reshape(-1, 1), self._thresholds)
        return {key: count[:, 0] for key, count in counts.items()}

    def finish(self, sums: Counts) -> float:
        counts = {key: np.asarray(count) for key, count in sums.items()}
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = _interpolated_precision(**counts)
        else:
            areas = _riemann(*_curve(self.curve, **counts), self.summation_method)
        if not self.multi_label:
            return float(areas)
        if self.label_weights is None:
            return float(areas.mean())
        return float(divide(np.sum(areas * self.label_weights), np.sum(self.label_weights)))


def _curve(kind: str, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
    """x and y of the curve at each threshold."""
    if kind == "ROC":
        return divide(fp, fp + tn), divide(tp, tp + fn)
    if kind == "PR":
        return divide(tp, tp + fn), divide(tp, tp + fp)
    # Gains, Flach & Kull (2015), Precision-recall-gain curves: 0 for always answering yes, 1 for perfect.
    odds = divide(tp + fn, tn + fp)
    recall = np.where(tp == 0, 0.0, 1.0 - odds * divide(fn, tp))
    precision = np.where(tp == 0, 1.0, 1.0 - odds * divide(fp, tp))
    return np.maximum(recall, 0.0), precision


def _riemann(x: Any, y: Any, method: str) -> Any:
    """The area under the points along axis 0, x falling."""
    left, right = y[:-1], y[1:]
    heights = {
        "interpolation": (left + right) / 2.0,
        "minoring": np.minimum(left, right),
        "majoring": np.maximum(left, right),
    }[method]
    return np.sum((x[:-1] - x[1:]) * heights, axis=0)


def _interpolated_precision(tp: Any, fp: Any, tn: Any, fn: Any) -> Any:
    """The area under precision against recall, true positives growing linearly with positives between two points.

    With P = TP + FP, the segment from (P₁, TP₁) to (P₀, TP₀) has TP = a·P + b, and adds to the area
    a·(TP₀ − TP₁ + b·ln(P₀ / P₁)) / (all positives).
    """
    del tn
    positives = tp + fp
    gained, slope = tp[:-1] - tp[1:], divide(tp[:-1] - tp[1:], np.maximum(positives[:-1] - positives[1:], 0.0))
    intercept = tp[1:] - slope * positives[1:]
    both = (positives[:-1] > 0) & (positives[1:] > 0)
    ratio = np.where(both, divide(positives[:-1], positives[1:]), 1.0)
    return np.sum(divide(slope * (gained + intercept * np.log(ratio)), tp[1:] + fn[1:]), axis=0)

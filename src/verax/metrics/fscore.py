"""F-scores: precision and recall in one number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, ShapeError
from verax.frame.settings import epsilon
from verax.losses.base import paired, spread
from verax.metrics.base import Metric

__all__ = ["F1Score", "FBetaScore"]

AVERAGES = (None, "micro", "macro", "weighted")


class FBetaScore(Metric):
    """(1 + β²)·P·R / (β²·P + R) with precision P and recall R, by class of (batch, classes).

    Args:
        average: None for an array (classes,); ``"macro"`` for their mean, ``"weighted"`` for their mean weighted by the
            number of targets of a class, ``"micro"`` for the score of all classes' decisions together.
        beta: How many times more recall counts than precision.
        threshold: A class is predicted where its score is greater; None for the class of the largest score only.

    Every denominator has 1e-7 added, as in Keras, so that an empty class scores 0.

    >>> F1Score(average="macro")([[1, 0], [0, 1], [1, 0]], [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]).__round__(4)
    0.4
    """

    direction = "max"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        if average not in AVERAGES or beta <= 0 or (threshold is not None and not 0 < threshold <= 1):
            raise InputError(
                f"{type(self).__name__} takes an average of {AVERAGES}, beta > 0 and a threshold in (0, 1].",
                received=f"average={average!r}, beta={beta}, threshold={threshold}",
            )
        self.average, self.beta, self.threshold = average, float(beta), threshold

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, jax.Array]:
        t, p = paired(y_true, y_pred)
        if p.ndim != 2:
            raise ShapeError(
                f"Metric '{self.name}' scores classes.",
                received=f"predictions of shape {p.shape}",
                do="Give targets and predictions of shape (batch, classes); encode labels one-hot.",
            )
        if self.threshold is None:
            chosen = (p >= jnp.max(p, axis=-1, keepdims=True)) & (jnp.abs(p) > 1e-9)
        else:
            chosen = p > self.threshold
        t, yes = self.cast(t), self.cast(chosen)
        w = jnp.ones_like(t) if sample_weight is None else spread(sample_weight, t)
        return {
            "tp": jnp.sum(w * yes * t, axis=0),
            "fp": jnp.sum(w * yes * (1.0 - t), axis=0),
            "fn": jnp.sum(w * (1.0 - yes) * t, axis=0),
        }

    def finish(self, sums: dict[str, Any]) -> Any:
        tp, fp, fn = (np.asarray(sums[key]) for key in ("tp", "fp", "fn"))
        if self.average == "micro":
            tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
        precision, recall = tp / (tp + fp + epsilon()), tp / (tp + fn + epsilon())
        scores = (1.0 + self.beta**2) * precision * recall / (self.beta**2 * precision + recall + epsilon())
        if self.average is None:
            return scores
        if self.average == "weighted":
            return float(np.sum(scores * (tp + fn)) / (np.sum(tp + fn) + epsilon()))
        return float(np.mean(scores))


class F1Score(FBetaScore):
    """:class:`FBetaScore` with β = 1: the harmonic mean of precision and recall."""

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ):
        super().__init__(average, 1.0, threshold, name, dtype)

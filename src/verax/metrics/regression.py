"""Metrics of real-valued predictions: (batch, *tokens, outputs) targets and predictions."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax import losses
from verax.errors import InputError, ShapeError, VeraxWarning
from verax.ledger.tally import Tally
from verax.losses.base import paired, spread
from verax.metrics.base import FunctionMetric, LossMetric, Metric

__all__ = [
    "CosineSimilarity",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "R2Score",
    "RootMeanSquaredError",
]


class MeanSquaredError(LossMetric):
    """The mean of (t − p)².

    >>> MeanSquaredError()([[0.0], [0.0]], [[1.0], [2.0]])
    2.5
    """

    loss = losses.MeanSquaredError


class MeanAbsoluteError(LossMetric):
    """The mean of |t − p|."""

    loss = losses.MeanAbsoluteError


class MeanAbsolutePercentageError(LossMetric):
    """The mean of 100·|t − p| / max(|t|, 1e-7), in percent."""

    loss = losses.MeanAbsolutePercentageError


class MeanSquaredLogarithmicError(LossMetric):
    """The mean of (ln(1 + t) − ln(1 + p))²."""

    loss = losses.MeanSquaredLogarithmicError


class LogCoshError(LossMetric):
    """The mean of ln cosh(p − t)."""

    loss = losses.LogCosh

    def __init__(self, name: str | None = "logcosh", dtype: Any = None):
        super().__init__(name, dtype)


def _squared(y_true: Any, y_pred: Any) -> jax.Array:
    t, p = paired(y_true, y_pred)
    return jnp.square(t - p)


class RootMeanSquaredError(FunctionMetric):
    """√(Σ w·(t − p)² / Σ w), over every row and output.

    >>> round(RootMeanSquaredError()([[0.0], [0.0]], [[3.0], [4.0]]), 4)
    3.5355
    """

    function, direction = _squared, "min"

    def finish(self, sums: Tally) -> float:
        return float(np.sqrt(super().finish(sums)))


def _cosine(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    return -losses.cosine_similarity(y_true, y_pred, axis)


class CosineSimilarity(FunctionMetric):
    """The mean cosine between t and p along ``axis``: 1 for one direction. (The loss of this name is its negative.)

    >>> CosineSimilarity()([[0.0, 1.0]], [[0.0, 2.0]])
    1.0
    """

    function, direction = _cosine, "max"

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1):
        super().__init__(name, dtype, axis=axis)


AGGREGATIONS = ("uniform_average", "variance_weighted_average", None)


class R2Score(Metric):
    """The coefficient of determination: 1 − Σ w·(t − p)² / Σ w·(t − t̄)², with t̄ = Σ w·t / Σ w, for each output.

    1 is perfect, 0 as good as predicting the mean. Where all targets are alike: 1 if predicted exactly, else 0.

    Args:
        class_aggregation: ``"uniform_average"`` of the outputs, ``"variance_weighted_average"``, or None for an array.
        num_regressors: q > 0 adjusts for q predictors: 1 − (1 − R²)·(n − 1) / (n − q − 1), n the number of rows.

    The sums of a batch are float32: targets whose mean is thousands of times their spread should be centred first.

    Differs from Keras: n counts rows of nonzero weight, Keras counts rows times outputs; exactly predicted constant
    targets give 1, not NaN.

    >>> round(R2Score()([[1.0], [2.0], [3.0]], [[1.0], [2.0], [4.0]]), 4)
    0.5
    """

    direction = "max"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name, dtype)
        if class_aggregation not in AGGREGATIONS or num_regressors < 0:
            raise InputError(
                "R2Score averages the outputs, and adjusts for a number of predictors.",
                received=f"class_aggregation={class_aggregation!r}, num_regressors={num_regressors}",
                do=f"Use one of {AGGREGATIONS}, and num_regressors of 0 or more.",
            )
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, jax.Array]:
        t, p = (self.cast(x) for x in paired(y_true, y_pred))
        if t.ndim == 1:
            t, p = t[:, None], p[:, None]
        if t.ndim != 2:
            raise ShapeError("R2Score takes targets of shape (batch, outputs).", received=f"targets of shape {t.shape}")
        w = jnp.ones_like(t) if sample_weight is None else spread(sample_weight, t)
        return {
            "weight": w.sum(axis=0),
            "sum": (w * t).sum(axis=0),
            "squares": (w * t * t).sum(axis=0),
            "residual": (w * jnp.square(t - p)).sum(axis=0),
            "rows": jnp.any(w != 0, axis=1).astype(t.dtype).sum(),
        }

    def finish(self, sums: dict[str, Any]) -> Any:
        weight, total, squares, residual = (np.asarray(sums[k]) for k in ("weight", "sum", "squares", "residual"))
        spread_ = squares - np.divide(total**2, weight, out=np.zeros_like(total), where=weight != 0)
        flat = spread_ <= 0
        scores = np.where(flat, np.where(residual == 0, 1.0, 0.0), 1.0 - residual / np.where(flat, 1.0, spread_))
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation == "variance_weighted_average":
            scores = np.sum(scores * spread_) / np.sum(spread_) if not flat.all() else scores.mean()
        scores = self._adjusted(scores, float(sums["rows"]))
        return scores if self.class_aggregation is None else float(scores)

    def _adjusted(self, scores: Any, rows: float) -> Any:
        if not self.num_regressors:
            return scores
        if rows <= self.num_regressors + 1:
            warnings.warn(
                f"R2Score is not adjusted: {rows:.0f} rows are too few for {self.num_regressors} predictors.",
                VeraxWarning,
                stacklevel=2,
            )
            return scores
        return 1.0 - (1.0 - scores) * (rows - 1.0) / (rows - self.num_regressors - 1.0)

"""Correlations of targets and predictions: Pearson's, and Lin's concordance, along any axis.

Along an axis of the rows there is one number a row, and the metric is their weighted mean. Along the batch the sums are
moments, from which the correlation of all rows together is made: exact for any split of the rows.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.frame.settings import epsilon
from verax.ledger.tally import Tally
from verax.losses.base import paired, spread
from verax.metrics.base import Metric

__all__ = ["ConcordanceCorrelation", "PearsonCorrelation", "concordance_correlation", "pearson_correlation"]

# A spread is none where rounding alone makes one: of float32 deviations from a mean, and of float32 sums of squares.
OF_DEVIATIONS, OF_SUMS = 16 * float(np.finfo(np.float32).eps) ** 2, 4 * float(np.finfo(np.float32).eps)

Moments = tuple[Any, Any, Any, Any, Any]


def _moments(t: jax.Array, p: jax.Array, axis: int) -> Moments:
    """The means of t and p along ``axis``, their variances and their covariance."""
    mean_t, mean_p = jnp.mean(t, axis=axis, keepdims=True), jnp.mean(p, axis=axis, keepdims=True)
    t, p = t - mean_t, p - mean_p
    squares = (jnp.mean(t * t, axis=axis), jnp.mean(p * p, axis=axis), jnp.mean(t * p, axis=axis))
    return jnp.squeeze(mean_t, axis), jnp.squeeze(mean_p, axis), *squares


def _pearson(numpy: Any, moments: Moments, rounding: float = OF_DEVIATIONS) -> Any:
    """Covariance / (standard deviations), with numpy or jax.numpy; 0 where either is constant."""
    mean_t, mean_p, var_t, var_p, both = moments
    varies = (var_t > rounding * numpy.square(mean_t)) & (var_p > rounding * numpy.square(mean_p))
    return numpy.where(varies, both / numpy.sqrt(numpy.where(varies, var_t * var_p, 1.0)), 0.0)


def _concordance(numpy: Any, moments: Moments, rounding: float = OF_DEVIATIONS) -> Any:
    del rounding  # no quotient of small numbers
    mean_t, mean_p, var_t, var_p, both = moments
    return 2.0 * both / (var_t + var_p + numpy.square(mean_t - mean_p) + epsilon())


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    """Pearson's correlation along ``axis``: covariance / (σ_t·σ_p), from −1 to 1; 0 where targets or predictions are
    constant.

    Differs from Keras: constant targets or predictions give 0, not NaN.

    >>> print(pearson_correlation([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]]).round(4))
    [1.]
    """
    return _pearson(jnp, _moments(*paired(y_true, y_pred), axis))


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> jax.Array:
    """Lin's concordance along ``axis``: 2·covariance / (σ_t² + σ_p² + (t̄ − p̄)² + 1e-7), 1 only where p equals t.

    Source: Lin (1989), *A concordance correlation coefficient to evaluate reproducibility*.

    >>> print(concordance_correlation([[0.0, 1.0, 2.0]], [[1.0, 2.0, 3.0]]).round(4))
    [0.5714]
    """
    return _concordance(jnp, _moments(*paired(y_true, y_pred), axis))


class _Correlation(Metric):
    direction = "max"

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1):
        super().__init__(name, dtype)
        self.axis = axis

    @staticmethod
    def of(numpy: Any, moments: Moments, rounding: float = OF_DEVIATIONS) -> Any:
        """The correlation of moments, with numpy or jax.numpy."""
        raise NotImplementedError

    def tally(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        t, p = (self.cast(x) for x in paired(y_true, y_pred))
        axis = self.axis % t.ndim
        if axis and t.shape[axis] > 1:
            values = self.of(jnp, _moments(t, p, axis))
            return Tally.of(values, None if sample_weight is None else spread(sample_weight, values))
        w = jnp.ones_like(t) if sample_weight is None else spread(sample_weight, t)
        sums = {"weight": w, "t": w * t, "p": w * p, "tt": w * t * t, "pp": w * p * p, "tp": w * t * p}
        return {key: x.sum(axis=0) for key, x in sums.items()}

    def finish(self, sums: Any) -> float:
        if isinstance(sums, Tally):
            return super().finish(sums)
        weight = np.asarray(sums["weight"], np.float64)
        share = np.where(weight > 0, 1.0 / np.where(weight > 0, weight, 1.0), 0.0)
        mean_t, mean_p, tt, pp, tp = (np.asarray(sums[key], np.float64) * share for key in ("t", "p", "tt", "pp", "tp"))
        squares = (np.maximum(tt - mean_t**2, 0.0), np.maximum(pp - mean_p**2, 0.0), tp - mean_t * mean_p)
        return float(np.mean(self.of(np, (mean_t, mean_p, *squares), OF_SUMS)))


class PearsonCorrelation(_Correlation):
    """:func:`pearson_correlation` along ``axis``: a mean over rows, or with ``axis=0`` the correlation of all rows.

    With one output, (batch,) or (batch, 1), rows are correlated whatever the ``axis``. With ``axis=0`` and several
    outputs each has a correlation of its own, of which the mean is given. The sums of a batch are float32: there
    targets whose mean is thousands of times their spread should be centred first.

    Differs from Keras: along the batch, the correlation of all rows, for every batch size, where Keras averages those
    of the batches (and sample weights count by row); one output beside ``axis=-1`` has it too, where Keras gives NaN.

    >>> metric = PearsonCorrelation(axis=0)
    >>> round(metric([[0.0], [1.0], [2.0], [3.0]], [[1.0], [3.0], [2.0], [5.0]]), 4)
    0.8315
    """

    of = staticmethod(_pearson)


class ConcordanceCorrelation(_Correlation):
    """:func:`concordance_correlation` along ``axis``: a mean over rows, or with ``axis=0`` the one of all rows.

    Axes, precision and what differs from Keras are as with :class:`PearsonCorrelation`.

    >>> metric = ConcordanceCorrelation(axis=0)
    >>> round(metric([[0.0], [1.0], [2.0], [3.0]], [[1.0], [3.0], [2.0], [5.0]]), 4)
    0.55
    """

    of = staticmethod(_concordance)

"""What is relied on in a metric."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.ledger.tally import fold
from verax.metrics.base import Metric
from verax.testing.faults import Faults, difference

__all__ = ["check_metric"]


def check_metric(metric: Metric, *data: Any, counts: bool = True, tolerance: float = 1e-5) -> None:
    """Check a metric on rows that differ, at least six.

    Tried are: the same value however the rows are cut into batches, and in whatever order they come; a row of weight 0
    as if it were not there, one of weight 2 as if it were there twice; the same under ``jax.jit``; ``reset_state``; a
    configuration that makes an equal metric.

    Args:
        metric: The metric; what it has seen is forgotten.
        data: What ``update_state`` takes: (rows, ...) targets and predictions, or values alone.
        counts: Whether a row of weight 2 is two rows. False for a metric that uses the number of rows besides.
        tolerance: Relative and absolute, for numbers that should be equal.

    Raises:
        CheckError: With every fault found.

    >>> rng = np.random.default_rng(0)
    >>> check_metric(verax.metrics.AUC(), rng.integers(0, 2, 20), rng.uniform(size=20))
    >>> class Batchwise(verax.metrics.Metric):
    ...     def tally(self, y_true, y_pred, sample_weight=None):
    ...         return verax.ledger.Tally.of(jnp.max(y_pred, keepdims=True))
    >>> check_metric(Batchwise(), np.zeros(6), np.arange(6.0))
    Traceback (most recent call last):
      ...
    verax.testing.faults.CheckError: Batchwise 'batchwise' has 2 faults.
      split: cut into other batches, the same rows give another value: 2 at most. Return sums over rows from tally, which add up; take what is not a sum in finish.
      weights: a row of weight 0 still counts: 1 at most. Multiply what each row adds by its weight.
    """  # noqa: E501, a message is one line
    rows = [np.asarray(d) for d in data]
    n = len(rows[0])
    faults = Faults(f"{type(metric).__name__} {metric.name!r}")
    whole: Any = None
    with faults.trying("tally", "it cannot be evaluated", "Mend tally and finish."):
        whole = _over(metric, [rows])
    if whole is not None:
        _check_splits(faults, metric, rows, whole, tolerance)
        _check_weights(faults, metric, rows, whole, counts, tolerance)
        with faults.trying("jit", "jax.jit cannot trace tally", "Use jax.numpy, and no Python condition on values."):
            sums = jax.jit(metric.tally)(*[jnp.asarray(r) for r in rows])
            found = difference(whole, metric.finish(fold([sums])), tolerance)
            if found:
                faults.add("jit", f"under jax.jit it differs: {found}", "Keep nothing of a call in attributes.")
        with faults.trying("reset", "it cannot be used by hand", "Do not override update_state and result."):
            metric.reset_state()
            for part in (slice(0, 1), slice(1, n)):
                metric.update_state(*[r[part] for r in rows])
            found = difference(whole, metric.result(), tolerance)
            metric.reset_state()
            metric.update_state(*rows)
            found = found or difference(whole, metric.result(), tolerance)
            metric.reset_state()
            if found and "split" not in faults.found:
                faults.add("reset", f"after reset_state it differs: {found}", "Keep nothing of a call in attributes.")
    faults.check_config(metric, lambda again: difference(whole, _over(again, [rows]), tolerance))
    faults.raise_if_any()


def _over(metric: Metric, batches: list[list[Any]], weights: list[Any] | None = None) -> Any:
    """The metric's value over batches, as ``evaluate`` finds it."""
    given = [None] * len(batches) if weights is None else weights
    sums = [
        metric.tally(*[jnp.asarray(b) for b in batch], **({} if w is None else {"sample_weight": jnp.asarray(w)}))
        for batch, w in zip(batches, given, strict=True)
    ]
    return metric.finish(fold(sums))


def _check_splits(faults: Faults, metric: Metric, rows: list[Any], whole: Any, tolerance: float) -> None:
    n = len(rows[0])
    do = "Return sums over rows from tally, which add up; take what is not a sum in finish."
    with faults.trying("split", "it fails on fewer rows", do):
        for cuts in ([n // 3, 2 * (n // 3)], [1]):
            batches = list(zip(*[np.split(r, cuts) for r in rows], strict=True))
            found = difference(whole, _over(metric, [list(b) for b in batches]), tolerance)
            if found:
                faults.add("split", f"cut into other batches, the same rows give another value: {found}", do)
        order = np.random.default_rng(0).permutation(n)
        found = difference(whole, _over(metric, [[r[order] for r in rows]]), tolerance)
        if found:
            faults.add("order", f"in another order, the same rows give another value: {found}", do)


def _check_weights(faults: Faults, metric: Metric, rows: list[Any], whole: Any, counts: bool, tolerance: float) -> None:
    n = len(rows[0])
    do = "Multiply what each row adds by its weight."
    ones = np.ones(n, "float32")
    with faults.trying("weights", "it cannot be weighted", "Take sample_weight=None in tally."):
        found = difference(whole, _over(metric, [rows], [ones]), tolerance)
        if found:
            faults.add("weights", f"with weight 1 for every row it differs: {found}", do)
        weights = ones.copy()
        weights[-1] = 0.0
        without = _over(metric, [[r[:-1] for r in rows]])
        found = difference(without, _over(metric, [rows], [weights]), tolerance)
        if found:
            faults.add("weights", f"a row of weight 0 still counts: {found}", do)
        if counts:
            weights = ones.copy()
            weights[0] = 2.0
            twice = _over(metric, [[np.concatenate([r[:1], r]) for r in rows]])
            found = difference(twice, _over(metric, [rows], [weights]), tolerance)
            if found:
                faults.add("weights", f"a row of weight 2 is not two rows: {found}", do)

"""What is relied on in a loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.losses.base import Loss
from verax.testing.faults import Faults, difference

__all__ = ["check_loss"]

_MEANS = ("sum", "sum_over_batch_size", "mean")


def check_loss(loss: Loss, y_true: Any, y_pred: Any, *, mixes_rows: bool = False, tolerance: float = 1e-5) -> None:
    """Check a loss on targets and predictions of at least four rows that differ.

    Tried are: one value (or more: tokens) for every row, which depends on no other row; finite values and gradients;
    the same under ``jax.jit``; no effect of rows of weight 0; float32 from half precision; a configuration that makes
    an equal loss.

    Args:
        loss: The loss.
        y_true, y_pred: (rows, ...) targets and predictions.
        mixes_rows: Whether a row's value may depend on the other rows of its batch, as in losses of pairs.
        tolerance: Relative and absolute, for numbers that should be equal.

    Raises:
        CheckError: With every fault found.

    >>> check_loss(verax.losses.Huber(), np.eye(4), np.full((4, 4), 0.25))
    >>> class Whole(verax.losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return jnp.mean((y_true - y_pred) ** 2)
    >>> check_loss(Whole(), np.eye(4), np.full((4, 4), 0.25))
    Traceback (most recent call last):
      ...
    verax.testing.faults.CheckError: Whole 'whole' has 1 fault.
      reduces: call returns a scalar for the whole batch. Return one value a row: leave the mean over rows to Verax.
    """
    y_true, y_pred = jnp.asarray(y_true), jnp.asarray(y_pred)
    faults = Faults(f"{type(loss).__name__} {loss.name!r}")
    values = None
    with faults.trying("call", "it cannot be called", "Mend call(y_true, y_pred)."):
        values = loss.per_example(y_true, y_pred)
    if values is not None:
        _check_rows(faults, loss, y_true, y_pred, values, mixes_rows, tolerance)
        _check_numbers(faults, loss, y_true, y_pred, values, tolerance)
        if loss.reduction in _MEANS and "reduces" not in faults.found and loss.counted(y_true) is None:
            with faults.trying("weights", "it cannot be weighted", "Do not override __call__."):
                last = np.arange(len(values)) < len(values) - 1
                expected = values[:-1].sum() / (1 if loss.reduction == "sum" else values.size)
                found = difference(expected, loss(y_true, y_pred, sample_weight=last.astype("float32")), 10 * tolerance)
                if found:
                    faults.add(
                        "weights", f"with weight 0 for its last row it differs: {found}", "Do not override __call__."
                    )
    faults.check_config(loss, lambda again: difference(values, again.per_example(y_true, y_pred), tolerance))
    faults.raise_if_any()


def _check_rows(
    faults: Faults, loss: Loss, y_true: Any, y_pred: Any, values: jax.Array, mixes_rows: bool, tolerance: float
) -> None:
    rows = y_pred.shape[0]
    own = jnp.ndim(loss.call(y_true.astype(y_pred.dtype) if y_pred.dtype != y_true.dtype else y_true, y_pred))
    if own == 0:
        faults.add(
            "reduces",
            "call returns a scalar for the whole batch",
            "Return one value a row: leave the mean over rows to Verax.",
        )
        return
    if mixes_rows:
        return
    for few in {1, max(1, rows // 2)}:
        with faults.trying("rows", f"it fails on {few} of the rows", "Compute each row by itself."):
            found = difference(values[:few], loss.per_example(y_true[:few], y_pred[:few]), tolerance)
            if found:
                faults.add(
                    "rows",
                    f"a row's value depends on the other rows of its batch: {found}",
                    "Compute each row by itself: reduce over every axis but the first.",
                )


def _check_numbers(faults: Faults, loss: Loss, y_true: Any, y_pred: Any, values: jax.Array, tolerance: float) -> None:
    if not bool(jnp.all(jnp.isfinite(values))):
        faults.add("finite", "a value is NaN or infinite", "Clip what a logarithm, root or quotient is taken of.")
    with faults.trying("jit", "jax.jit cannot trace it", "Use jax.numpy, and no Python condition on values."):
        found = difference(values, jax.jit(loss.per_example)(y_true, y_pred), tolerance)
        if found:
            faults.add("jit", f"under jax.jit it differs: {found}", "Keep nothing of a call in attributes.")
    if jnp.issubdtype(y_pred.dtype, jnp.floating):
        with faults.trying("gradient", "it has no gradient", "Use differentiable operations of jax.numpy."):
            gradient = jax.grad(lambda p: jnp.sum(loss.per_example(y_true, p)))(y_pred)
            if not bool(jnp.all(jnp.isfinite(gradient))):
                faults.add(
                    "gradient",
                    "its gradient is NaN or infinite",
                    "Where a branch is not taken its argument must be safe too: jnp.where twice.",
                )
        with faults.trying("half", "it fails on bfloat16 predictions", "Let the dtypes be: they come as float32."):
            half = loss.per_example(y_true, y_pred.astype(jnp.bfloat16))
            if loss.dtype is None and half.dtype not in (jnp.float32, jnp.float64):
                faults.add("half", f"on bfloat16 its values are {half.dtype}", "Compute in float32 at least.")

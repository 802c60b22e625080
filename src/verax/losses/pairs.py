"""The loss of pairs of rows, for embeddings in which rows of a class lie together: the circle loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import ShapeError
from verax.losses.base import PairedLoss, at_least_float32, check_finite, describe

__all__ = ["Circle", "circle"]

NEVER = -1e30  # the exponent of a pair that does not count


def _pairs(labels: jax.Array, others: jax.Array, remove_diagonal: bool) -> tuple[jax.Array, jax.Array]:
    """(rows, others) whether two are of one class, and whether they are of two."""
    same = labels.reshape(-1, 1) == others.reshape(1, -1)
    alike = same & ~jnp.eye(*same.shape, dtype=bool) if remove_diagonal else same
    return alike, ~same


def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80.0,
    margin: float = 0.4,
) -> jax.Array:
    """ln(1 + Σ exp γ·aⁿ·(dₙ' − dₙ) · Σ exp γ·aᵖ·(dₚ − m)) of each row's distances d to rows of its class and to others.

    d = max(1 − cosine, 0) is dₚ to a row of the same class and dₙ to one of another; the weights are aᵖ = max(m + d, 0)
    and aⁿ = max(1 + m − d, 0), the margin of others is dₙ' = 1 − m.

    Args:
        y_true: (batch,) or (batch, 1) class numbers.
        y_pred: (batch, features) embeddings of length 1.
        ref_labels, ref_embeddings: (others,) and (others, features) what to compare with; None for the batch itself.
        remove_diagonal: Leave out the pair of a row with the one at its own place.
        gamma: γ, the scale.
        margin: m.

    Returns:
        (batch,) values; 0 for a row without a partner of its class, or without one of another.

    The value of a row depends on the rows beside it, so the loss depends on how rows are cut into batches.

    Source: Sun et al. (2020), *Circle loss*, https://arxiv.org/abs/2002.10857.

    >>> print(circle([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], gamma=1.0).round(4))
    [0.5459 0.5459 0.    ]
    """
    p, labels = at_least_float32(y_pred), jnp.asarray(y_true).astype(jnp.int32)
    if p.ndim != 2 or labels.size != len(p):
        raise _misshapen(np.shape(y_true), np.shape(y_pred))
    others = p if ref_embeddings is None else jnp.asarray(ref_embeddings).astype(p.dtype)
    of_others = labels if ref_labels is None else jnp.asarray(ref_labels).astype(jnp.int32)
    alike, unlike = _pairs(labels, of_others, remove_diagonal)
    distance = jnp.maximum(1.0 - p @ others.T, 0.0)
    near = gamma * jnp.maximum(margin + distance, 0.0) * (distance - margin)
    far = gamma * jnp.maximum(1.0 + margin - distance, 0.0) * (1.0 - margin - distance)
    exponent = jax.nn.logsumexp(jnp.where(alike, near, NEVER), axis=1)
    exponent += jax.nn.logsumexp(jnp.where(unlike, far, NEVER), axis=1)
    return jnp.where(alike.any(axis=1) & unlike.any(axis=1), jax.nn.softplus(exponent), 0.0)


class Circle(PairedLoss):
    """:func:`circle` as a loss of the pairs in a batch; rows without both kinds of partner do not count.

    >>> round(float(Circle(gamma=1.0)([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), 4)
    0.5459
    """

    function = circle

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, gamma=gamma, margin=margin, remove_diagonal=remove_diagonal)

    def counted(self, y_true: Any) -> jax.Array:
        """(batch,) False for a row without a partner of its class, or without one of another."""
        labels = jnp.asarray(y_true).astype(jnp.int32)
        alike, unlike = _pairs(labels, labels, self.arguments["remove_diagonal"])
        return alike.any(axis=1) & unlike.any(axis=1)

    def check(self, y_true: np.ndarray, pred_shape: tuple[int | None, ...]) -> None:
        """Refuse targets that are not one label a row (ShapeError), and labels that are not finite (DataError)."""
        if len(pred_shape) != 2 or y_true.shape not in ((len(y_true),), (len(y_true), 1)):
            raise _misshapen(y_true.shape, pred_shape)
        check_finite(self.name, y_true)


def _misshapen(shape: tuple[int, ...], pred_shape: tuple[int | None, ...]) -> ShapeError:
    return ShapeError(
        "The circle loss compares rows by their class.",
        received=f"targets of shape {tuple(shape)}, predictions of shape {describe(pred_shape)}",
        do="Give one class label a row, (batch,), and embeddings of shape (batch, features).",
    )

"""The loss of sequences that are not aligned with their targets: connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from verax.errors import ShapeError
from verax.losses.base import PairedLoss, at_least_float32, describe
from verax.losses.labels import check_labels

__all__ = ["CTC", "ctc"]


def ctc(y_true: Any, y_pred: Any) -> jax.Array:
    """−ln of the probability of the labels, summed over every way of placing them, with blanks, on the frames.

    Args:
        y_true: (batch, labels) class numbers from 1; 0 is the blank, and fills up short rows at their end.
        y_pred: (batch, frames, classes) logits; class 0 is the blank.

    Returns:
        (batch,) values; about 1e5 and more where the frames are too few for the labels.

    Source: Graves et al. (2006), *Connectionist temporal classification*; computed by ``optax.ctc_loss``.

    >>> print(ctc([[1]], [[[0.0, 0.0]]]).round(4))  # one frame, one label, two classes alike
    [0.6931]
    """
    logits, labels = at_least_float32(y_pred), jnp.asarray(y_true).astype(jnp.int32)
    if labels.ndim != 2 or logits.ndim != 3:
        raise _misshapen(np.shape(y_true), np.shape(y_pred))
    length = jnp.sum(labels != 0, axis=1, keepdims=True)
    absent = (jnp.arange(labels.shape[1])[None, :] >= length).astype(logits.dtype)
    return optax.ctc_loss(logits, jnp.zeros(logits.shape[:2], logits.dtype), labels, absent)


class CTC(PairedLoss):
    """:func:`ctc` as a loss: one value for each sequence.

    >>> round(float(CTC()([[1, 0]], [[[0.0, 0.0], [0.0, 0.0]]])), 4)  # 3 of the 4 ways write the label
    0.2877
    """

    function = ctc

    def check(self, y_true: np.ndarray, pred_shape: tuple[int | None, ...]) -> None:
        """Refuse targets that are not (batch, labels) (ShapeError), and labels that are no class (DataError)."""
        if y_true.ndim != 2 or len(pred_shape) != 3:
            raise _misshapen(y_true.shape, pred_shape)
        check_labels(self.name, y_true, pred_shape, -1)


def _misshapen(shape: tuple[int, ...], pred_shape: tuple[int | None, ...]) -> ShapeError:
    return ShapeError(
        "CTC compares sequences of labels with longer sequences of logits.",
        received=f"targets of shape {tuple(shape)}, predictions of shape {describe(pred_shape)}",
        do="Give targets of shape (batch, labels) and predictions of shape (batch, frames, classes).",
    )

"""Accuracies: how often a prediction names the target.

The functions return 1.0 for a hit and 0.0 for a miss, unreduced; the metrics are their weighted means, in [0, 1].
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from verax.losses.base import at_least_float32, paired
from verax.losses.probabilistic import at_label, class_labels
from verax.metrics.base import FunctionMetric

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether prediction and target are equal, element by element.

    >>> accuracy([1, 2, 3], [1, 0, 3]).tolist()
    [1.0, 0.0, 1.0]
    """
    t, p = paired(y_true, y_pred)
    return (t == p).astype(p.dtype)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> jax.Array:
    """Whether (prediction > threshold) equals the target, 0 or 1, element by element.

    >>> binary_accuracy([[1], [0]], [[0.9], [0.6]]).tolist()
    [[1.0], [0.0]]
    """
    t, p = paired(y_true, y_pred)
    return (t == (p > threshold).astype(p.dtype)).astype(p.dtype)


def categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether the largest of (batch, *tokens, classes) predictions is at the largest target; (batch, *tokens).

    >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.3, 0.7]]).tolist()
    [1.0, 0.0]
    """
    t, p = paired(y_true, y_pred)
    return (jnp.argmax(t, axis=-1) == jnp.argmax(p, axis=-1)).astype(p.dtype)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> jax.Array:
    """Whether the largest of (batch, *tokens, classes) predictions is at the label; (batch, *tokens).

    Labels are (batch, *tokens) or (batch, *tokens, 1).

    >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.3, 0.7]]).tolist()
    [1.0, 0.0]
    """
    p = at_least_float32(y_pred)
    return (jnp.argmax(p, axis=-1) == class_labels(y_true, p, -1)).astype(p.dtype)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> jax.Array:
    """As :func:`sparse_top_k_categorical_accuracy`, the label being where the one-hot target is largest.

    >>> top_k_categorical_accuracy([[0, 0, 1]], [[0.5, 0.2, 0.3]], k=2).tolist()
    [1.0]
    """
    t, p = paired(y_true, y_pred)
    return sparse_top_k_categorical_accuracy(jnp.argmax(t, axis=-1), p, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> jax.Array:
    """Whether fewer than k of (batch, *tokens, classes) predictions are greater than that at the label.

    With ``from_sorted_ids`` predictions are class numbers, best first, and the label must be among the first k.

    >>> sparse_top_k_categorical_accuracy([2, 1], [[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]], k=2).tolist()
    [1.0, 0.0]
    """
    p = at_least_float32(y_pred)
    labels = class_labels(y_true, p, -1)
    if from_sorted_ids:
        return jnp.any(p[..., :k] == labels[..., None].astype(p.dtype), axis=-1).astype(p.dtype)
    chosen = at_label(labels, p, -1)  # NaN for no class, and a NaN prediction: never among the best
    greater = jnp.sum(p > jnp.where(jnp.isnan(chosen), -jnp.inf, chosen)[..., None], axis=-1)
    return ((greater < k) & ~jnp.isnan(chosen)).astype(p.dtype)


class _Accuracy(FunctionMetric):
    direction = "max"


class Accuracy(_Accuracy):
    """How often prediction and target are equal: the mean of :func:`accuracy`.

    >>> Accuracy()([1, 2, 3, 4], [0, 2, 3, 4])
    0.75
    """

    function = accuracy


class BinaryAccuracy(_Accuracy):
    """How often (prediction > ``threshold``) is the target: the mean of :func:`binary_accuracy`.

    Differs from Keras: chosen by name for a loss of logits, its threshold is logit 0, that is probability 0.5.

    >>> BinaryAccuracy()([[1], [1], [0], [0]], [[0.98], [1.0], [0.0], [0.6]])
    0.75
    """

    function = binary_accuracy
    on_logits: ClassVar = {"threshold": 0.0}

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5):
        super().__init__(name, dtype, threshold=threshold)


class CategoricalAccuracy(_Accuracy):
    """How often the largest prediction is at the one-hot target: the mean of :func:`categorical_accuracy`."""

    function = categorical_accuracy


class SparseCategoricalAccuracy(_Accuracy):
    """How often the largest prediction is at the label: the mean of :func:`sparse_categorical_accuracy`."""

    function = sparse_categorical_accuracy


class TopKCategoricalAccuracy(_Accuracy):
    """How often a one-hot target is among the k largest predictions: the mean of :func:`top_k_categorical_accuracy`."""

    function = top_k_categorical_accuracy

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None):
        super().__init__(name, dtype, k=k)


class SparseTopKCategoricalAccuracy(_Accuracy):
    """How often a label is among the k largest predictions: the mean of :func:`sparse_top_k_categorical_accuracy`."""

    function = sparse_top_k_categorical_accuracy

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None, from_sorted_ids: bool = False):
        super().__init__(name, dtype, k=k, from_sorted_ids=from_sorted_ids)

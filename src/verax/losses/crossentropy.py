"""The crossentropies as losses: from logits where the graph shows them, from clipped probabilities elsewhere.

The formulas are those of the functions in probabilistic.py.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, ShapeError
from verax.frame.settings import epsilon
from verax.losses.base import PairedLoss, at_least_float32, describe, paired
from verax.losses.labels import check_class_labels, without
from verax.losses.probabilistic import (
    at_label,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    class_labels,
    normalized,
    smooth,
    sparse_categorical_crossentropy,
)

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "SparseCategoricalCrossentropy",
]


class _Crossentropy(PairedLoss):
    """What the crossentropies share: they can be computed from logits, and say where they were clipped."""

    kind: str

    @property
    def link(self) -> str | None:
        """The activation whose logits ``from_link`` takes; None where predictions are logits already."""
        on_last_axis = self.kind == "sigmoid" or self.arguments["axis"] == -1
        return self.kind if on_last_axis and not self.arguments["from_logits"] else None

    def from_link(self, y_true: Any, logits: Any) -> jax.Array:
        """The true values, from logits (batch, *tokens, outputs): never clipped, with a true gradient."""
        from_logits = type(self)(**{**self.get_config(), "from_logits": True})
        return from_logits.per_example(y_true, logits)

    def clipped(self, y_true: Any, y_pred: Any) -> jax.Array | None:
        """(batch, *tokens) True where a target has weight on a probability below 1e-7; None from logits."""
        return None if self.arguments["from_logits"] else self._clipped(y_true, at_least_float32(y_pred))

    def _clipped(self, y_true: Any, p: jax.Array) -> jax.Array:
        raise NotImplementedError


class BinaryCrossentropy(_Crossentropy):
    """:func:`binary_crossentropy` as a loss; computed from the logits where a sigmoid made the predictions.

    >>> loss = BinaryCrossentropy()
    >>> round(float(loss([[1.0]], [[0.0]])), 4), float(loss.from_link([[1.0]], [[-100.0]])[0])
    (16.1181, 100.0)
    """

    function, kind = binary_crossentropy, "sigmoid"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)

    def _clipped(self, y_true: Any, p: jax.Array) -> jax.Array:
        if jnp.ndim(y_true) == p.ndim == 1:
            y_true, p = jnp.asarray(y_true)[:, None], p[:, None]
        t, p = paired(y_true, p)
        t = smooth(t, self.arguments["label_smoothing"], 2)
        return jnp.any(((t > 0) & (p < epsilon())) | ((t < 1) & (p > 1.0 - epsilon())), axis=self.arguments["axis"])


class BinaryFocalCrossentropy(BinaryCrossentropy):
    """:func:`binary_focal_crossentropy` as a loss; computed from the logits where a sigmoid made the predictions."""

    function = binary_focal_crossentropy

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.arguments.update(apply_class_balancing=apply_class_balancing, alpha=alpha, gamma=gamma)


class CategoricalCrossentropy(_Crossentropy):
    """:func:`categorical_crossentropy` as a loss; computed from the logits where a softmax made the predictions.

    >>> float(CategoricalCrossentropy(from_logits=True)([[0.0, 1.0]], [[100.0, 0.0]]))
    100.0
    """

    function, kind = categorical_crossentropy, "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)

    def _clipped(self, y_true: Any, p: jax.Array) -> jax.Array:
        axis = self.arguments["axis"]
        t, p = paired(y_true, normalized(p, axis))
        return jnp.any((smooth(t, self.arguments["label_smoothing"], t.shape[axis]) > 0) & (p < epsilon()), axis=axis)

    def check(self, y_true: np.ndarray, pred_shape: tuple[int | None, ...]) -> None:
        """Refuse a single class, class labels, and what every paired loss refuses."""
        axis = self.arguments["axis"] % len(pred_shape)
        tokens = without(pred_shape, axis)[1:]
        if pred_shape[axis] == 1:
            raise ShapeError(
                f"Loss '{self.name}' compares probabilities over two classes or more.",
                received=f"predictions of shape {describe(pred_shape)}",
                because="over a single class every probability is 1 and every loss 0",
                do="Use binary_crossentropy with one sigmoid unit, or give the last layer a unit for each class.",
            )
        if y_true.shape[1:] in (tokens, (*tokens, 1)):
            raise ShapeError(
                f"Loss '{self.name}' takes one-hot targets.",
                received=f"targets of shape {y_true.shape}, predictions of shape {describe(pred_shape)}",
                because="these targets have the shape of class labels",
                do="Use sparse_categorical_crossentropy for integer labels, or one-hot encode them.",
            )
        super().check(y_true, pred_shape)


class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """:func:`categorical_focal_crossentropy` as a loss; from the logits where a softmax made the predictions."""

    function = categorical_focal_crossentropy

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.arguments.update(alpha=alpha, gamma=gamma)


class SparseCategoricalCrossentropy(_Crossentropy):
    """:func:`sparse_categorical_crossentropy` as a loss; from the logits where a softmax made the predictions.

    >>> loss = SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    >>> float(loss([1, -1], [[100.0, 0.0], [0.0, 0.0]]))
    100.0
    """

    function, kind = sparse_categorical_crossentropy, "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis)

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        return sparse_categorical_crossentropy(y_true, y_pred, **self.arguments)

    def counted(self, y_true: Any) -> jax.Array | None:
        """False at ``ignore_class``, in the shape of the targets; None where no class is ignored."""
        ignored = self.arguments["ignore_class"]
        return None if ignored is None else jnp.asarray(y_true).astype(jnp.int32) != ignored

    def _clipped(self, y_true: Any, p: jax.Array) -> jax.Array:
        axis = self.arguments["axis"]
        return at_label(class_labels(y_true, p, axis), normalized(p, axis), axis) < epsilon()

    def check(self, y_true: np.ndarray, pred_shape: tuple[int | None, ...]) -> None:
        """Refuse labels of a wrong shape (ShapeError), and those that are no class, naming the worst (DataError)."""
        check_class_labels(self.name, y_true, pred_shape, self.arguments["axis"], self.arguments["ignore_class"])


class CategoricalGeneralizedCrossEntropy(PairedLoss):
    """:func:`categorical_generalized_cross_entropy` as a loss; from the logits where a softmax made the predictions.

    >>> loss = CategoricalGeneralizedCrossEntropy(q=0.5)
    >>> float(loss([1], [[0.75, 0.25]])), round(float(loss.from_link([1], [[0.0, 0.0]])[0]), 4)
    (1.0, 0.5858)
    """

    function = categorical_generalized_cross_entropy

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype, q=q)
        if not 0 < q < 1:
            raise InputError(
                f"Loss '{self.name}' lies between crossentropy (q near 0) and mean absolute error (q near 1).",
                received=f"q={q}",
                do="Give a q above 0 and below 1.",
            )

    @property
    def link(self) -> str:
        """``"softmax"``: the loss can be computed from the logits."""
        return "softmax"

    def from_link(self, y_true: Any, logits: Any) -> jax.Array:
        """The same values from logits (batch, *tokens, classes): a probability near 0 keeps its gradient."""
        z, q = at_least_float32(logits), self.arguments["q"]
        chosen = at_label(class_labels(y_true, z, -1), jax.nn.log_softmax(z, axis=-1), -1)
        return -jnp.expm1(q * chosen) / q

    def check(self, y_true: np.ndarray, pred_shape: tuple[int | None, ...]) -> None:
        """Refuse labels of a wrong shape (ShapeError), and those that are no class, naming the worst (DataError)."""
        check_class_labels(self.name, y_true, pred_shape, -1)

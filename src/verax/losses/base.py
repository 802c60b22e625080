"""What every loss is: per-example values, a check of the targets, and a reduction that only ``__call__`` applies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, InputError, ShapeError
from verax.frame.registry import snake_case

__all__ = [
    "Arguments",
    "Loss",
    "LossFunctionWrapper",
    "PairedLoss",
    "at_least_float32",
    "check_finite",
    "config_of",
    "describe",
    "paired",
    "reduce_values",
    "spread",
]

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)


# -- arrays --------------------------------------------------------------------------------------------------------


def at_least_float32(x: Any) -> jax.Array:
    """``x`` as an array of floats of 32 bits or more: half precision and integers become float32."""
    x = jnp.asarray(x)
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)


def paired(y_true: Any, y_pred: Any) -> tuple[jax.Array, jax.Array]:
    """Targets and predictions in one dtype (float32 or more) and one shape.

    A last axis of length 1 that only one of them has is added to the other where that is (batch,), and dropped
    otherwise: Keras' rule. Shapes that still differ raise :class:`ShapeError`.

    Differs from Keras: shapes are never broadcast against each other.
    """
    p = at_least_float32(y_pred)
    t = jnp.asarray(y_true).astype(p.dtype)
    if t.ndim == p.ndim + 1 and t.shape[-1] == 1:
        t, p = (t, p[:, None]) if p.ndim == 1 else (t[..., 0], p)
    elif p.ndim == t.ndim + 1 and p.shape[-1] == 1:
        t, p = (t[:, None], p) if t.ndim == 1 else (t, p[..., 0])
    if t.shape != p.shape:
        raise _unpaired("Targets and predictions are compared element by element.", np.shape(y_true), np.shape(y_pred))
    return t, p


def spread(weights: Any, values: jax.Array) -> jax.Array:
    """``weights`` in the shape and dtype of ``values``.

    Args:
        weights: (batch,) or (batch, 1) weigh whole rows, (batch, *tokens) single tokens; a last axis of length 1
            beyond those of ``values`` is dropped.
        values: (batch, *tokens).

    >>> spread(jnp.array([1, 2]), jnp.zeros((2, 3))).tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    w = jnp.asarray(weights).astype(values.dtype)
    if w.ndim == values.ndim + 1 and w.shape[-1] == 1:
        w = w[..., 0]
    w = w.reshape(w.shape + (1,) * (values.ndim - w.ndim))
    if w.ndim > values.ndim or any(a not in (1, b) for a, b in zip(w.shape, values.shape, strict=True)):
        raise ShapeError(
            "Weights (sample_weight, mask) are spread over the values of a loss or metric.",
            received=f"weights of shape {np.shape(weights)}, values of shape {values.shape}",
            because="they agree neither row by row nor token by token",
            do=f"Give weights of shape {values.shape[:1]} or {values.shape}.",
        )
    return jnp.broadcast_to(w, values.shape)


def reduce_values(values: jax.Array, sample_weight: Any = None, mask: Any = None, reduction: str | None = "mean"):
    """Reduce per-example values as Keras 3 does.

    With w the weights and m the mask (1 where not given), spread over the values:

    - ``"sum_over_batch_size"``, ``"mean"``: Σ m·w·v / Σ m (the weights are *not* in the denominator);
    - ``"mean_with_sample_weight"``: Σ m·w·v / Σ m·w;
    - ``"sum"``: Σ m·w·v;
    - ``"none"``, None: m·w·v, unreduced.

    An empty denominator gives 0. A masked value does not count even where it is NaN.

    Differs from Keras: with ``"mean_with_sample_weight"`` the weight of a row counts once for each of its tokens, so
    that the result is a mean.
    """
    count: Any = float(values.size)
    weights = None if sample_weight is None else spread(sample_weight, values)
    if mask is not None:
        kept = spread(mask, values)
        values, count = jnp.where(kept != 0, values, 0.0), kept.sum()
        weights = None if weights is None else weights * kept
    if weights is not None:
        values = values * weights
    if reduction in ("none", None):
        return values
    total = values.sum()
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weights is not None:
        count = weights.sum()
    return jnp.where(count == 0, 0.0, total / jnp.where(count == 0, 1.0, count))


# -- configuration -------------------------------------------------------------------------------------------------


def config_of(part: Any) -> dict[str, Any]:
    """The constructor arguments of a loss or metric, read back from its attributes of the same names."""
    return {name: getattr(part, name) for name in list(inspect.signature(type(part).__init__).parameters)[1:]}


class Arguments:
    """The keyword arguments of a part's function, kept in one dict and readable as attributes."""

    arguments: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        arguments = self.__dict__.get("arguments", {})
        if name not in arguments:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return arguments[name]


# -- losses --------------------------------------------------------------------------------------------------------


class Loss:
    """Base of all losses: subclass it and write ``call``.

    Args:
        name: Name in messages; None for the class name in snake case.
        reduction: How ``__call__`` reduces: ``"sum_over_batch_size"`` (or ``"mean"``), ``"sum"``,
            ``"mean_with_sample_weight"``, ``"none"`` (or None). Formulas: :func:`reduce_values`.
        dtype: dtype of the values; None for that of the predictions, and float32 at least.

    >>> class Linear(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return jnp.mean(y_pred - y_true, axis=-1)
    >>> float(Linear()([[0], [0]], [[1.0], [2.0]]))
    1.5

    Differs from Keras: a loss of the whole batch (a scalar from ``call``) is given to every row, so that its mean is
    that scalar; with (batch,) targets and (batch,) predictions every row has its own value.
    """

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None):
        if reduction not in REDUCTIONS:
            raise InputError(
                "A loss is reduced in one of a few ways.",
                received=f"reduction={reduction!r}",
                do="Use one of " + ", ".join(repr(r) for r in REDUCTIONS) + ".",
            )
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction
        self.dtype = None if dtype is None else jnp.dtype(dtype).name

    @property
    def link(self) -> str | None:
        """``"sigmoid"`` or ``"softmax"`` where ``from_link`` can compute the loss from logits; else None."""
        return None

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Values of shape (batch, *tokens), never reduced over the batch."""
        raise NotImplementedError(f"{type(self).__name__} needs a method call(y_true, y_pred).")

    def from_link(self, y_true: Any, logits: Any) -> jax.Array:
        """The values of ``call``, computed without loss from the logits behind the prediction; see ``link``."""
        raise NotImplementedError(f"{type(self).__name__} has no link.")

    def clipped(self, y_true: Any, y_pred: Any) -> jax.Array | None:
        """(batch, *tokens) True where ``call`` limits the value by clipping a probability; None where it never does."""
        del y_true, y_pred
        return None

    def counted(self, y_true: Any) -> jax.Array | None:
        """False where a value must not count (``ignore_class``), in the shape of the targets; None where all count."""
        del y_true
        return None

    def check(self, y_true: np.ndarray, pred_shape: tuple[int | None, ...]) -> None:
        """Refuse targets this loss cannot use, on the host, before anything is computed.

        Args:
            y_true: (rows, ...) targets.
            pred_shape: (batch or None, ...) shape of the predictions; the first axis and None fit anything.
        """
        del y_true, pred_shape

    def per_example(self, y_true: Any, y_pred: Any) -> jax.Array:
        """What ``call`` returns, for arrays of any dtype and loss functions of any habit.

        Targets and predictions are cast to float32 or more, as Keras does; a scalar is given to every row.

        Returns:
            (batch, *tokens) values in ``dtype``.
        """
        y_pred = at_least_float32(y_pred)
        values = jnp.asarray(self.call(jnp.asarray(y_true).astype(y_pred.dtype), y_pred))
        rows = y_pred.shape[:1]
        if values.ndim == 0:
            values = jnp.broadcast_to(values, rows)
        if values.shape[:1] != rows:
            raise ShapeError(
                f"Loss '{self.name}' returns one value a row.",
                received=f"values of shape {values.shape} for predictions of shape {y_pred.shape}",
                do="Reduce over every axis but the first, or return a scalar for the whole batch.",
            )
        return values.astype(self.dtype or jnp.promote_types(values.dtype, jnp.float32))

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> jax.Array:
        """The reduced loss.

        Args:
            y_true, y_pred: (batch, ...) targets and predictions.
            sample_weight: (batch,), (batch, 1) or (batch, *tokens); None for 1.
            mask: (batch,) or (batch, *tokens), False where a value must not count; None for all.
        """
        values = self.per_example(y_true, y_pred)
        counted = self.counted(y_true)
        if counted is not None:
            mask = counted if mask is None else spread(counted, values) * spread(mask, values)
        return reduce_values(values, sample_weight, mask, self.reduction)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        return config_of(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Loss:
        """The loss of a configuration made by ``get_config``."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"


class LossFunctionWrapper(Loss):
    """A loss made of a function ``fn(y_true, y_pred, **arguments)``.

    Args:
        fn: Returns (batch, ...) values, or a scalar for the whole batch.
        reduction, name, dtype: As in :class:`Loss`; the name defaults to the function's.
        **arguments: Passed to ``fn`` at every call.

    >>> def cubic(y_true, y_pred, scale):
    ...     return jnp.mean(scale * jnp.abs(y_pred - y_true) ** 3, axis=-1)
    >>> float(LossFunctionWrapper(cubic, scale=0.5)([[0.0]], [[2.0]]))
    4.0
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **arguments: Any,
    ):
        super().__init__(name or getattr(fn, "__name__", type(fn).__name__), reduction, dtype)
        self.fn = fn
        self.arguments = arguments

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.fn(y_true, y_pred, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        return {"fn": self.fn, "reduction": self.reduction, "name": self.name, "dtype": self.dtype, **self.arguments}


class PairedLoss(Arguments, Loss):
    """A loss of Verax's own: ``function(y_true, y_pred, **arguments)`` of two arrays paired element by element.

    A subclass names its function and, where that takes arguments, repeats them in its constructor. ``by_row`` says that
    a row's value never depends on another row, so that the function's ``axis`` cannot be that of the batch.
    """

    function: Callable[..., jax.Array]
    by_row: ClassVar[bool] = True

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **arguments: Any,
    ):
        super().__init__(name, reduction, dtype)
        self.arguments = arguments
        if self.by_row and arguments.get("axis") == 0:
            raise InputError(
                f"Loss '{self.name}' has one value a row.",
                received="axis=0",
                because="axis 0 is the batch",
                do="Use an axis of the rows: 1, 2, ... or -1.",
            )

    def call(self, y_true: Any, y_pred: Any) -> jax.Array:
        if jnp.ndim(y_pred) == jnp.ndim(y_true) == 1:  # a row is one value
            y_true, y_pred = jnp.asarray(y_true)[:, None], jnp.asarray(y_pred)[:, None]
        return type(self).function(y_true, y_pred, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        return {**self.arguments, "reduction": self.reduction, "name": self.name, "dtype": self.dtype}

    def check(self, y_true: np.ndarray, pred_shape: tuple[int | None, ...]) -> None:
        """Refuse targets of another shape than the predictions (ShapeError) and targets not finite (DataError)."""
        if not _fits(y_true.shape, pred_shape):
            raise _unpaired(f"Loss '{self.name}' compares each target with one prediction.", y_true.shape, pred_shape)
        check_finite(self.name, y_true)


# -- checks --------------------------------------------------------------------------------------------------------


def check_finite(name: str, y_true: np.ndarray) -> None:
    """Refuse targets that are NaN or infinite, naming the first such row."""
    if not np.issubdtype(y_true.dtype, np.inexact):
        return
    bad = ~np.isfinite(y_true)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        rows = int(bad.reshape(len(bad), -1).any(axis=1).sum())
        raise DataError(
            f"Loss '{name}' takes targets that are numbers.",
            received=f"{y_true[where]} in row {where[0]}; {rows} of {len(y_true)} rows are not finite",
            because="one such target makes the loss and every weight NaN or infinite",
            do="Remove or fill these rows; to leave single targets out, set them to 0 and give them sample_weight 0.",
        )


def describe(shape: tuple[int | None, ...]) -> str:
    """A shape whose first axis is the batch, in words: ``(batch, 3)``."""
    return "(" + ", ".join(["batch", *("any" if n is None else str(n) for n in shape[1:])]) + ")"


def _fits(shape: tuple[int, ...], pred_shape: tuple[int | None, ...]) -> bool:
    """Whether the shapes agree beyond the first axis, up to one last axis of length 1."""
    a, b = tuple(shape[1:]), tuple(pred_shape[1:])
    if len(a) == len(b) + 1 and a[-1] == 1:
        a = a[:-1]
    elif len(b) == len(a) + 1 and b[-1] == 1:
        b = b[:-1]
    return len(a) == len(b) and all(m is None or n == m for n, m in zip(a, b, strict=True))


def _unpaired(asked: str, shape: tuple[int, ...], pred_shape: tuple[int | None, ...]) -> ShapeError:
    """The error for targets and predictions that cannot be paired."""
    if len(shape) == len(pred_shape) and shape[-1:] != pred_shape[-1:] and len(shape) > 1:
        do = f"Give the last layer {shape[-1]} units, or the targets {pred_shape[-1]} columns."
    else:
        do = "Give targets the shape of the predictions."
    return ShapeError(
        asked,
        received=f"targets of shape {tuple(shape)}, predictions of shape {describe(tuple(pred_shape))}",
        because="broadcasting one against the other would compare values that do not belong together",
        do=do,
    )


def form_of(y_shape: tuple[int | None, ...], pred_shape: tuple[int | None, ...]) -> str:
    """What targets and predictions of these shapes are, by Keras' rule.

    ``"binary"`` with one output unit, ``"sparse_categorical"`` where targets have an axis less or a last axis of
    length 1, else ``"categorical"``.
    """
    if len(pred_shape) == 1 or pred_shape[-1] == 1:
        return "binary"
    return "sparse_categorical" if len(y_shape) < len(pred_shape) or y_shape[-1] == 1 else "categorical"

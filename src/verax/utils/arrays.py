"""Targets and inputs brought into shape on the host, under Keras' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, InputError, ShapeError

__all__ = ["normalize", "pad_sequences", "to_categorical"]


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers as one-hot rows, for ``categorical_crossentropy``.

    ``out[..., c] = 1`` where ``x[...] == c``, else 0.

    Args:
        x: Whole numbers from 0, ``(...)``; a last axis of length 1 is dropped.
        num_classes: Number of classes; ``max(x) + 1`` if ``None``.

    Returns:
        float32 ``(..., num_classes)``.

    Raises:
        DataError: a number that is negative, not whole, or not below ``num_classes``.

    Differs from Keras: the result is float32, which is what a model takes, and NumPy also for JAX arrays; negative
    numbers and fractions are refused, where Keras counts from the end and cuts off.

    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    given = np.asarray(x)
    if given.ndim > 1 and given.shape[-1] == 1:
        given = given[..., 0]
    asked = "to_categorical turns class numbers into one-hot rows."
    if given.dtype.kind not in "iufb":
        raise DataError(asked, received=f"dtype {given.dtype}", because="classes are numbers", do="Number them from 0.")
    if num_classes is None and given.size == 0:
        raise DataError(asked, received="no rows", because="their classes cannot be counted", do="Pass num_classes.")
    if num_classes is not None and num_classes < 1:
        because = "there is at least one class"
        raise InputError(
            asked, received=f"num_classes={num_classes}", because=because, do="Leave it out to count them."
        )
    with np.errstate(invalid="ignore"):
        labels = given.astype(np.int64)
    classes = int(labels.max()) + 1 if num_classes is None else int(num_classes)
    bad = (labels != given) | (labels < 0) | (labels >= classes)
    if bad.any():
        row = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1))) if bad.ndim else 0
        raise DataError(
            asked,
            received=f"{given[bad].reshape(-1)[0]} in row {row}",
            because=f"classes are whole numbers from 0 to {classes - 1}",
            do="Number the classes from 0 (np.unique with return_inverse=True), or raise num_classes.",
        )
    out = np.zeros((*labels.shape, classes), np.float32)
    np.put_along_axis(out, labels[..., None], 1.0, axis=-1)
    return out


def normalize(x: Any, axis: int = -1, order: int | float = 2) -> Any:
    """``x`` divided by its norm along an axis: ``x / ||x||_order``; where the norm is 0, ``x`` stays.

    Args:
        x: Numbers, any shape.
        axis: The axis whose entries form one vector.
        order: Which norm: 1, 2, ``np.inf``.

    Returns:
        An array of the shape of ``x``: JAX for a JAX array, otherwise NumPy.

    Differs from Keras: ``axis=0`` normalizes the columns of a NumPy array; Keras divides by the norms along the wrong
    axis.

    >>> normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    xp: Any = jnp if isinstance(x, jax.Array) else np
    array = xp.asarray(x)
    if array.dtype.kind in "iub":
        array = array.astype(np.float32 if xp is jnp else np.float64)
    norm = xp.linalg.norm(array, order, axis, keepdims=True)
    return array / xp.where(norm == 0, xp.ones_like(norm), norm)


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: str = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> np.ndarray:
    """Sequences of unequal length as one array, padded and cut to one length.

    Args:
        sequences: Sequences, each ``(its length, *features)``.
        maxlen: The common length; the longest if ``None``.
        dtype: Of the result.
        padding: ``"pre"`` puts ``value`` before a short sequence, ``"post"`` after it.
        truncating: ``"pre"`` cuts off the beginning of a long sequence, ``"post"`` the end.
        value: What fills.

    Returns:
        ``(len(sequences), maxlen, *features)``.

    Raises:
        InputError: ``padding`` or ``truncating`` is neither ``"pre"`` nor ``"post"``.
        ShapeError: an item is no sequence, or the features differ.

    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2)
    array([[0, 1],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    asked = "pad_sequences makes sequences equally long."
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in ("pre", "post"):
            because = "a sequence has two ends"
            raise InputError(asked, received=f"{name}={side!r}", because=because, do=f"Pass {name}='pre' or 'post'.")
    items = [np.asarray(sequence) for sequence in sequences]
    for i, item in enumerate(items):
        if item.ndim == 0:
            because = "it is a single value, not a sequence"
            raise ShapeError(asked, received=f"item {i}: {item!r}", because=because, do="Pass a list of lists.")
    features = next((item.shape[1:] for item in items if len(item)), ())
    length = max(map(len, items), default=0) if maxlen is None else maxlen
    out = np.full((len(items), length, *features), value, dtype=dtype)
    for i, item in enumerate(items):
        kept = item[max(0, len(item) - length) :] if truncating == "pre" else item[:length]
        if not len(kept):
            continue
        if kept.shape[1:] != features:
            raise ShapeError(
                asked,
                received=f"item {i} of shape {item.shape}",
                because=f"the others have {features} after their length",
                do="Give every sequence the same features.",
            )
        at = slice(length - len(kept), length) if padding == "pre" else slice(0, len(kept))
        out[i, at] = kept
    return out

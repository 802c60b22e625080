"""What every loss of class labels refuses: shapes that are not one label a prediction, and labels that are no class."""

from __future__ import annotations

import numpy as np

from verax.errors import DataError, ShapeError
from verax.losses.base import check_finite, describe

__all__ = ["check_class_labels", "check_labels", "without"]


def without(shape: tuple[int | None, ...], axis: int) -> tuple[int | None, ...]:
    """``shape`` less one of its axes, counted from the first."""
    return (*shape[:axis], *shape[axis + 1 :])


def check_class_labels(
    name: str, y_true: np.ndarray, pred_shape: tuple[int | None, ...], axis: int, ignored: int | None = None
) -> None:
    """Refuse labels of a wrong shape (ShapeError), and those that are no class, naming the worst (DataError)."""
    axis %= len(pred_shape)
    expected, shape = without(pred_shape, axis), y_true.shape
    if len(shape) == len(pred_shape) and shape[axis] == 1:
        shape = without(shape, axis)
    if len(shape) != len(expected) or any(n not in (m, None) for m, n in zip(shape[1:], expected[1:], strict=True)):
        one_hot = len(y_true.shape) == len(pred_shape) and y_true.shape[axis] == pred_shape[axis]
        raise ShapeError(
            f"Loss '{name}' takes one integer label for each prediction.",
            received=f"targets of shape {y_true.shape}, predictions of shape {describe(pred_shape)}",
            because=f"labels for these predictions have shape {describe(expected)}",
            do="Use categorical_crossentropy for one-hot targets."
            if one_hot
            else "Give labels of that shape, or change the last layer.",
        )
    check_labels(name, y_true, pred_shape, axis, ignored)


def check_labels(
    name: str, y_true: np.ndarray, pred_shape: tuple[int | None, ...], axis: int, ignored: int | None = None
) -> None:
    """Refuse labels, of any shape, that are no class, naming the one farthest from being one (DataError)."""
    check_finite(name, y_true)
    classes = pred_shape[axis]
    if classes is None or not y_true.size:
        return
    labels = y_true.astype(np.float64)
    # How far a label is from being a class; a fraction is off by its distance to a whole number.
    excess = np.maximum.reduce([-labels, labels - (classes - 1), np.abs(labels - np.round(labels))])
    if ignored is not None:
        excess[y_true == ignored] = 0.0
    if excess.max() <= 0:
        return
    worst = np.unravel_index(int(excess.argmax()), y_true.shape)
    label = y_true[worst].item()
    if label != round(label):
        because, do = "a class label is a whole number", "Use a regression loss, or turn the targets into labels."
    elif labels.min() >= 1 and labels.max() == classes:
        because, do = "labels start at 0, and these start at 1", "Subtract 1 from the labels."
    elif label < 0:
        because = "labels start at 0"
        do = f"Renumber the labels, or pass ignore_class={int(label)} to leave these out."
    else:
        because = f"predictions of shape {describe(pred_shape)} have {classes} classes"
        do = f"Give the last layer {int(labels.max()) + 1} units, or renumber the labels."
    raise DataError(
        f"Loss '{name}' takes integer labels from 0 to {classes - 1} ({classes} classes).",
        received=f"label {label} in row {worst[0]}; {int((excess > 0).sum())} of {y_true.size} labels are no class",
        because=because,
        do=do,
    )

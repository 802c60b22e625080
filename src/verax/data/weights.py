"""Sample weights and class weights: how much each row counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from verax.data.values import is_array, leaves, map_leaves
from verax.errors import DataError, InputError, ShapeError

__all__ = ["check_class_weight", "check_weight", "check_weights", "class_weights_of", "combine", "spread"]


def check_class_weight(class_weight: object) -> dict[int, float]:
    """``class_weight`` as a dict from class number to weight.

    >>> check_class_weight({np.int64(0): 1, 1: 2.5})
    {0: 1.0, 1: 2.5}
    """
    asked = "class_weight gives the weight of each class."
    do = "Pass a dict from class number to weight: class_weight={0: 1.0, 1: 5.0}."
    if not isinstance(class_weight, Mapping):
        raise InputError(asked, received=repr(class_weight), because="it is not a dict", do=do)
    made = {}
    for label, weight in class_weight.items():
        if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
            raise InputError(asked, received=f"the key {label!r}", because="classes are whole numbers", do=do)
        number = np.asarray(weight)
        if number.ndim or number.dtype.kind not in "iuf" or not np.isfinite(number) or number < 0:
            because = "a weight is a finite number, at least 0"
            raise InputError(asked, received=f"{{{label!r}: {weight!r}}}", because=because, do=do)
        made[int(label)] = float(number)
    return made


def class_weights_of(y: Any, class_weight: Mapping[int, float], name: str = "y") -> np.ndarray:
    """The weight of each row by its class, float32 ``(rows,)``; 1 for a class that ``class_weight`` does not name.

    The class of a row is its label, for whole numbers ``(rows,)`` or ``(rows, 1)``, or the place of its largest entry,
    for one-hot or soft targets ``(rows, classes)``. This is Keras' rule. Differs from Keras: labels that are not whole
    numbers, and token labels ``(rows, tokens)``, are refused; Keras rounds the ones and takes the largest of the
    others.

    >>> class_weights_of(np.array([0, 1, 2]), {1: 5.0}).tolist()
    [1.0, 5.0, 1.0]
    >>> class_weights_of(np.array([[0.0, 1.0], [1.0, 0.0]]), {1: 5.0}).tolist()
    [5.0, 1.0]
    """
    asked = f"class_weight weighs each row by its class in {name}."
    if y is None or not is_array(y):
        raise InputError(
            asked,
            received=f"{name}={'None' if y is None else type(y).__name__}",
            because="there are no targets" if y is None else "with several outputs a row has several classes",
            do="Pass y." if y is None else "Pass sample_weight with one array for each output.",
        )
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        if labels.min(initial=0) < 0 or labels.max(initial=0) > 1:
            raise ShapeError(
                asked,
                received=f"shape {labels.shape}, values from {labels.min()} to {labels.max()}",
                because="targets (rows, classes) are one-hot or probabilities, and these are not",
                do="Pass sample_weight of the shape of y to weigh single tokens.",
            )
        labels = labels.argmax(axis=1)
    if labels.ndim != 1:
        raise ShapeError(
            asked,
            received=f"shape {labels.shape}",
            because="a row's class is read from (rows,), (rows, 1) or (rows, classes)",
            do="Pass sample_weight instead.",
        )
    whole = np.round(labels) if labels.dtype.kind == "f" else labels.astype(np.int64)
    with np.errstate(invalid="ignore"):
        odd = np.flatnonzero(whole != labels) if labels.dtype.kind == "f" else []
    if len(odd):
        raise DataError(
            asked,
            received=f"{name} = {labels[odd[0]]} in row {odd[0]}",
            because="classes are whole numbers",
            do="Leave class_weight out for a regression; pass sample_weight.",
        )
    classes, inverse = np.unique(whole.astype(np.int64), return_inverse=True)
    table = np.array([class_weight.get(int(c), 1.0) for c in classes], dtype=np.float32)
    return table[inverse]


def combine(weight: Any, factor: np.ndarray) -> Any:
    """``weight * factor``, row by row; ``factor`` where there is no weight.

    ``weight`` is ``(rows, ...)``, ``factor`` is ``(rows,)``. Differs from Keras: with both they multiply; Keras
    refuses.
    """
    if weight is None:
        return factor
    weight = np.asarray(weight, dtype=np.float32)
    return weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))


def spread(weight: Any, y: Any) -> Any:
    """One weight array for several outputs becomes one for each of them; a structure of weights must be that of
    ``y``.
    """
    if weight is None or is_array(y) or y is None:
        return weight
    if is_array(weight):
        if len([n for n in weight.shape[1:] if n != 1]):
            raise ShapeError(
                "sample_weight weighs the rows of every output.",
                received=f"shape {weight.shape} for {len(list(leaves(y, 'y')))} outputs",
                because="one array for several outputs holds one number a row",
                do="Pass one array for each output, in the structure of y.",
            )
        return map_leaves(lambda leaf, name: weight, y, "y")
    if not _alike(weight, y):
        raise InputError(
            "sample_weight has one array for each output.",
            received=f"sample_weight for {_names(weight, 'sample_weight')}, y for {_names(y, 'y')}",
            because="the two structures differ",
            do="Give sample_weight the structure of y, with None where an output has no weights.",
        )
    return weight


def _names(structure: Any, name: str) -> str:
    return ", ".join(path for path, _ in leaves(structure, name)) or "nothing"


def _alike(weight: Any, y: Any) -> bool:
    """Whether ``weight`` has the structure of ``y``, ``None`` standing for any part without weights."""
    if weight is None:
        return True
    if isinstance(y, Mapping):
        return isinstance(weight, Mapping) and set(weight) == set(y) and all(_alike(weight[k], y[k]) for k in y)
    if isinstance(y, (list, tuple)):
        return (
            isinstance(weight, (list, tuple))
            and len(weight) == len(y)
            and all(_alike(w, t) for w, t in zip(weight, y, strict=True))
        )
    return is_array(weight)


def check_weights(weight: Any, y: Any, name: str) -> None:
    """:func:`check_weight` for every array of ``weight``, whose structure is that of ``y`` (see :func:`spread`)."""
    targets = {} if y is None else dict(leaves(y, name))
    for path, array in leaves(weight, name):
        check_weight(array, targets.get(path), path)


def check_weight(weight: Any, target: Any, name: str) -> None:
    """Refuse a weight array that cannot weigh ``target``: of higher rank, or not finite.

    ``weight`` is ``(rows,)`` or ``(rows, *leading axes of the target)``; trailing axes of length 1 do not count.
    """
    shape = tuple(weight.shape)
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    rank = 1 if target is None else max(1, len(target.shape))
    if len(shape) > rank:
        raise ShapeError(
            f"{name} weighs rows, or parts of rows.",
            received=f"shape {tuple(weight.shape)} for targets of "
            + ("no shape (there is no y)" if target is None else f"shape {tuple(target.shape)}"),
            because="it has more axes than what it weighs",
            do="Pass shape (rows,), or (rows, tokens) for a weight a token.",
        )
    values = np.asarray(weight)
    if values.dtype.kind not in "biu" and not np.isfinite(values.astype(np.float32)).all():
        bad = ~np.isfinite(values.astype(np.float32))
        row = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
        raise DataError(
            f"{name} is to be finite.",
            received=f"{values[bad].reshape(-1)[0]} in row {row}",
            because="one such weight makes every sum NaN",
            do="Give rows that are not to count the weight 0.",
        )

"""Rows held out for validation: the last ones."""

from __future__ import annotations

import math
from typing import Any

from verax.data.arrays import ArraySource
from verax.data.source import Source
from verax.data.values import is_array, map_leaves, rows_of, to_array
from verax.errors import DataError, InputError

__all__ = ["split"]


def split(data: Any, validation_split: float, *, validation_batch_size: int | None = None) -> tuple[Any, Any]:
    """Training and validation part: the last rows, before any shuffling, are for validation.

    The training part has ``floor(rows * (1 - validation_split))`` rows, which is Keras' rule.

    Args:
        data: A source made from arrays, or the arrays themselves: an array, or any structure of arrays such as
            ``(x, y)`` (``None`` in it stays ``None``).
        validation_split: The fraction for validation, between 0 and 1, both excluded.
        validation_batch_size: Of a source: the batch size of its validation part, if not the same.

    Returns:
        ``(training, validation)``, of the kind of ``data``. Rows of a source keep their numbers, and its class weights
        stay with the training part, as in Keras; sample weights go with their rows.

    Raises:
        InputError: a fraction outside (0, 1); data without rows to count, such as a generator.
        DataError: a part would be empty.

    >>> import numpy as np
    >>> train, validation = split((np.arange(10), None), 0.2)
    >>> train[0].tolist(), validation[0].tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7], [8, 9])
    """
    asked = f"validation_split={validation_split} holds rows out for validation."
    if isinstance(validation_split, bool) or not 0 < validation_split < 1:
        raise InputError(
            asked,
            received=f"validation_split={validation_split!r}",
            because="it is a fraction of the rows, between 0 and 1",
            do="Pass validation_split=0.2 for a fifth of the rows.",
        )
    if isinstance(data, Source):
        if not isinstance(data, ArraySource):
            raise _not_rows(asked, data.label)
        at = _split_row(data.rows, validation_split, asked)
        training = data.part(0, at, label=data.label)
        validation = data.part(at, data.rows, label="validation rows", batch_size=validation_batch_size, plain=True)
        return training, validation
    for item in data if isinstance(data, (tuple, list)) else (data,):
        if item is not None and not is_array(item) and not isinstance(item, (dict, list, tuple, range)):
            raise _not_rows(asked, type(item).__name__)
    arrays = map_leaves(to_array, data, "data")
    at = _split_row(rows_of(arrays, "data"), validation_split, asked)
    return (
        map_leaves(lambda array, name: array[:at], arrays, "data"),
        map_leaves(lambda array, name: array[at:], arrays, "data"),
    )


def _split_row(rows: int, fraction: float, asked: str) -> int:
    at = math.floor(rows * (1.0 - fraction))
    if at in (0, rows):
        raise DataError(
            asked,
            received=f"{rows} row{'s' * (rows != 1)}",
            because=f"the {'training' if at == 0 else 'validation'} part would be empty",
            do="Pass another fraction, or more rows.",
        )
    return at


def _not_rows(asked: str, what: str) -> InputError:
    return InputError(
        asked,
        received=f"data from {what}, which hands out batches",
        because="its rows cannot be counted and cut before they come",
        do="Pass validation_data with batches of its own.",
    )

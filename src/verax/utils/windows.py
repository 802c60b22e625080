"""Datasets made of arrays: windows of a series, and two parts of some data."""

from __future__ import annotations

import random
from typing import Any

import jax
import numpy as np

from verax.errors import InputError, ShapeError
from verax.frame.seeds import next_seed
from verax.utils.row_dataset import RowDataset

__all__ = ["split_dataset", "timeseries_dataset_from_array"]

Array = np.ndarray[Any, Any]


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> RowDataset:
    """A dataset of windows of a series: window i is ``data[s], data[s + rate], ...`` with ``s = i * stride``.

    Batches are ``(windows, targets)``, or ``windows``: (batch, sequence_length, ...).

    Args:
        data: The series, (steps, ...).
        targets: ``targets[s]`` belongs to the window that begins at step s; None for windows alone.
        sequence_length: Steps in a window.
        sequence_stride: Steps from the beginning of a window to that of the next.
        sampling_rate: Steps from one of a window to the next.
        batch_size: Windows in a batch; None for single windows.
        shuffle: Whether windows come in random order, in a new one each epoch.
        seed: Of the orders.
        start_index, end_index: Only steps from the one to before the other are used.

    Differs from Keras: there is one kind of dataset (no ``format``); ``end_index`` may be the length of the data.

    >>> windows = timeseries_dataset_from_array(np.arange(6), np.arange(6) * 10, 3, sampling_rate=2)
    >>> x, y = windows[0]
    >>> x.tolist(), y.tolist()
    ([[0, 2, 4], [1, 3, 5]], [0, 10])
    """
    asked = "timeseries_dataset_from_array cuts windows out of a series."
    series = np.asarray(data)
    start, stop = start_index or 0, len(series) if end_index is None else end_index
    if not 0 <= start < stop <= len(series):
        received = f"start_index={start_index}, end_index={end_index} for {len(series)} steps"
        raise InputError(asked, received=received, because="0 <= start_index < end_index <= steps")
    for name, value in (
        ("sequence_length", sequence_length),
        ("sequence_stride", sequence_stride),
        ("sampling_rate", sampling_rate),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 < value <= len(series):
            because = f"it is a positive integer, at most the {len(series)} steps"
            raise InputError(asked, received=f"{name}={value!r}", because=because)
    series = series[start:stop]
    wanted = None if targets is None else np.asarray(targets)[start:stop]
    room = len(series) - (sequence_length - 1) * sampling_rate
    room = room if wanted is None else min(room, len(wanted))
    begins = np.arange(0, max(room, 0), sequence_stride)
    if not len(begins):
        received = f"{len(series)} steps" + ("" if wanted is None else f", {len(wanted)} targets")
        because = f"a window reaches over {(sequence_length - 1) * sampling_rate + 1} steps"
        raise InputError(asked, received=received, because=because)
    seed = next_seed("datasets") if seed is None else seed
    if shuffle:
        np.random.RandomState(seed).shuffle(begins)
    steps = np.arange(sequence_length) * sampling_rate

    def read(rows: Array) -> tuple[Any, ...]:
        x = series[begins[rows][:, None] + steps]
        return (x,) if wanted is None else (x, wanted[begins[rows]])

    return RowDataset(read, len(begins), batch_size=batch_size, shuffle=shuffle, seed=seed)


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
) -> tuple[RowDataset, RowDataset]:
    """Two parts of some data: the first rows and the last ones.

    Args:
        dataset: An array, a list or tuple of arrays of one number of rows, a ``RowDataset``, or anything whose rows can
            be asked for by number (``len`` and ``dataset[i]``, as of torch).
        left_size: The size of the first part: a fraction of the rows, or their number; the rest when None.
        right_size: The same of the second part.
        shuffle: Whether the rows are shuffled first.
        seed: Of their order.

    Returns:
        Two ``RowDataset``; of single rows (``left.batch(32)`` makes batches), or as the one that was split.

    Differs from Keras: there is one kind of dataset (no ``preferred_backend``).

    >>> left, right = split_dataset(np.arange(10), left_size=0.8)
    >>> len(left), [int(x) for x in right]
    (8, [8, 9])
    """
    asked = "split_dataset makes two parts of some data."
    whole = dataset if isinstance(dataset, RowDataset) else RowDataset(*_rows_of(dataset, asked), batch_size=None)
    left, right = _sizes(left_size, right_size, whole.rows, asked)
    order = list(range(whole.rows))
    if shuffle:
        random.Random(next_seed("datasets") if seed is None else seed).shuffle(order)
    places = np.array(order)
    return whole.part(places[:left]), whole.part(places[whole.rows - right :])


def _rows_of(data: Any, asked: str) -> tuple[Any, int]:
    """How to read some rows, and how many there are."""
    parts: Any = data
    if isinstance(parts, (list, tuple)) and parts and all(hasattr(part, "shape") for part in parts):
        arrays = tuple(np.asarray(part) for part in parts)
        lengths = {len(array) for array in arrays}
        if len(lengths) > 1:
            received = f"arrays of {', '.join(str(len(array)) for array in arrays)} rows"
            raise ShapeError(asked, received=received, because="row i of one belongs to row i of the others")
        return lambda rows: tuple(array[rows] for array in arrays), lengths.pop()
    if hasattr(data, "shape") and len(data.shape):
        array = np.asarray(data)
        return lambda rows: (array[rows],), len(array)
    if not isinstance(data, (str, bytes, dict)) and hasattr(data, "__getitem__") and hasattr(data, "__len__"):

        def read(rows: Array) -> tuple[Any, ...]:
            samples = [data[i] for i in rows.tolist()]
            stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *samples)
            return tuple(stacked) if isinstance(stacked, (tuple, list)) else (stacked,)

        return read, len(data)
    because = "its rows cannot be asked for by number"
    raise InputError(asked, received=f"a {type(data).__name__}", because=because, do="Pass arrays.")


def _sizes(left: float | None, right: float | None, rows: int, asked: str) -> tuple[int, int]:
    received = f"left_size={left!r}, right_size={right!r} of {rows} rows"
    counts: list[int | None] = []
    for size in (left, right):
        fits = size is None or (0 < size < 1 if isinstance(size, float) else isinstance(size, int) and 0 < size < rows)
        if not fits or isinstance(size, bool):
            because = f"a size is a fraction between 0 and 1, or a number of rows below {rows}"
            raise InputError(asked, received=received, because=because)
        counts.append(size if size is None else round(size * rows) if isinstance(size, float) else size)
    first, second = counts
    if first is None and second is None:
        raise InputError(asked, received=received, because="one of the two is needed", do="Pass left_size=0.8.")
    first = rows - (second or 0) if first is None else first
    second = rows - first if second is None else second
    if first + second > rows or not first or not second:
        because = "the parts would overlap" if first and second else "a part would be empty"
        raise InputError(asked, received=received, because=because)
    return first, second

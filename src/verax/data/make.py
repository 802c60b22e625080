"""Anything to a source: what was passed is recognised, checked, and refused by name where it cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from verax.data.arrays import ArraySource, bytes_on_host
from verax.data.source import Batch, Source, check_count
from verax.data.streams import IterableSource, SequenceSource
from verax.data.values import cast, check_finite_rows, equal_rows, is_array, leaves, map_leaves, to_array
from verax.data.weights import check_class_weight, check_weights, spread
from verax.errors import DataError, DtypeError, InputError

__all__ = ["make_source"]

_GIB = 1 << 30


def make_source(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    label: str = "rows",
    steps: int | None = None,
    check_finite: bool = False,
    resident_limit: int = _GIB,
) -> Source:
    """A source of batches from whatever a person passes as data; a source stays as it is.

    Arrays: NumPy, JAX, lists of numbers, pandas and polars frames and series, torch tensors on the CPU, and dicts,
    lists and tuples of those for several inputs or outputs (a list of arrays is several inputs; a list of numbers, or
    of lists of numbers, is one array). Batches: sequences like ``verax.utils.PyDataset`` (``__len__`` and
    ``__getitem__``, or ``num_batches``), and generators, iterators and iterables, of ``x``, ``(x,)``, ``(x, y)`` or
    ``(x, y, sample_weight)``.

    Args:
        x: Inputs, ``(rows, ...)`` each; or the batches.
        y: Targets, ``(rows, ...)`` each.
        sample_weight: ``(rows,)``, or ``(rows, tokens)``; for several outputs one array for all, or the
            structure of ``y``.
        batch_size: Rows in a batch of arrays: 32, or with ``steps`` as many as make ``steps`` batches.
        class_weight: Weight of each class; multiplies the sample weights. Single output only.
        label: What the rows are called in messages.
        steps: How many batches a pass will be asked for, where the caller knows.
        check_finite: Refuse NaN and inf in ``x`` and ``y``.
        resident_limit: Arrays of more bytes than this are streamed from the host, as memory maps always are.

    Raises:
        DataError: rows that cannot be used: none, of unequal number, out of range, not finite.
        DtypeError: no numbers.
        ShapeError: ragged lists, no axis of rows, weights of the wrong rank.
        InputError: arguments that do not go together.

    Differs from Keras: lists of numbers and any iterable are data; ``class_weight`` works for every kind of data,
    together with sample weights.

    >>> source = make_source(np.zeros((100, 3)), np.arange(100), batch_size=32, label="training rows")
    >>> source
    ArraySource(100 training rows, batches of 32, resident)
    >>> source.spec.x, source.spec.y.dtype
    (ShapeDtypeStruct(shape=(32, 3), dtype=float32), dtype('int32'))
    """
    if steps is not None:
        steps = check_count("steps", steps)
    if batch_size is not None:
        batch_size = check_count("batch_size", batch_size)
    weights = None if class_weight is None else check_class_weight(class_weight)
    if _is_arrays(x, label):
        arrays = _check_arrays(Batch(x, y, sample_weight), check_finite)
        return _array_source(arrays, batch_size, weights, label, steps, resident_limit)
    kind = _kind_of_stream(x, label)
    _refuse_beside_stream(kind, label, y=y, sample_weight=sample_weight, batch_size=batch_size)
    if isinstance(x, Source):
        _refuse_beside_stream(kind, label, class_weight=class_weight, check_finite=check_finite or None)
        return x
    if kind == "a sequence of batches":
        return SequenceSource(x, label=label, class_weight=weights, check_finite=check_finite)
    return IterableSource(x, label=label, class_weight=weights, check_finite=check_finite)


def _is_arrays(x: Any, label: str) -> bool:
    if x is None or isinstance(x, (str, bytes, type)):
        raise DtypeError(
            f"The {label} are to be data.",
            received="None" if x is None else repr(x)[:80],
            because="it holds no numbers",
            do="Pass an array, or a dict or list of arrays; load files first.",
        )
    return is_array(x) or isinstance(x, (Mapping, list, tuple, range))


def _kind_of_stream(x: Any, label: str) -> str:
    if isinstance(x, Source):
        return "a source"
    if hasattr(x, "__getitem__") and (hasattr(x, "__len__") or hasattr(x, "num_batches")):
        return "a sequence of batches"
    if isinstance(x, Iterable):
        return "a generator" if hasattr(x, "__next__") else "an iterable"
    raise DtypeError(
        f"The {label} are to be data.",
        received=f"a function, {x!r}" if callable(x) else f"{type(x).__name__} {x!r}"[:80],
        because="it is neither arrays nor an iterable of batches",
        do="Call it, and pass the generator it returns."
        if callable(x)
        else "Pass an array with rows along its first axis.",
    )


def _refuse_beside_stream(kind: str, label: str, **given: Any) -> None:
    own = {
        "y": "its batches bring their targets: (x, y)",
        "sample_weight": "its batches bring their weights: (x, y, sample_weight)",
        "batch_size": "its batches have their own size",
        "class_weight": "it was made with its own",
        "check_finite": "it was made, and checked, before",
    }
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"The {label} come from {kind}.",
                received=f"{name}={f'{value}' if name == 'batch_size' else type(value).__name__} beside it",
                because=own[name],
                do=f"Leave {name} out.",
            )


def _check_arrays(given: Batch, check_finite: bool) -> Batch:
    """The arrays of ``given``, checked, in their own dtypes."""
    names = Batch("x", "y", "sample_weight")
    made = Batch(*(map_leaves(to_array, part, name) for part, name in zip(given, names, strict=True)))
    _check_rows(made, given, names)
    weight = spread(made.weight, made.y)
    check_weights(weight, made.y, "sample_weight")
    if check_finite:
        for part, name in ((made.x, "x"), (made.y, "y")):
            for path, array in leaves(part, name):
                check_finite_rows(array, path)
    return Batch(made.x, made.y, weight)


def _check_rows(made: Batch, given: Batch, names: Batch) -> None:
    named = [pair for part, name in zip(made, names, strict=True) for pair in leaves(part, name)]
    for path, array in named:
        if not array.shape[0]:
            raise DataError(
                f"{path} is to hold rows.",
                received=f"shape {tuple(array.shape)}",
                because="it is empty",
                do="Check the filter or the slice that made it.",
            )
    several = isinstance(given.x, (list, tuple)) and not is_array(made.x)

    def hint(rows: int) -> str | None:
        if several and len(given.x) == rows:
            return f"A list of arrays is several inputs. Pass np.stack(x) if it is {rows} rows."
        return None

    equal_rows(leaves(made.x, "x"), "x", hint)
    equal_rows(named, "x", hint)


def _array_source(
    arrays: Batch,
    batch_size: int | None,
    class_weight: dict[int, float] | None,
    label: str,
    steps: int | None,
    resident_limit: int,
) -> ArraySource:
    rows = int(next(leaves(arrays.x, "x"))[1].shape[0])
    if batch_size is None:
        batch_size = 32 if steps is None else -(-rows // steps)
    held = [array for part in arrays for _, array in leaves(part, "x")]
    on_disk = any(_is_memmap(array) for array in held)
    resident = not on_disk and bytes_on_host(arrays) <= resident_limit
    if resident:
        x = map_leaves(cast, arrays.x, "x")
        y = map_leaves(cast, arrays.y, "y")
    else:
        x = map_leaves(_on_host, arrays.x, "x")
        y = map_leaves(_on_host, arrays.y, "y")
    return ArraySource(
        Batch(x, y, _weights_as_float(arrays.weight)),
        batch_size=batch_size,
        label=label,
        resident=resident,
        class_weight=class_weight,
    )


def _weights_as_float(weight: Any) -> Any:
    made: dict[int, np.ndarray] = {}  # one array for several outputs stays one array

    def one(array: Any, name: str) -> np.ndarray:
        return made.setdefault(id(array), np.asarray(array).astype(np.float32, copy=False))

    return map_leaves(one, weight, "sample_weight")


def _on_host(array: Any, name: str) -> np.ndarray:
    return np.asarray(array) if isinstance(array, jax.Array) else array


def _is_memmap(array: Any) -> bool:
    """Whether the array, or what it is a view of, lies in a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False

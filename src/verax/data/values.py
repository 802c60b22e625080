"""Arrays out of whatever people pass: what is an array, what is a structure of arrays, and which dtype each becomes.

Floats become float32, whole numbers int32, except that bool and uint8 stay as they are (images are cast on the device,
at a quarter of the transfer). What would not survive the cast is refused by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, DtypeError, ShapeError

__all__ = [
    "cast",
    "check_finite_rows",
    "equal_rows",
    "is_array",
    "leaves",
    "map_leaves",
    "rows_of",
    "target_dtype",
    "to_array",
]

_INT32 = np.iinfo(np.int32)


def is_array(value: Any) -> bool:
    """Whether ``value`` is one array: NumPy, JAX, pandas, polars, torch on the CPU, or anything with ``__array__``."""
    if isinstance(value, type):
        return False
    return (
        (hasattr(value, "shape") and hasattr(value, "dtype"))
        or hasattr(value, "to_numpy")
        or hasattr(value, "__array__")
    )


def _is_numbers(value: Any) -> bool:
    """Whether ``value`` is a number, or lists and tuples of numbers (then it is one array, not a structure)."""
    if isinstance(value, (list, tuple, range)):
        return all(_is_numbers(item) for item in value)
    if value is None or isinstance(value, Mapping):
        return False
    return not is_array(value) or getattr(value, "ndim", None) == 0


def _children(value: Any, name: str) -> list[tuple[Any, str]] | None:
    """The named children of a structure, or ``None`` if ``value`` is one array."""
    if isinstance(value, Mapping):
        return [(item, f"{name}[{key!r}]") for key, item in value.items()]
    if isinstance(value, (list, tuple)) and not _is_numbers(value):
        return [(item, f"{name}[{i}]") for i, item in enumerate(value)]
    return None


def map_leaves(do: Callable[[Any, str], Any], structure: Any, name: str) -> Any:
    """``structure`` with ``do(leaf, its name)`` in place of each leaf; ``None`` stays.

    >>> map_leaves(lambda leaf, name: name, {"a": [np.ones(2), np.ones(2)], "b": [1, 2]}, "x")
    {'a': ["x['a'][0]", "x['a'][1]"], 'b': "x['b']"}
    """
    if structure is None:
        return None
    children = _children(structure, name)
    if children is None:
        return do(structure, name)
    made = [map_leaves(do, item, path) for item, path in children]
    if isinstance(structure, Mapping):
        return dict(zip(structure, made, strict=True))
    if hasattr(structure, "_fields"):
        return type(structure)(*made)
    return type(structure)(made)


def leaves(structure: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaves of ``structure`` with their names, in order, ``None`` left out.

    >>> [name for name, _ in leaves({"a": np.ones(2), "b": None}, "x")]
    ["x['a']"]
    """
    children = None if structure is None else _children(structure, name)
    if structure is None:
        return
    if children is None:
        yield name, structure
        return
    for item, path in children:
        yield from leaves(item, path)


def rows_of(structure: Any, name: str = "x") -> int:
    """How many rows ``structure`` has: the length of the first axis of its arrays, which must be the same for all.

    Raises:
        DataError: two arrays differ, or there is none.

    >>> rows_of({"image": np.zeros((3, 8, 8)), "age": [31, 42, 53]})
    3
    """
    return equal_rows(leaves(structure, name), name)


def equal_rows(
    named: Iterable[tuple[str, Any]], name: str, hint: Callable[[int], str | None] = lambda rows: None
) -> int:
    """The number of rows of all ``(name, array)`` pairs; ``hint(rows)`` may advise on an array of ``rows`` rows."""
    first: tuple[str, int] | None = None
    for path, leaf in named:
        rows = int(leaf.shape[0]) if hasattr(leaf, "shape") and len(leaf.shape) else len(leaf)
        if first is None:
            first = path, rows
        elif rows != first[1]:
            raise DataError(
                f"{first[0]} and {path} must have the same number of rows.",
                received=f"{first[0]} has {first[1]} rows, {path} has {rows}",
                because="row i of one belongs to row i of the other",
                do=hint(rows) or "Check where they were cut or filtered; only one of them was.",
            )
    if first is None:
        raise DataError(
            f"{name} is to hold rows.",
            received="nothing",
            because="there is no array in it",
            do="Pass an array, or a list or dict of arrays.",
        )
    return first[1]


def to_array(value: Any, name: str) -> np.ndarray | jax.Array:
    """``value`` as one array of numbers with rows, in its own dtype and without a copy where there need be none.

    Raises:
        DtypeError: text, objects, dates, complex numbers, sparse matrices.
        ShapeError: ragged lists, or no axis of rows.
        DataError: masked entries.
    """
    if isinstance(value, jax.Array):
        array: Any = value
    elif hasattr(value, "toarray") and not isinstance(value, np.ndarray):
        raise DtypeError(
            f"{name} is to be a dense array.",
            received=f"{type(value).__module__}.{type(value).__name__}",
            because="sparse matrices are not supported",
            do="Pass its .toarray(), or a generator that makes batches dense.",
        )
    else:
        array = _to_numpy(value, name)
    if array.ndim == 0:
        raise ShapeError(
            f"{name} is to have rows along its first axis.",
            received=f"{array!r}, shape ()",
            because="a single number has no axis",
            do="Pass np.asarray([value]) for one row; a sequence returns whole batches, not single rows.",
        )
    target_dtype(array.dtype, name)
    return array


def _to_numpy(value: Any, name: str) -> np.ndarray:
    if np.ma.is_masked(value):
        raise DataError(
            f"{name} is to hold a number in every place.",
            received=f"a masked array with {int(np.ma.count_masked(value))} masked entries",
            because="the mask would be lost",
            do="Pass its .filled(value), and sample_weight=0 for rows that are not to count.",
        )
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return _frame_to_numpy(value, name)
    try:
        if hasattr(value, "to_numpy"):
            return np.asarray(value.to_numpy())
        return value if isinstance(value, np.memmap) else np.asarray(value)
    except (ValueError, TypeError) as error:
        if isinstance(value, (list, tuple)):
            raise ShapeError(
                f"{name} is to be one array, from a list.",
                received=f"a list of {len(value)} items: {_brief(value)}",
                because="its items are of unequal length or kind",
                do="Make them equal: verax.utils.pad_sequences pads to one length.",
            ) from error
        raise DtypeError(
            f"{name} is to be an array.",
            received=f"{type(value).__module__}.{type(value).__name__}",
            because=f"NumPy cannot read it ({error})",
            do="Pass a NumPy array.",
        ) from error


def _frame_to_numpy(frame: Any, name: str) -> np.ndarray:
    """A data frame as one 2-D array; a column that holds no numbers is named."""
    columns = []
    for i, column in enumerate(frame.columns):
        # by place where there are places: two columns of pandas may share a name
        series = frame.iloc[:, i] if hasattr(frame, "iloc") else frame[column]
        values = np.asarray(series.to_numpy())
        if values.dtype == object:  # nullable numbers arrive as objects; so does text, which float() refuses
            with contextlib.suppress(TypeError, ValueError):
                values = values.astype(np.float64)
        target_dtype(values.dtype, f"{name}[{column!r}]")
        columns.append(values)
    if not columns:
        return np.zeros((len(frame), 0), np.float32)
    return np.stack(columns, axis=1)


def target_dtype(dtype: Any, name: str) -> np.dtype:
    """What an array of ``dtype`` becomes.

    >>> [str(target_dtype(np.dtype(d), "x")) for d in ("float64", "int64", "uint8", "bool")]
    ['float32', 'int32', 'uint8', 'bool']
    """
    if jnp.issubdtype(dtype, jnp.floating):
        return np.dtype(np.float32)
    if dtype in (np.dtype(np.bool_), np.dtype(np.uint8)):
        return np.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.integer):
        return np.dtype(np.int32)
    kind = getattr(dtype, "kind", "?")
    if kind == "O":
        because, do = (
            "Python objects are not numbers; often the rows are of unequal length, or a column holds text",
            "Make the rows equally long (verax.utils.pad_sequences), or encode text as numbers: "
            "x = verax.layers.TextVectorization(...)(texts).",
        )
    elif kind in "UST":
        because, do = (
            "text is not a number",
            "Encode it: np.unique(labels, return_inverse=True)[1] numbers class names; a layer makes numbers of texts "
            "before the model, x = verax.layers.TextVectorization(...)(texts).",
        )
    elif kind in "mM":
        because, do = "a date or a duration is not a number", "Pass numbers, for instance days since the first date."
    elif kind == "c":
        because, do = "complex numbers are not supported", "Pass real and imaginary part along a last axis."
    else:
        because, do = "it holds no numbers", "Pass an array of floats, integers or booleans."
    raise DtypeError(f"{name} is to hold numbers.", received=f"dtype {dtype}", because=because, do=do)


def cast(array: Any, name: str) -> Any:
    """``array`` in its target dtype (NumPy stays NumPy, JAX stays JAX); values that do not fit are refused.

    >>> cast(np.array([1.0, 2.0]), "x").dtype
    dtype('float32')
    """
    target = target_dtype(array.dtype, name)
    if array.dtype == target:
        return array
    if isinstance(array, jax.Array):
        if target == np.int32 and array.dtype not in (jnp.int8, jnp.int16, jnp.uint16):
            _check_int32(np.asarray(array), name)
        return array.astype(target)
    if target == np.int32:
        _check_int32(array, name)
        return array.astype(np.int32)
    try:
        with np.errstate(over="raise"):
            return array.astype(target)
    except FloatingPointError:
        worst = float(np.nanmax(np.abs(np.where(np.isinf(array), 0, array))))
        raise DataError(
            f"{name} is to be float32.",
            received=f"dtype {array.dtype} with a value of size {worst:g}",
            because="float32 ends at 3.4e38",
            do="Scale the values first.",
        ) from None


def _check_int32(array: np.ndarray, name: str) -> None:
    if array.size == 0 or np.can_cast(array.dtype, np.int32):
        return
    low, high = array.min(), array.max()
    if int(low) >= _INT32.min and int(high) <= _INT32.max:
        return
    worst = high if int(high) > _INT32.max else low
    place = np.unravel_index(int(np.argmax(array == worst)), array.shape)
    raise DataError(
        f"{name} is to be int32.",
        received=f"dtype {array.dtype} with the value {int(worst)} in row {int(place[0])}",
        because=f"int32 ends at {_INT32.min} and {_INT32.max}",
        do="Number the distinct values from 0 (np.unique with return_inverse=True), or pass floats.",
    )


def check_finite_rows(array: Any, name: str) -> None:
    """Refuse NaN and inf, naming the first row and column.

    >>> check_finite_rows(np.array([[1.0, 2.0], [3.0, np.nan]]), "x")
    Traceback (most recent call last):
    verax.errors.DataError: x is to be finite.
      Received: nan in row 1, column 1 (1 such value in 1 row)
      Because:  check_finite=True was passed
      Do:       Drop those rows, or fill the values in; np.isfinite finds them.
    """
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return
    host = np.asarray(array)
    bad = ~np.isfinite(host)
    if not bad.any():
        return
    place = [int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape)]
    columns = "" if len(place) == 1 else f", column {place[1] if len(place) == 2 else tuple(place[1:])}"
    count, rows = int(bad.sum()), int(bad.reshape(len(bad), -1).any(axis=1).sum())
    raise DataError(
        f"{name} is to be finite.",
        received=f"{float(host[tuple(place)])} in row {place[0]}{columns} "
        f"({count} such value{'s' * (count != 1)} in {rows} row{'s' * (rows != 1)})",
        because="check_finite=True was passed",
        do="Drop those rows, or fill the values in; np.isfinite finds them.",
    )


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

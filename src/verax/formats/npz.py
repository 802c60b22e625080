"""NumPy's ``.npz`` archives of arrays, read with care: no pickles, no sizes that the bytes do not bear out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from verax.errors import DataError
from verax.formats import archive

__all__ = ["read", "write"]

#: NumPy writes the bits of these types, and forgets their names: a member's name says them.
_STRANGE = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz", "float8_e4m3fnuz", "float8_e5m2fnuz")
_HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write(file: IO[bytes], arrays: Mapping[str, Any]) -> None:
    """Write arrays, name -> array."""
    made: dict[str, Any] = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        strange = array.dtype.name in _STRANGE
        key, kept = (f"{name}.{array.dtype.name}", array.view(f"u{array.dtype.itemsize}")) if strange else (name, array)
        made[key] = kept
    np.savez(file, **made)


def read(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a file, by name.

    Raises:
        DataError: It is no ``.npz`` file, or is damaged, or holds objects of Python.
    """
    found: dict[str, np.ndarray[Any, Any]] = {}
    with archive.opened(path) as members:
        for name in members.names():
            with members.file(name) as file:
                try:
                    array = _array(file, members.size(name), f"{path}: {name}")
                except DataError:
                    raise
                except Exception as error:  # NumPy reads headers as Python, and raises what that raises
                    text = " ".join(str(error).split())
                    raise DataError(
                        f"{path} was to be read.",
                        received=f"{name!r}: {text}",
                        because="it is not a whole .npz file of numbers",
                        do="Take another copy of it.",
                    ) from error
            key = name.removesuffix(".npy")
            plain, _, kind = key.rpartition(".")
            strange = kind in _STRANGE and array.dtype.kind == "u"
            found[plain if strange else key] = array.view(getattr(ml_dtypes, kind)) if strange else array
    return found


def _array(file: IO[bytes], length: int, name: str) -> np.ndarray[Any, Any]:
    shape, by_columns, dtype = _HEADS[np.lib.format.read_magic(file)](file, max_header_size=1 << 16)
    rest = length - file.tell()
    if dtype.hasobject or dtype.kind not in "biufcSU":
        raise DataError(f"{name} was to be read.", received=f"an array of {dtype}", because="only numbers are read")
    if math.prod(shape) * dtype.itemsize != rest:
        raise DataError(
            f"{name} was to be read.",
            received=f"shape {shape} of {dtype} in {rest:,} bytes",
            because="it is not a whole .npz file",
        )
    return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if by_columns else "C").copy()

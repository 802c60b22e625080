"""Arrays in ``.safetensors`` files: written whole, and read only where the file is what it says.

A file is eight bytes with the length of a header, the header (JSON: name -> dtype, shape, where its bytes stand), and
the bytes. So nothing in it can run, and everything can be checked before memory is taken: that each tensor has as many
bytes as its shape needs, that tensors neither overlap nor leave gaps, that the file ends where the last one does.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard, cast

import ml_dtypes
import numpy as np

from verax.errors import DataError, DtypeError, InputError
from verax.frame.files import written_whole

__all__ = ["INDEX_SUFFIX", "Header", "TensorSpec", "header", "is_tensors_file", "packed", "read", "unpacked", "write"]

#: How the file ends that names the parts of a model kept in several files.
INDEX_SUFFIX = ".safetensors.index.json"
#: What the format allows a header at most.
_HEADER_LIMIT = 100_000_000

_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(dtype)
    for name, dtype in (
        ("F64", np.float64),
        ("F32", np.float32),
        ("F16", np.float16),
        ("BF16", ml_dtypes.bfloat16),
        ("F8_E4M3", ml_dtypes.float8_e4m3fn),
        ("F8_E5M2", ml_dtypes.float8_e5m2),
        ("I64", np.int64),
        ("I32", np.int32),
        ("I16", np.int16),
        ("I8", np.int8),
        ("U64", np.uint64),
        ("U32", np.uint32),
        ("U16", np.uint16),
        ("U8", np.uint8),
        ("BOOL", np.bool_),
        ("C64", np.complex64),
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TensorSpec:
    """What a file says of one tensor.

    Attributes:
        dtype: Its dtype.
        shape: Its shape.
        start, stop: Where its bytes stand, counted from the end of the header.
        file: The file it is in.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int
    file: Path


@dataclass(frozen=True)
class Header:
    """What a file, or all files of an index, hold.

    Attributes:
        tensors: name -> spec, in the order of the header.
        metadata: Texts by name, as whoever wrote the file put them in.
    """

    tensors: dict[str, TensorSpec]
    metadata: dict[str, str]


def is_tensors_file(path: Any) -> bool:
    """Whether a name is that of a ``.safetensors`` file, or of an index of several.

    >>> is_tensors_file("model.safetensors"), is_tensors_file("model.safetensors.index.json"), is_tensors_file("m.npz")
    (True, True, False)
    """
    name = Path(path).name
    return name.endswith((".safetensors", INDEX_SUFFIX))


def write(path: Any, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write ``arrays`` to a ``.safetensors`` file; the old file stays until the new one is whole.

    Args:
        path: The file.
        arrays: name -> array, of any shape; dtypes are kept.
        metadata: Texts that are kept with them.

    Raises:
        DtypeError: An array of a dtype the format does not know.
        InputError: A name the format keeps for itself.
    """
    with written_whole(path) as file:
        file.writelines(packed(arrays, metadata, str(path)))


def packed(arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None, name: str = "") -> Iterator[bytes]:
    """The bytes of a ``.safetensors`` file, piece by piece: the length of the header, the header, each tensor.

    Args:
        arrays, metadata: As in ``write``.
        name: What messages call the file.
    """
    ready = {key: np.asarray(array) for key, array in arrays.items()}
    for key, array in ready.items():
        asked = f"{key!r} was to be written to {name}."
        if array.dtype.newbyteorder("=") not in _NAMES:
            known = ", ".join(str(dtype) for dtype in _NAMES)
            raise DtypeError(asked, received=f"dtype {array.dtype}", because=f"a .safetensors file holds {known}")
        if key == "__metadata__":
            raise InputError(asked, because="the format keeps that name for itself", do="Give it another name.")
    # Wide elements first, so that every tensor stands at a multiple of its element's size.
    order = sorted(ready, key=lambda key: (-ready[key].dtype.itemsize, key))
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for key in order:
        array = ready[key]
        entries[key] = {
            "dtype": _NAMES[array.dtype.newbyteorder("=")],
            "shape": list(array.shape),
            "data_offsets": [place, place + array.nbytes],
        }
        place += array.nbytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for key in order:
        array = ready[key]
        yield array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def header(path: Any) -> Header:
    """What a ``.safetensors`` file, or an ``.index.json`` of several, holds; no tensor is read.

    Raises:
        DataError: A file that is cut off, or contradicts itself.
    """
    path = Path(path)
    if not path.name.endswith(INDEX_SUFFIX):
        return _header(path)
    parts = _parts(path)
    heads = {file: _header(path.parent / file) for file in dict.fromkeys(parts.values())}
    for name, file in parts.items():
        if name not in heads[file].tensors:
            raise _broken(path, f"it says that {name!r} is in {file}, which does not have it")
    metadata = {key: text for head in heads.values() for key, text in head.metadata.items()}
    return Header({name: heads[file].tensors[name] for name, file in parts.items()}, metadata)


def read(path: Any, only: Iterable[str] | None = None, *, of: Header | None = None) -> dict[str, Array]:
    """The arrays of a ``.safetensors`` file, or of an ``.index.json`` of several, by name.

    Args:
        path: The file.
        only: The names of the tensors to read; all when None.
        of: What ``header`` has found in it already.

    Raises:
        DataError: A file that is cut off, or contradicts itself.
    """
    found = of or header(path)
    wanted = list(found.tensors if only is None else only)
    by_file: dict[Path, list[str]] = {}
    for name in wanted:
        by_file.setdefault(found.tensors[name].file, []).append(name)
    arrays: dict[str, Array] = {}
    for part, names in by_file.items():
        with part.open("rb") as file:
            base = 8 + int.from_bytes(file.read(8), "little")
            for name in names:
                arrays[name] = _tensor(file, base, name, found.tensors[name])
    return {name: arrays[name] for name in wanted}


def unpacked(file: IO[bytes], name: str) -> dict[str, Array]:
    """The arrays of a ``.safetensors`` file that is open, such as a member of an archive."""
    head = _header_of(file, Path(name))
    file.seek(0)
    base = 8 + int.from_bytes(file.read(8), "little")
    return {key: _tensor(file, base, key, spec) for key, spec in head.tensors.items()}


def _tensor(file: IO[bytes], base: int, name: str, spec: TensorSpec) -> Array:
    size = spec.stop - spec.start
    buffer = np.empty(size, np.uint8)
    file.seek(base + spec.start)
    if size and cast("Any", file).readinto(buffer) != size:
        raise _broken(spec.file, f"it ends inside of {name!r}")
    if spec.dtype == np.bool_ and np.any(buffer > 1):
        raise _broken(spec.file, f"{name!r} is said to hold booleans, and holds other numbers")
    return buffer.view(spec.dtype.newbyteorder("<")).astype(spec.dtype, copy=False).reshape(spec.shape)


def _header(path: Path) -> Header:
    with path.open("rb") as file:
        return _header_of(file, path)


def _header_of(file: IO[bytes], path: Path) -> Header:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _HEADER_LIMIT):
        raise _broken(path, f"its header would take {length} bytes, and the file has {size}")
    text = file.read(length)
    room = size - 8 - length
    entries = _json(path, text)
    raw = entries.pop("__metadata__", {})
    if not isinstance(raw, dict) or not all(isinstance(one, str) for one in cast("dict[str, Any]", raw).values()):
        raise _broken(path, "its metadata are not texts")
    tensors = {name: _spec(path, name, entry, room) for name, entry in entries.items()}
    place = 0
    for name, spec in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if spec.start != place:
            how = "overlaps another one" if spec.start < place else "leaves a gap before it"
            raise _broken(path, f"tensor {name!r} {how}: it starts at byte {spec.start}, and {place} comes next")
        place = spec.stop
    if place != room:
        raise _broken(path, f"its tensors take {place} bytes, and {room} follow the header")
    return Header(tensors, cast("dict[str, str]", raw))


def _spec(path: Path, name: str, entry: Any, room: int) -> TensorSpec:
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    shape, offsets = fields.get("shape"), fields.get("data_offsets")
    if not (_whole_numbers(shape) and _whole_numbers(offsets) and len(offsets) == 2 and len(shape) <= 32):
        raise _broken(path, f"what it says of tensor {name!r} is no dtype, shape and place: {str(entry)[:80]}")
    dtype = _DTYPES.get(str(fields.get("dtype")))
    if dtype is None:
        raise DataError(
            f"{path} was to be read.",
            received=f"tensor {name!r} of dtype {str(fields.get('dtype'))[:20]!r}",
            because=f"Verax reads {', '.join(_DTYPES)}",
            do="Save the model in one of those dtypes.",
        )
    start, stop = offsets
    needed = math.prod(shape) * dtype.itemsize
    # numpy counts the sizes of an empty array together too, and has no more than 63 bits to do so.
    if not start <= stop <= room or stop - start != needed or math.prod(n or 1 for n in shape) * dtype.itemsize >> 62:
        raise _broken(
            path,
            f"tensor {name!r} of shape {tuple(shape)} and dtype {dtype} needs {needed} bytes, and is said to be in "
            f"bytes {start} to {stop} of {room}",
        )
    return TensorSpec(dtype, tuple(shape), start, stop, path)


def _parts(path: Path) -> dict[str, str]:
    """name -> file, of an index."""
    with path.open("rb") as file:
        text = file.read(_HEADER_LIMIT + 1)
    parts = _json(path, text).get("weight_map") if len(text) <= _HEADER_LIMIT else None
    if not isinstance(parts, dict) or not parts:
        raise _broken(path, "it has no weight_map, which says the file of each tensor")
    for name, file in cast("dict[str, Any]", parts).items():
        if not isinstance(file, str) or not file.endswith(".safetensors") or Path(file).name != file or "\\" in file:
            raise _broken(path, f"it says that {name!r} is in {file!r}, which is no .safetensors file beside it")
    return cast("dict[str, str]", parts)


def _json(path: Path, text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise _broken(path, f"{twice!r} stands in it twice")
        return table

    try:
        found = json.loads(text.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise _broken(path, f"it should begin with JSON: {error}") from error
    if not isinstance(found, dict):
        raise _broken(path, "it should begin with a table in JSON")
    return cast("dict[str, Any]", found)


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in cast("list[Any]", value))


def _broken(path: Path, because: str) -> DataError:
    return DataError(
        f"{path} was to be read.",
        received="a file that is no whole .safetensors file",
        because=because,
        do="Download or write it again.",
    )

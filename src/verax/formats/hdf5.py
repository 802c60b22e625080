"""HDF5 files read with care: what they hold is listed and checked before a byte of it is used."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import ml_dtypes
import numpy as np

from verax.errors import DataError, VeraxError

__all__ = ["Attributes", "Contents", "Stored", "opened", "write"]

#: No model has more; a file made to keep its reader busy may.
_MOST_OBJECTS, _DEEPEST, _MOST_TEXT = 500_000, 64, 1 << 28
#: deflate, shuffle, fletcher32, and h5py's own lzf: what h5py brings. Others would load a library found on the machine.
_FILTERS = {1, 2, 3, 32000}
#: deflate makes nothing more than 1,032 times smaller.
_GREATEST_RATIO = 1032
_BFLOAT16, _CHECKSUM = "bfloat16", "crc32"


def _library() -> Any:
    """h5py, loaded when the first file is opened."""
    import h5py

    return h5py


class Attributes(Mapping[str, Any]):
    """What is noted beside a group or an array: read when it is asked for, since most of it never is."""

    def __init__(self, source: str, path: str, thing: Any):
        self._source, self._path, self._thing = source, path, thing

    def __iter__(self) -> Iterator[str]:
        with _explained(self._source, self._path):
            return iter([str(key) for key in self._thing.attrs])

    def __len__(self) -> int:
        with _explained(self._source, self._path):
            return len(self._thing.attrs)

    def __contains__(self, key: object) -> bool:
        with _explained(self._source, self._path):
            return key in self._thing.attrs

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        with _explained(self._source, self._path):
            at = self._thing.attrs.get_id(key)
            what = f"{self._path!r} with the attribute {key!r}"
            if _library().check_string_dtype(at.dtype) is None and at.dtype.kind not in "biufcS":
                raise _refused(self._source, f"{what} of type {at.dtype}", "texts and numbers are read")
            if _bytes(at.shape or (), at.dtype.itemsize) > _MOST_TEXT:
                raise _refused(self._source, f"{what} of shape {at.shape}", "no text is so long")
            value = self._thing.attrs[key]
            return value.decode("utf-8") if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Stored:
    """An array in a file, as the file declares it and its storage bears out.

    Attributes:
        path: Where it stands, such as ``"layers/dense/vars/0"``.
        shape, dtype: What it will be.
        size: Its bytes.
        attributes: What is noted beside it.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int
    attributes: Mapping[str, Any]
    _source: str
    _dataset: Any = field(repr=False)

    def read(self) -> np.ndarray[Any, Any]:
        """The array; its checksum is compared where the file has one."""
        with _explained(self._source, self.path):
            array = np.asarray(self._dataset[()])
        if self.dtype == ml_dtypes.bfloat16:
            array = array.view(ml_dtypes.bfloat16)
        noted = self.attributes.get(_CHECKSUM)
        if noted is not None and noted != _checksum(array):
            raise _damaged(self._source, f"{self.path!r}, whose bytes are not those that were written")
        return array


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        name: The file's name, for messages.
        groups: path -> attributes; the root's path is ``""``.
        arrays: path -> array.
    """

    name: str
    groups: dict[str, Attributes]
    arrays: dict[str, Stored]

    def below(self, path: str) -> dict[str, Stored]:
        """The arrays directly in a group, by their names."""
        return self._inside.get(path, {})

    @cached_property
    def _inside(self) -> dict[str, dict[str, Stored]]:
        found: dict[str, dict[str, Stored]] = {}
        for path, stored in self.arrays.items():
            group, _, name = path.rpartition("/")
            found.setdefault(group, {})[name] = stored
        return found


@contextlib.contextmanager
def opened(source: str | os.PathLike[str] | IO[bytes], name: str | None = None) -> Generator[Contents]:
    """What an HDF5 file holds, while the block runs.

    Args:
        source: A path, or a file open for reading bytes.
        name: What messages call it; the path when None.

    Raises:
        DataError: It is no HDF5 file, or is damaged, or holds what no file of weights does: links to other places or
            files, data elsewhere, types of Python, filters of others, sizes that its bytes do not bear out.
    """
    name = name or str(source)
    with contextlib.ExitStack() as stack:
        with _explained(name):
            if isinstance(source, (str, os.PathLike)):
                source = stack.enter_context(Path(source).open("rb"))
            length = source.seek(0, os.SEEK_END)
            source.seek(0)
            path = getattr(source, "name", None)
            # Through h5py's own driver where it is a plain file: Python is not asked for each block then.
            plain = isinstance(path, str) and os.path.isfile(path) and os.path.getsize(path) == length
            file = stack.enter_context(_library().File(path if plain else source, "r"))
            contents = _Walk(name, length).contents(file)
        yield contents


def write(
    file: IO[bytes], arrays: Mapping[str, np.ndarray[Any, Any]], groups: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write arrays, path -> array, and groups, path -> attributes, as HDF5; each array with its checksum."""
    with _library().File(file, "w", libver=("earliest", "v110")) as opened_file:
        root = cast("Any", opened_file)
        for path, attributes in (groups or {}).items():
            group = root.require_group(path) if path else root
            for key, value in attributes.items():
                group.attrs[key] = value
        for path, value in arrays.items():
            array = np.asarray(value)
            of_bits = array.dtype == ml_dtypes.bfloat16
            made = root.create_dataset(path, data=array.view("V2") if of_bits else array)
            if of_bits:
                made.attrs["dtype"] = _BFLOAT16
            made.attrs[_CHECKSUM] = _checksum(array)


class _Walk:
    """A walk through a file, with its limits."""

    def __init__(self, name: str, length: int):
        self.name, self.length = name, length
        self.stored = 0
        self.seen: set[int] = set()
        self.found = Contents(name, {}, {})

    def contents(self, file: Any) -> Contents:
        h5py = _library()
        waiting: list[tuple[str, Any, int]] = [("", file, 0)]
        while waiting:
            path, group, depth = waiting.pop()
            self.note(path, group, depth)
            self.found.groups[path] = Attributes(self.name, path, group)
            for key in group:
                below = f"{path}/{key}" if path else str(key)
                link: Any = group.get(key, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    kind = "another file" if isinstance(link, h5py.ExternalLink) else "another place"
                    raise self.refused(f"{below!r}, a link to {kind}", "a model's file needs no links")
                child = group[key]
                if isinstance(child, h5py.Group):
                    waiting.append((below, child, depth + 1))
                elif isinstance(child, h5py.Dataset):
                    self.note(below, child, depth)
                    self.found.arrays[below] = self.array(below, child)
                else:
                    raise self.refused(f"{below!r}, a {type(child).__name__}", "a model's file has groups and arrays")
        return self.found

    def note(self, path: str, thing: Any, depth: int) -> None:
        place = _library().h5o.get_info(thing.id).addr
        if place in self.seen:
            raise self.refused(f"{path!r}, which stands elsewhere in it too", "each part of a model is kept once")
        self.seen.add(place)
        if len(self.seen) > _MOST_OBJECTS or depth > _DEEPEST:
            raise self.refused("more parts, or deeper ones, than any model", "it would only keep its reader busy")

    def array(self, path: str, dataset: Any) -> Stored:
        attributes: Mapping[str, Any] = Attributes(self.name, path, dataset)
        dtype: Any = dataset.dtype
        if dtype.str[1:] == "V2" and attributes.get("dtype") == _BFLOAT16:
            dtype = np.dtype(ml_dtypes.bfloat16)
        elif dtype.kind not in "biufcS":
            raise self.refused(f"{path!r} of type {dtype}", "arrays of numbers are read")
        if dataset.shape is None:
            raise self.refused(f"{path!r}, an array without a shape", "weights have shapes")
        if dataset.external or dataset.is_virtual:
            raise self.refused(f"{path!r}, whose data are in another file", "a model's file holds its data itself")
        made = dataset.id.get_create_plist()
        filters = {made.get_filter(i)[0] for i in range(made.get_nfilters())}
        if not filters <= _FILTERS:
            raise self.refused(f"{path!r}, packed by filter {min(filters - _FILTERS)}", "only h5py's own are used")
        shape = tuple(int(n) for n in dataset.shape)
        size, stored = _bytes(shape, dtype.itemsize), int(dataset.id.get_storage_size())
        self.stored += stored
        if self.stored > self.length or size > stored * (_GREATEST_RATIO if filters else 1):
            raise self.refused(f"{path!r} of shape {shape} in {stored:,} bytes", "so many numbers are not in the file")
        return Stored(path, shape, dtype, size, attributes, self.name, dataset)

    def refused(self, received: str, because: str) -> DataError:
        return _refused(self.name, received, because)


def _bytes(shape: tuple[int, ...], itemsize: int) -> int:
    size = int(itemsize)
    for n in shape:
        size *= int(n)
    return size


def _checksum(array: np.ndarray[Any, Any]) -> int:
    bits: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return zlib.crc32(bits)


def _refused(name: str, received: str, because: str) -> DataError:
    return DataError(f"{name} was to be read.", received=received, because=because)


def _damaged(name: str, received: str) -> DataError:
    return DataError(
        f"{name} was to be read.",
        received=received,
        because="it is not a whole HDF5 file",
        do="Take another copy of it.",
    )


@contextlib.contextmanager
def _explained(name: str, path: str = "") -> Generator[None]:
    """What h5py and NumPy raise at a damaged file, as one error."""
    try:
        yield
    except (VeraxError, FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # h5py raises almost every class there is
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise _damaged(name, f"{path!r}: {text}" if path else text) from error

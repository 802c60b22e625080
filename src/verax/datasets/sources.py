"""What the datasets have in common: where their files are, and how arrays are read, cut and shuffled."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from verax.errors import DataError, InputError
from verax.utils.files import get_file

__all__ = ["Arrays", "Unpickler", "batch_file", "fetched", "limited", "read_npz", "shuffled", "split", "worded"]

Arrays = tuple[np.ndarray, np.ndarray]

#: Where the Keras project keeps the files.
_FOLDER = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


def fetched(path: str, name: str, file_hash: str | None, subdir: str = "datasets") -> str:
    """The place of a file of Keras' collection, kept as ``path``."""
    return get_file(path, _FOLDER + name, file_hash=file_hash, cache_subdir=subdir)


class Unpickler(pickle.Unpickler):
    """Reads arrays, strings, numbers and containers, and calls nothing else that a file may name."""

    _known = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module_name: str, global_name: str) -> Any:
        """One of the few things that arrays are made of."""
        if (module_name, global_name) not in self._known:
            raise DataError(
                "The file of a dataset was read.",
                received=f"a file that asks for {module_name}.{global_name}",
                because="it holds more than arrays, and may do harm",
                do="Delete it, and let it be fetched again.",
            )
        if module_name == "numpy.core.multiarray":
            module_name = "numpy._core.multiarray"
        return super().find_class(module_name, global_name)


def read_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file; those of lists too, of which nothing but arrays and numbers is read."""
    found: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    found[member.removesuffix(".npy")] = _array(file)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path} was read.", because=str(error), do="Delete it, and let it be fetched again."
        ) from error
    return found


def _array(file: IO[bytes]) -> np.ndarray:
    lib: Any = np.lib.format
    version = lib.read_magic(file)
    header = (lib.read_array_header_1_0 if version == (1, 0) else lib.read_array_header_2_0)(file)
    if header[2].hasobject:
        return Unpickler(file).load()
    shape, fortran, dtype = header
    array = np.frombuffer(file.read(), dtype).copy()
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def shuffled(generator: np.random.RandomState, *arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays in one order, by a generator whose numbers NumPy has frozen."""
    order = np.arange(len(arrays[0]))
    generator.shuffle(order)
    return [array[order] for array in arrays]


def split(x: np.ndarray, y: np.ndarray, test_split: float, seed: int | None) -> tuple[Arrays, Arrays]:
    """Rows in an order, of which the last part is for testing."""
    if not 0 <= test_split < 1:
        raise InputError(
            "load_data(test_split=...) keeps a part of the rows for testing.",
            received=repr(test_split),
            because="it is a fraction, below 1",
            do="Pass 0.2.",
        )
    x, y = shuffled(np.random.RandomState(seed), x, y)
    end = int(len(x) * (1 - test_split))
    return (x[:end].copy(), y[:end].copy()), (x[end:].copy(), y[end:].copy())


def worded(
    rows: Sequence[np.ndarray],
    maxlen: int | None,
    start_char: int | None,
    index_from: int | None,
) -> tuple[list[list[int]], np.ndarray]:
    """Sequences of words with their numbers moved up, a sign before the first; those shorter than ``maxlen`` only.

    ``rows``: the sequences, and their labels.
    """
    x, y = rows
    first = [] if start_char is None else [start_char]
    by = 0 if index_from is None else index_from
    moved = [[*first, *(int(word) + by for word in one)] for one in x]
    kept = [i for i, one in enumerate(moved) if not maxlen or len(one) < maxlen]
    if not kept:
        raise InputError(
            "load_data(maxlen=...) keeps the texts that are shorter.",
            received=f"maxlen={maxlen}",
            because="none is",
            do="Raise maxlen.",
        )
    return [moved[i] for i in kept], np.asarray(y)[kept]


def limited(xs: Sequence[list[int]], num_words: int | None, skip_top: int, oov_char: int | None) -> np.ndarray:
    """Sequences in which words outside of ``skip_top <= word < num_words`` are another sign, or left out."""
    most = num_words or max(max(x) for x in xs if x)
    found = np.empty(len(xs), object)
    for i, x in enumerate(xs):
        if oov_char is None:
            found[i] = [word for word in x if skip_top <= word < most]
        else:
            found[i] = [word if skip_top <= word < most else oov_char for word in x]
    return found


def batch_file(path: Path, labels: str) -> Arrays:
    """Images (rows, 32, 32, 3) and labels (rows, 1) of one file of the CIFAR archives."""
    with path.open("rb") as file:
        held = {key.decode(): value for key, value in Unpickler(file, encoding="bytes").load().items()}
    images = np.asarray(held["data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, np.asarray(held[labels]).reshape(-1, 1)

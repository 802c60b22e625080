"""Layers that learn from data before training: ``adapt``, and the batches it reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Unpack, cast

import jax
import numpy as np
from jax.core import Tracer

from verax.errors import DataError, DtypeError, InputError, ShapeError, StateError, UnknownNameError
from verax.frame.current import active_frame
from verax.frame.symbolic import is_symbolic
from verax.layers.base import Layer, LayerArguments

__all__ = ["Adapting", "OnHost", "as_numbers", "as_text", "encoding_mode", "refuse_sparse"]


class Adapting(Layer):
    """A layer that learns from data what it needs: statistics, bins, a vocabulary.

    A family says three things: ``reset_state`` forgets what was counted, ``update_state`` counts a batch, and
    ``finalize_state`` makes of the counts what the layer uses. Until the last one the layer keeps what it knew.
    """

    def adapt(self, data: Any, steps: int | None = None, *, batch_size: int | None = None) -> None:
        """Learn from data; what was learned before is replaced.

        Args:
            data: An array or a (nested) list, rows along the first axis; or batches: a list of arrays, a generator, a
                ``PyDataset``, a ``tf.data.Dataset``, anything that can be iterated. Of batches ``(x, y)`` and
                ``(x, y, sample_weight)``, x is read.
            steps: At most this many batches.
            batch_size: Of an array: how many rows to read at a time, which bounds the memory that is needed.

        Raises:
            DataError: No rows, or values that teach nothing (NaN).
            InputError: No data; ``steps`` of an array without ``batch_size``.

        Programs that were compiled with what the layer knew before are compiled anew.
        """
        self.reset_state()
        seen = 0
        for batch in self._batches(data, steps, batch_size):
            self.update_state(batch)
            seen += 1
        if not seen:
            raise DataError(
                f"{self._says} adapts to data.", received="no batch", because="there is nothing to learn from"
            )
        self.finalize_state()

    def reset_state(self) -> None:
        """Forget what was counted since the last ``finalize_state``."""
        raise NotImplementedError

    def update_state(self, data: Any) -> None:
        """Count one batch."""
        raise NotImplementedError

    def finalize_state(self) -> None:
        """Make of what was counted what the layer uses."""
        raise NotImplementedError

    def read(self, batch: Any) -> np.ndarray[Any, Any]:
        """A batch as an array on the host."""
        return as_numbers(batch, f"{self._says} was given data.")

    def read_rows(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """An array that was given whole, as the batch it makes."""
        return array

    @property
    def _says(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def _learned(self) -> None:
        self._core.learned += 1

    def _batches(self, data: Any, steps: int | None, batch_size: int | None) -> Iterator[np.ndarray[Any, Any]]:
        asked = f"{self._says} adapts to data."
        for name, count in (("steps", steps), ("batch_size", batch_size)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                raise InputError(asked, received=f"{name}={count!r}", because="it is a positive integer, or None")
        if _is_whole(data):
            array = self.read_rows(self.read(data))
            if batch_size is None:
                if steps is not None:
                    because = "an array is one batch unless batch_size says how many rows make one"
                    do = "Pass batch_size too, or the rows that are meant."
                    raise InputError(asked, received=f"an array and steps={steps}", because=because, do=do)
                yield from [array] if array.size else []
                return
            for start in range(0, len(array), batch_size)[:steps]:
                yield array[start : start + batch_size]
            return
        if isinstance(data, (str, bytes, Mapping)) or not hasattr(data, "__iter__"):
            received = f"a {type(data).__name__}"
            raise InputError(asked, received=received, because="it is neither an array nor batches", do="Pass a list.")
        if getattr(data, "num_batches", 0) is None and steps is None:
            because = "its num_batches is None: it has no end"
            raise InputError(asked, received=type(data).__name__, because=because, do="Say how many: steps=100.")
        if batch_size is not None:
            because = "its batches are made already"
            raise InputError(asked, received=f"batches and batch_size={batch_size}", because=because)
        for batch in itertools.islice(cast("Iterable[Any]", data), steps):
            x = _x_of(batch)
            if isinstance(x, Mapping):
                because = "a layer has one input"
                raise InputError(asked, received=f"a batch with the keys {sorted(x)}", because=because, do="Pick one.")
            yield self.read(x)


class OnHost(Layer):
    """A layer that computes on the host, on text or on numbers that no device array holds, when it is called eagerly.

    ``on_host`` takes what a person passes. Inside a model ``call`` runs, on device arrays, where the layer has one.
    """

    autocast = False

    def __init__(self, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.built = True  # it has no weights

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs), is_leaf=is_symbolic)
        if active_frame() is None and not any(is_symbolic(leaf) or isinstance(leaf, Tracer) for leaf in leaves):
            return self.on_host(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def on_host(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output for what a person passes."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        """Refuse: text does not enter a compiled program."""
        raise StateError(
            f"{type(self).__name__} {self.name!r} was called inside a model.",
            received="device arrays",
            because="it works on text, and a compiled program holds numbers only",
            do="Map it over the data first, x = layer(texts), and give x to the model.",
        )


def _is_whole(data: Any) -> bool:
    """Whether ``data`` is one array rather than batches."""
    if isinstance(data, (list, tuple)):
        items = cast("list[Any]", data)
        return not items or not any(hasattr(item, "shape") and len(item.shape) for item in items)
    return (hasattr(data, "shape") and hasattr(data, "dtype")) or hasattr(data, "to_numpy")


def _x_of(batch: Any) -> Any:
    """The inputs of a batch: of a tuple of arrays, or of arrays and None, the first."""
    if isinstance(batch, tuple) and batch and not isinstance(batch[0], (str, bytes, int, float)):
        return cast("tuple[Any, ...]", batch)[0]
    return batch


def as_text(value: Any, encoding: str, asked: str) -> np.ndarray[Any, Any]:
    """Strings, bytes, or lists and arrays of them as an array of Python strings.

    Raises:
        InputError: Something that is no text, or no text in the encoding.

    >>> as_text([b"a", "b"], "utf-8", "A layer was called.")
    array(['a', 'b'], dtype=object)
    """
    array = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value, dtype=object)
    flat = array.reshape(-1)
    out = np.empty(flat.shape, object)
    for i, item in enumerate(flat):
        if isinstance(item, bytes):
            try:
                out[i] = item.decode(encoding)
            except UnicodeDecodeError as error:
                received = f"{item[:60]!r}"
                do = "Pass the encoding of the bytes, encoding='latin-1', or strings."
                raise InputError(asked, received=received, because=f"it is no {encoding} ({error})", do=do) from None
        elif isinstance(item, str):
            out[i] = str(item)
        elif isinstance(item, (list, tuple, np.ndarray)):
            because, do = "its rows are of unequal length", "Pad them with '' to one length."
            raise ShapeError(asked, received=f"a row of {len(cast('Any', item))}", because=because, do=do)
        else:
            received = f"{item!r} of type {type(item).__name__}"
            raise InputError(asked, received=received, because="it is not text", do="Pass strings: str(value).")
    return out.reshape(array.shape)


def as_numbers(value: Any, asked: str) -> np.ndarray[Any, Any]:
    """Numbers, or lists and arrays of them, as an array.

    >>> as_numbers([[1, 2], [3, 4]], "A layer was called.").shape
    (2, 2)
    """
    try:
        array = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
    except (ValueError, TypeError):
        because, do = "its rows are of unequal length", "Pad them to one length: verax.utils.pad_sequences."
        raise ShapeError(asked, received=f"a {type(value).__name__}", because=because, do=do) from None
    if array.dtype.kind in "OUSTmMc":
        do = "Numbers are needed; StringLookup, TextVectorization and Hashing take text."
        raise DtypeError(asked, received=f"dtype {array.dtype}", because="it holds no numbers", do=do)
    return array


def encoding_mode(value: str, layer: str, modes: tuple[str, ...]) -> str:
    """An ``output_mode`` checked; Keras' old names are known."""
    mode = {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(value, value)
    if mode not in modes:
        raise UnknownNameError.among(f"output_mode of {layer}", value, modes)
    return mode


def refuse_sparse(sparse: bool, layer: str, argument: str = "sparse") -> None:
    """Arrays are dense."""
    if sparse:
        because = "layers return dense arrays"
        raise InputError(f"{layer} was made.", received=f"{argument}=True", because=because, do="Leave it out.")

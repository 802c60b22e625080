"""Text and whole numbers put into bins by a hash, without a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DtypeError, InputError, ShapeError
from verax.layers.adapting import OnHost, as_text, encoding_mode, refuse_sparse
from verax.layers.base import LayerArguments, layer_registry
from verax.layers.categorical import encode, encode_on_host
from verax.ops.fingerprints import chain, farm, sip

__all__ = ["HashedCrossing", "Hashing", "bins_of", "salt_of"]

Array = np.ndarray[Any, Any]


def bins_of(strings: Sequence[bytes], bins: int, salt: Sequence[int] | None) -> Array:
    """The bin of each string, int64 (n,): FarmHash, or SipHash with a salt."""
    hashed = farm(strings) if salt is None else sip(strings, salt)
    return (hashed % np.uint64(bins)).astype(np.int64)


def salt_of(salt: Any, layer: str) -> list[int] | None:
    """A salt as the two numbers that SipHash takes."""
    if salt is None:
        return None
    pair = [salt, salt] if isinstance(salt, int) and not isinstance(salt, bool) else salt
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or any(not isinstance(s, int) for s in pair):
        because = "a salt is an integer, or two of them"
        raise InputError(f"{layer} was made.", received=f"salt={salt!r}", because=because)
    return list(cast("list[int]", pair))


def _column(values: Any, layer: OnHost) -> Array:
    """Text as an array of Python strings, numbers as they are."""
    if hasattr(values, "shape") and np.asarray(values).dtype.kind in "iufb":
        return np.asarray(values)
    array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
    if array.dtype.kind in "iufb":
        return array
    return as_text(array, "utf-8", f"{type(layer).__name__} {layer.name!r} was called.")


def _bytes(flat: Array) -> list[bytes]:
    """What is hashed: text in UTF-8, whole numbers in decimal, fractions cut off."""
    if flat.dtype == object:
        return [text.encode() for text in flat]
    if flat.dtype.kind == "b":
        return [b"true" if value else b"false" for value in flat]
    return [b"%d" % value for value in flat.astype(np.int64).tolist()]


class _Hashing(OnHost):
    """The number of bins, and how they are returned."""

    def __init__(self, num_bins: int, output_mode: str, modes: tuple[str, ...], sparse: bool, **kwargs: Any):
        super().__init__(**kwargs)
        layer = type(self).__name__
        if isinstance(num_bins, bool) or not isinstance(num_bins, int) or num_bins < 1:
            because = "the number of bins is a positive integer"
            raise InputError(f"{layer} was made.", received=f"num_bins={num_bins!r}", because=because)
        refuse_sparse(sparse, layer)
        self.num_bins = num_bins
        self.output_mode = encoding_mode(output_mode, layer, modes)
        given = kwargs.get("dtype")
        if self.output_mode == "int" and given is not None and "int" not in self.compute_dtype:
            because = "output_mode='int' returns whole numbers"
            raise DtypeError(f"{layer} was made.", received=f"dtype={given!r}", because=because, do="Leave it out.")

    def bins(self, *columns: Array) -> Array:
        """The bin of each value, int32 in the shape of a column."""
        raise NotImplementedError

    def _in_model(self, columns: Sequence[jax.Array]) -> jax.Array:
        for column in columns:
            if not jnp.issubdtype(column.dtype, jnp.integer):
                columns = [c.astype(jnp.int32) for c in columns]
        # Elements are hashed one by one: any axis may be a batch.
        spec = jax.ShapeDtypeStruct(columns[0].shape, jnp.int32)
        indices = jax.pure_callback(self._called_back, spec, *columns, vmap_method="broadcast_all")
        return encode(indices, self.output_mode, self.num_bins, self.compute_dtype)

    def _called_back(self, *columns: Any) -> Array:
        return self.bins(*(np.asarray(c) for c in columns))


@layer_registry.add
class Hashing(_Hashing):
    """Text or whole numbers as the number of a bin: ``hash(x) mod num_bins``.

    The hash is FarmHash64, or SipHash64 with a salt, of the text in UTF-8 or the number in decimal: the bins are those
    of Keras and TensorFlow, on every machine. Text is hashed when the layer is called eagerly; inside a model it takes
    whole numbers, which are hashed on the host.

    Args:
        num_bins: How many bins.
        mask_value: This value goes into bin 0, and no other does.
        salt: An integer or two: another one hashes otherwise.
        output_mode: ``"int"`` (int32, the input's shape), ``"one_hot"``, ``"multi_hot"`` or ``"count"``, as in
            ``CategoryEncoding``.
        sparse: Keras' argument; arrays are dense.

    >>> Hashing(3)(np.array([["A"], ["B"], ["C"], ["D"], ["E"]])).tolist()
    [[1], [0], [1], [1], [2]]
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(num_bins, output_mode, ("int", "one_hot", "multi_hot", "count"), sparse, **kwargs)
        self.mask_value = mask_value
        self.salt = salt_of(salt, "Hashing")

    def on_host(self, inputs: Any) -> jax.Array:
        """The bins of text or numbers."""
        return encode_on_host(self.bins(_column(inputs, self)), self.output_mode, self.num_bins, self.compute_dtype)

    def call(self, inputs: jax.Array) -> jax.Array:
        """The bins of ``inputs``, whole numbers."""
        return self._in_model([inputs])

    def bins(self, *columns: Array) -> Array:
        """The bin of each value."""
        values = columns[0]
        flat = values.reshape(-1)
        masks = self.mask_value is not None and self.num_bins > 1
        found = bins_of(_bytes(flat), self.num_bins - masks, self.salt)
        if masks:
            found = np.where(flat == self.mask_value, 0, found + 1)
        return found.astype(np.int32).reshape(values.shape)


@layer_registry.add
class HashedCrossing(_Hashing):
    """Combinations of two or more columns as the number of a bin.

    The columns' values, text by its FarmHash64 and whole numbers as they are, are joined one after the other as
    TensorFlow's ``sparse.cross_hashed`` does: the bins are those of Keras. Text is hashed when the layer is called
    eagerly; inside a model it takes whole numbers.

    Args:
        num_bins: How many bins.
        output_mode: ``"int"`` (int32, the columns' shape) or ``"one_hot"``.
        sparse: Keras' argument; arrays are dense.

    Input: a list of columns of one shape, (rows,), (rows, 1) or ().

    >>> HashedCrossing(1000)((np.array(["A", "B"]), np.array([101, 101]))).tolist()
    [891, 754]
    """

    def __init__(self, num_bins: int, output_mode: str = "int", sparse: bool = False, **kwargs: Unpack[LayerArguments]):
        super().__init__(num_bins, output_mode, ("int", "one_hot"), sparse, **kwargs)

    def on_host(self, inputs: Any) -> jax.Array:
        """The bins of columns of text or numbers."""
        columns = [_column(column, self) for column in self._columns(inputs)]
        return encode_on_host(self.bins(*columns), self.output_mode, self.num_bins, self.compute_dtype)

    def call(self, inputs: Any) -> jax.Array:
        """The bins of ``inputs``, columns of whole numbers."""
        columns = list(self._columns(inputs))
        self._check(columns)
        return self._in_model(columns)

    def bins(self, *columns: Array) -> Array:
        """The bin of each row."""
        self._check(columns)
        parts = [self._numbers(column.reshape(-1)) for column in columns]
        found = chain(parts) % np.uint64(self.num_bins)
        return found.astype(np.int32).reshape(columns[0].shape)

    def _numbers(self, flat: Array) -> Array:
        if flat.dtype == object:
            return farm(_bytes(flat))
        if flat.dtype.kind not in "iub":
            because = "columns are text or whole numbers"
            raise DtypeError(f"HashedCrossing {self.name!r} was called.", received=str(flat.dtype), because=because)
        return flat.astype(np.int64).view(np.uint64)

    def _columns(self, inputs: Any) -> Sequence[Any]:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            because = "it crosses two columns or more"
            raise InputError(
                f"HashedCrossing {self.name!r} was called.",
                received=type(inputs).__name__,
                because=because,
                do="Pass a list of columns.",
            )
        return cast("Sequence[Any]", inputs)

    def _check(self, columns: Sequence[Any]) -> None:
        shapes = [tuple(column.shape) for column in columns]
        if len(set(shapes)) > 1 or len(shapes[0]) > 2 or (len(shapes[0]) == 2 and shapes[0][1] != 1):
            because = "columns have one shape, (rows,), (rows, 1) or ()"
            raise ShapeError(
                f"HashedCrossing {self.name!r} was called.", received=f"columns of shapes {shapes}", because=because
            )

"""Whole numbers as features: one-hot, multi-hot and counts; and numbers put into bins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import DataError, InputError, StateError
from verax.layers.adapting import Adapting, encoding_mode, refuse_sparse
from verax.layers.base import Layer, LayerArguments, layer_registry

__all__ = ["CategoryEncoding", "Discretization", "encode", "encode_on_host"]

_MODES = ("one_hot", "multi_hot", "count")


def encode(indices: jax.Array, mode: str, depth: int, dtype: Any, weights: jax.Array | None = None) -> jax.Array:
    """Whole numbers as features; numbers outside of 0 to ``depth - 1`` count nowhere.

    Args:
        indices: int (..., values).
        mode: ``"int"`` (as they are), ``"one_hot"``: (..., values, depth), or (..., depth) where values is 1;
            ``"multi_hot"`` and ``"count"``: (..., depth).
        depth: How many different numbers there are.
        dtype: Of the features.
        weights: (..., values), what each value counts for ``"count"``.
    """
    if mode == "int":
        return indices.astype(jnp.int32)
    indices = indices.astype(jnp.int32)
    if mode == "one_hot":
        if indices.ndim > 1 and indices.shape[-1] == 1:
            indices = indices[..., 0]
        return jax.nn.one_hot(indices, depth, dtype=dtype)
    values = indices.reshape(-1, indices.shape[-1]) if indices.ndim else indices.reshape(1, 1)
    values = jnp.where(values < 0, depth, values)  # an index below 0 would count from the end
    rows = jnp.arange(values.shape[0])[:, None]
    place = jnp.zeros((values.shape[0], depth), dtype).at[rows, values]
    if mode == "multi_hot":
        out = place.set(jnp.ones(values.shape, dtype), mode="drop")
    else:
        each = jnp.ones(values.shape, dtype) if weights is None else weights.reshape(values.shape).astype(dtype)
        out = place.add(each, mode="drop")
    return out.reshape(*indices.shape[:-1], depth)


def encode_on_host(indices: np.ndarray[Any, Any], mode: str, depth: int, dtype: Any) -> jax.Array:
    """``encode`` of an array on the host, without a program for every shape."""
    if mode == "int":
        return jnp.asarray(indices, "int32")
    shape = indices.shape
    if mode == "one_hot":
        shape = shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape
        flat = indices.reshape(-1, 1)
    else:
        flat = indices.reshape(-1, shape[-1] if shape else 1)
        shape = shape[:-1]
    inside = (flat >= 0) & (flat < depth)
    cells = (np.arange(len(flat))[:, None] * depth + flat)[inside]
    counts = np.bincount(cells, minlength=len(flat) * depth).reshape(*shape, depth)
    return jnp.asarray(np.minimum(counts, 1) if mode == "multi_hot" else counts, dtype)


@layer_registry.add
class CategoryEncoding(Layer):
    """Class numbers as features: ``out[..., c]`` says whether, or how often, the class c occurs.

    Input: whole numbers from 0 to ``num_tokens - 1``, (rows,) or (rows, values); others count nowhere.

    Args:
        num_tokens: How many classes there are.
        output_mode: ``"multi_hot"``: (rows, num_tokens), 1 where a class occurs in the row; ``"count"``: how often, or
            the sum of ``count_weights``, given to the call in the shape of the input; ``"one_hot"``: each value by
            itself, (rows, values, num_tokens), or (rows, num_tokens) for one value a row.
        sparse: Keras' argument; arrays are dense.

    Differs from Keras: inputs of more than two axes are encoded along the last axis, as documented there.

    >>> CategoryEncoding(4, output_mode="count")(np.array([[0, 1], [2, 2]])).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]
    """

    autocast = False

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        self.output_mode = encoding_mode(output_mode, "CategoryEncoding", _MODES)
        if num_tokens is None or isinstance(num_tokens, bool) or num_tokens < 1:
            because = "the number of classes is a positive integer"
            do = "Pass num_tokens; IntegerLookup finds out which numbers there are (adapt)."
            raise InputError(
                "CategoryEncoding was made.", received=f"num_tokens={num_tokens!r}", because=because, do=do
            )
        refuse_sparse(sparse, "CategoryEncoding")
        self.num_tokens = num_tokens

    def call(self, inputs: jax.Array, count_weights: jax.Array | None = None) -> jax.Array:
        """Encode ``inputs``; ``count_weights``, of the same shape, say what each value counts."""
        if count_weights is not None:
            asked = f"CategoryEncoding {self.name!r} was called."
            if self.output_mode != "count":
                received = f"count_weights with output_mode={self.output_mode!r}"
                raise InputError(asked, received=received, because="only output_mode='count' adds weights up")
            if count_weights.shape != inputs.shape:
                received = f"count_weights of shape {count_weights.shape}, inputs of shape {inputs.shape}"
                raise InputError(asked, received=received, because="each value has a weight of its own")
        return encode(inputs, self.output_mode, self.num_tokens, self.compute_dtype, count_weights)


@layer_registry.add
class Discretization(Adapting):
    """Numbers as the number of their bin: bin i holds ``boundaries[i - 1] <= x < boundaries[i]``.

    Args:
        bin_boundaries: Ascending numbers: n of them make n + 1 bins.
        num_bins: How many bins ``adapt`` is to make, of about equally many values each.
        epsilon: ``adapt`` keeps about 1 / epsilon values to find the boundaries by.
        output_mode: ``"int"`` (int32, the input's shape), ``"one_hot"``, ``"multi_hot"`` or ``"count"``, as in
            ``CategoryEncoding``.
        sparse: Keras' argument; arrays are dense.

    Source: the summary of a batch is every (rows * epsilon)-th value in order; summaries are merged and thinned by
    interpolation between their cumulative weights, as Keras does.

    >>> layer = Discretization(num_bins=4)
    >>> layer.adapt(np.arange(8.0))
    >>> layer.bin_boundaries, layer(np.array([0.5, 3.0, 9.0])).tolist()
    ([1.0, 3.0, 5.0], [0, 2, 3])
    """

    autocast = False

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        asked = "Discretization was made."
        self.output_mode = encoding_mode(output_mode, "Discretization", ("int", *_MODES))
        refuse_sparse(sparse, "Discretization")
        if (num_bins is None) == (bin_boundaries is None):
            received = f"bin_boundaries={bin_boundaries!r}, num_bins={num_bins!r}"
            because = "the bins are given, or their number for adapt"
            raise InputError(asked, received=received, because=because, do="Pass one of the two.")
        if num_bins is not None and (isinstance(num_bins, bool) or not isinstance(num_bins, int) or num_bins < 1):
            raise InputError(asked, received=f"num_bins={num_bins!r}", because="there is at least one bin")
        if not 0 < epsilon < 1:
            because = "it is the fraction of values that one kept value stands for"
            raise InputError(asked, received=f"epsilon={epsilon!r}", because=because, do="Pass 0.01.")
        self.num_bins = num_bins
        self.epsilon = epsilon
        self._boundaries = None if bin_boundaries is None else _ascending(bin_boundaries)
        self._summary = np.zeros((2, 0), np.float32)

    @property
    def bin_boundaries(self) -> list[float] | None:
        """The boundaries, given or learned."""
        return None if self._boundaries is None else self._boundaries.tolist()

    def call(self, inputs: jax.Array) -> jax.Array:
        """The bins of ``inputs``."""
        if self._boundaries is None:
            raise StateError(
                f"{self._says} was called.",
                because="it has no bins yet",
                do="Call layer.adapt(data) first, or make it with bin_boundaries.",
            )
        edges = jnp.asarray(self._boundaries, "float32")
        indices = jnp.searchsorted(edges, inputs.astype("float32"), side="right")
        return encode(indices, self.output_mode, len(edges) + 1, self.compute_dtype)

    def reset_state(self) -> None:
        """Forget what was counted since the last ``finalize_state``."""
        if self.num_bins is None:
            raise InputError(
                f"{self._says} adapts to data.",
                received=f"bin_boundaries={self.bin_boundaries}",
                because="its bins were given",
                do="Make it with num_bins instead.",
            )
        self._summary = np.zeros((2, 0), np.float32)

    def update_state(self, data: Any) -> None:
        """Add the values of one batch to the summary."""
        values = np.sort(np.asarray(data, np.float32).reshape(-1))
        if len(values) and np.isnan(values[-1]):
            raise DataError(f"{self._says} adapts to data.", received="NaN", because="it lies in no bin", do="Drop it.")
        every = max(len(values) * self.epsilon, 1.0)
        kept = values[int(every - 1) :: int(every)]
        merged = np.concatenate([np.stack([kept, np.full_like(kept, every)]), self._summary], axis=1)
        self._summary = _thin(merged[:, np.argsort(merged[0])], self.epsilon)

    def finalize_state(self) -> None:
        """Cut the summary into bins of equal weight."""
        if self.num_bins is None:
            return
        self._boundaries = _thin(self._summary, 1.0 / self.num_bins)[0, :-1].astype(np.float64)
        self._learned()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the boundaries that were learned."""
        return {**super().get_config(), "bin_boundaries": self.bin_boundaries}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """A new layer with the arguments and the boundaries that ``get_config`` gave."""
        known = dict(config)
        boundaries = known.pop("bin_boundaries", None) if known.get("num_bins") is not None else None
        layer = cast("Discretization", super().from_config(known))
        if boundaries is not None:
            layer._boundaries = _ascending(boundaries)
        return layer


def _ascending(boundaries: Any) -> np.ndarray[Any, Any]:
    edges = np.asarray(boundaries, np.float64)
    if edges.ndim != 1 or not np.isfinite(edges).all() or (np.diff(edges) < 0).any():
        because = "boundaries are finite numbers in ascending order"
        raise InputError("Discretization was made.", received=f"bin_boundaries={boundaries!r}", because=because)
    return edges


def _thin(summary: np.ndarray[Any, Any], epsilon: float) -> np.ndarray[Any, Any]:
    """A summary (values, weights) in ascending order cut down to 1 / epsilon values."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    total = summary[1].cumsum()
    at = total / total[-1]
    values, weights = np.interp(shares, at, summary[0]), np.interp(shares, at, total)
    return np.stack([values, np.diff(weights, prepend=0)]).astype(np.float32)

"""``Layer`` with the rooms it draws parts from, and the registry of all layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import jax
import numpy as np

from verax import constraints, initializers, regularizers
from verax.errors import DtypeError, InputError
from verax.frame.layer import InputSpec, Layer, parts
from verax.frame.policy import floatx, is_float
from verax.frame.registry import Registry
from verax.frame.settings import standard_data_format
from verax.frame.symbolic import Node, SymbolicTensor
from verax.frame.variable import Variable

__all__ = [
    "Input",
    "InputLayer",
    "InputSpec",
    "Layer",
    "LayerArguments",
    "add_part",
    "along_axis",
    "as_float",
    "check_rate",
    "check_seed",
    "each_axis",
    "given",
    "image_format",
    "keep_parts",
    "layer_registry",
]

parts.update(initializer=initializers.get, regularizer=regularizers.get, constraint=constraints.get)

layer_registry = Registry("layer")


class LayerArguments(TypedDict, total=False):
    """What every layer's constructor takes besides its own arguments: see ``Layer``."""

    name: str | None
    trainable: bool
    dtype: Any
    input_shape: tuple[int | None, ...] | None
    remat: bool | None


def given(scope: Mapping[str, Any]) -> dict[str, Any]:
    """A constructor's arguments by their names, from its ``locals()``: so it hands them on whole.

    A constructor that only says names and defaults is ``super().__init__(**given(locals()))``.
    """
    named = {name: value for name, value in scope.items() if name not in ("self", "__class__", "kwargs")}
    return {**named, **scope["kwargs"]}


def keep_parts(layer: Layer, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the initializers, regularizers and constraints among ``arguments`` as attributes; what is left of them."""
    left: dict[str, Any] = {}
    for name, value in arguments.items():
        kind = name.rpartition("_")[2]
        if kind in parts and name != "activity_regularizer":
            setattr(layer, name, parts[kind](value))
        else:
            left[name] = value
    return left


def add_part(layer: Layer, name: str, shape: tuple[int | None, ...], of: str = "", **further: Any) -> Variable:
    """A weight with the parts that were kept for it as ``<of>_initializer`` and so on; ``of`` is ``name`` if empty."""
    kept = {kind: getattr(layer, f"{of or name}_{kind}", None) for kind in parts}
    return layer.add_weight(shape, name=name, **kept, **further)


def as_float(layer: Layer, x: jax.Array) -> jax.Array:
    """``x`` in the dtype the layer computes in, where it holds integers (images, counts) or booleans."""
    return x if is_float(x.dtype) else x.astype(layer.compute_dtype)


def along_axis(vector: jax.Array, ndim: int, axis: int) -> jax.Array:
    """A vector as an array of rank ``ndim`` along one axis: what a bias is added as."""
    shape = [1] * ndim
    shape[axis] = -1
    return vector.reshape(shape)


def each_axis(value: int | tuple[int, ...], rank: int, argument: str) -> tuple[int, ...]:
    """One positive number for each of ``rank`` axes, from one number or as many.

    >>> each_axis(3, 2, "kernel_size"), each_axis((2, 1), 2, "strides")
    ((3, 3), (2, 1))
    """
    several = tuple(value) if isinstance(value, (list, tuple)) else ()
    numbers: tuple[Any, ...] = (value,) * rank if isinstance(value, (int, np.integer)) else several
    if len(numbers) != rank or any(not isinstance(n, (int, np.integer)) or n < 1 for n in numbers):
        raise InputError(
            f"{argument} was given.", received=repr(value), because=f"it is one positive integer, or {rank} of them"
        )
    return tuple(int(n) for n in numbers)


def image_format(value: str | None) -> str:
    """A ``data_format`` checked: where the channels stand; the global setting when None."""
    return standard_data_format(value)


def check_rate(rate: float, argument: str = "rate") -> float:
    """The probability of dropping, checked."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        raise InputError(f"{argument} was given.", received=repr(rate), because="a probability lies between 0 and 1")
    return float(rate)


def check_seed(layer: Layer, seed: int | None) -> int | None:
    """The seed of a layer that draws, checked."""
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise InputError(f"{type(layer).__name__} was made.", received=f"seed={seed!r}", because="a seed is an int")
    return seed


@layer_registry.add
class InputLayer(Layer):
    """Where data enters a functional model; ``Input`` makes one.

    Args:
        shape: The shape of one row, None for an unknown size.
        batch_size: The number of rows, when it is fixed.
        dtype: The dtype inputs are cast to.
        batch_shape: The whole shape, batch axis included, instead of ``shape`` and ``batch_size``.
        name: The name by which a dict of inputs is matched.
    """

    def __init__(
        self,
        shape: tuple[int | None, ...] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: tuple[int | None, ...] | None = None,
        name: str | None = None,
    ):
        if dtype is str or dtype in ("string", "str"):
            raise DtypeError(
                "An Input was made.",
                received=f"dtype={dtype!r}",
                because="a compiled program holds numbers only",
                do="Make numbers of texts before the model, x = layer(texts), and declare what the layer returns: "
                "Input(x.shape[1:], dtype=x.dtype).",
            )
        super().__init__(name=name, dtype=dtype or floatx())
        if batch_shape is None:
            batch_shape = (batch_size, *(shape or ()))
        self.batch_shape = tuple(batch_shape)
        self.built = True
        self.output = SymbolicTensor(self.batch_shape, self.compute_dtype, Node(self, (), {}))

    def call(self, x: Any) -> Any:
        """Return the input."""
        return x

    def get_config(self) -> dict[str, Any]:
        """The whole shape, the dtype and the name."""
        return {"batch_shape": self.batch_shape, "dtype": self.compute_dtype, "name": self.name}


def Input(  # noqa: N802 (Keras' name)
    shape: tuple[int | None, ...] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    batch_shape: tuple[int | None, ...] | None = None,
    name: str | None = None,
) -> SymbolicTensor:
    """A symbolic tensor where data enters a functional model.

    Args:
        shape: The shape of one row, without the batch axis; None for an unknown size.
        batch_size, dtype, batch_shape, name: As in ``InputLayer``.

    >>> Input((8, 8, 1), name="image")
    <SymbolicTensor 'image', shape (None, 8, 8, 1), float32>
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, name).output

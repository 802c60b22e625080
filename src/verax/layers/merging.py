"""Layers, and functions of the same names, that make one array of several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from verax.errors import InputError, ShapeError
from verax.layers.base import Layer, LayerArguments, as_float, layer_registry

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


class _Merge(Layer):
    """An elementwise function of several arrays of one shape.

    Axes of size 1 stretch; an array of lower rank gets axes of size 1 after the batch axis, as in Keras. The mask is
    the union of the masks, where all inputs have one.
    """

    supports_masking = True

    def call(self, inputs: Sequence[jax.Array]) -> jax.Array:
        """Merge ``inputs``, a list of arrays."""
        inputs = _listed(self, inputs)
        rank = max(x.ndim for x in inputs)
        same = [x.reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:]) for x in inputs]
        for axis, sizes in enumerate(zip(*(x.shape for x in same), strict=True)):
            if len(set(sizes) - {1}) > 1 or (axis == 0 and len(set(sizes)) > 1):
                raise ShapeError(
                    f"{type(self).__name__} {self.name!r} was called.",
                    received=f"inputs of shapes {[tuple(x.shape) for x in inputs]}",
                    because=f"axis {axis} has the sizes {list(sizes)}",
                    do="Merge arrays of one shape.",
                )
        return self.merge(_one_dtype(self, same))

    def merge(self, inputs: list[jax.Array]) -> jax.Array:
        """The function of arrays of equal rank."""
        raise NotImplementedError

    def compute_mask(self, inputs: Any, mask: Any = None) -> jax.Array | None:
        """The union of the masks; None where an input has none."""
        if mask is None or any(m is None for m in mask):
            return None
        return functools.reduce(jnp.logical_or, mask)


def _listed(layer: Layer, inputs: Any) -> list[jax.Array]:
    if not isinstance(inputs, (list, tuple)) or not inputs:
        shape = getattr(inputs, "shape", None)
        raise InputError(
            f"{type(layer).__name__} {layer.name!r} was called.",
            received=f"{type(inputs).__name__}" + ("" if shape is None else f" of shape {tuple(shape)}"),
            because="it merges a list of arrays",
            do="Call it as layer([a, b]).",
        )
    return list(inputs)


def _one_dtype(layer: Layer, inputs: list[jax.Array]) -> list[jax.Array]:
    # Floats come in the compute dtype already; integers join them where both occur.
    if len({x.dtype for x in inputs}) > 1:
        inputs = [as_float(layer, x) for x in inputs]
    return inputs


@layer_registry.add
class Add(_Merge):
    """The sum of its inputs.

    >>> Add()([jnp.array([[1.0]]), jnp.array([[2.0]])]).tolist()
    [[3.0]]
    """

    def merge(self, inputs: list[jax.Array]) -> jax.Array:
        """The sum."""
        return functools.reduce(jnp.add, inputs)


@layer_registry.add
class Subtract(_Merge):
    """The first input minus the second.

    >>> Subtract()([jnp.array([[1.0]]), jnp.array([[2.0]])]).tolist()
    [[-1.0]]
    """

    def merge(self, inputs: list[jax.Array]) -> jax.Array:
        """The difference."""
        if len(inputs) != 2:
            received = f"{len(inputs)} inputs"
            raise InputError(f"Subtract {self.name!r} was called.", received=received, because="it takes exactly two")
        return inputs[0] - inputs[1]


@layer_registry.add
class Multiply(_Merge):
    """The elementwise product of its inputs."""

    def merge(self, inputs: list[jax.Array]) -> jax.Array:
        """The product."""
        return functools.reduce(jnp.multiply, inputs)

    def call(self, inputs: Sequence[jax.Array], mask: Any = None) -> jax.Array:
        """The product; where an input is masked, it counts as 1, and where all are, the product is 0."""
        if mask is None:
            return super().call(inputs)
        inputs = _listed(self, inputs)
        kept = [x if m is None else _where(m, x, 1) for x, m in zip(inputs, mask, strict=True)]
        product = super().call(kept)
        some = self.compute_mask(inputs, mask)
        return product if some is None else _where(some, product, 0)


def _where(mask: jax.Array, x: jax.Array, other: float) -> jax.Array:
    keep = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)).astype(bool)
    return jnp.where(keep, x, jnp.full_like(x, other))


@layer_registry.add
class Average(_Merge):
    """The elementwise mean of its inputs."""

    def merge(self, inputs: list[jax.Array]) -> jax.Array:
        """The mean."""
        return functools.reduce(jnp.add, [as_float(self, x) for x in inputs]) / len(inputs)


@layer_registry.add
class Maximum(_Merge):
    """The elementwise maximum of its inputs."""

    def merge(self, inputs: list[jax.Array]) -> jax.Array:
        """The maximum."""
        return functools.reduce(jnp.maximum, inputs)


@layer_registry.add
class Minimum(_Merge):
    """The elementwise minimum of its inputs."""

    def merge(self, inputs: list[jax.Array]) -> jax.Array:
        """The minimum."""
        return functools.reduce(jnp.minimum, inputs)


@layer_registry.add
class Concatenate(Layer):
    """Its inputs side by side along an axis; all other axes agree.

    Args:
        axis: The axis.

    >>> Concatenate()([jnp.zeros((2, 3)), jnp.zeros((2, 4))]).shape
    (2, 7)
    """

    supports_masking = True

    def __init__(self, axis: int = -1, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Sequence[jax.Array]) -> jax.Array:
        """Concatenate ``inputs``, a list of arrays."""
        inputs = _listed(self, inputs)
        shapes = [tuple(x.shape) for x in inputs]
        rank = len(shapes[0])
        fits = all(len(s) == rank for s in shapes) and -rank <= self.axis < rank
        if fits:
            others = [s[: self.axis % rank] + s[self.axis % rank + 1 :] for s in shapes]
            fits = len(set(others)) == 1
        if not fits:
            raise ShapeError(
                f"Concatenate {self.name!r} was called.",
                received=f"inputs of shapes {shapes}",
                because=f"all axes but axis {self.axis} must agree",
                do="Crop, pad or resize the inputs, or give another axis.",
            )
        return jnp.concatenate(_one_dtype(self, inputs), self.axis)

    def compute_mask(self, inputs: Any, mask: Any = None) -> jax.Array | None:
        """The masks side by side; where the axis is none of the mask's, a place counts if it does in any input."""
        if mask is None or all(m is None for m in mask):
            return None
        rank = inputs[0].ndim
        depth = max(m.ndim for m in mask if m is not None)
        masks = [jnp.ones(x.shape[:depth], bool) if m is None else m for x, m in zip(inputs, mask, strict=True)]
        if self.axis % rank < depth:
            return jnp.concatenate(masks, self.axis % rank)
        return functools.reduce(jnp.logical_or, masks)


@layer_registry.add
class Dot(Layer):
    """The dot product of two inputs along one axis of each, row by row.

    Args:
        axes: The axis, or one for each input (the batch axis is 0 and cannot be summed).
        normalize: Whether both are divided by their L2 norms first: the result is the cosine.

    >>> Dot(1)([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])]).tolist()
    [[11.0]]
    """

    def __init__(self, axes: int | tuple[int, int], normalize: bool = False, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        if not isinstance(axes, int) and (len(axes) != 2 or not all(isinstance(a, int) for a in axes)):
            raise InputError("Dot was made.", received=f"axes={axes!r}", because="it is an integer, or two")
        self.axes = axes if isinstance(axes, int) else tuple(axes)
        self.normalize = normalize

    def call(self, inputs: Sequence[jax.Array]) -> jax.Array:
        """The product of two arrays (batch, ...); axes other than batch and the summed ones stay, in order."""
        inputs = _one_dtype(self, _listed(self, inputs))
        if len(inputs) != 2:
            received = f"{len(inputs)} inputs"
            raise InputError(f"Dot {self.name!r} was called.", received=received, because="it takes exactly two")
        a, b = inputs
        axes = (self.axes,) * 2 if isinstance(self.axes, int) else self.axes
        i, j = axes[0] % a.ndim, axes[1] % b.ndim
        if i == 0 or j == 0 or a.shape[i] != b.shape[j]:
            raise ShapeError(
                f"Dot {self.name!r} was called.",
                received=f"inputs of shapes {tuple(a.shape)} and {tuple(b.shape)}",
                because=f"it sums over axes {axes}, which must have one size and not be the batch axis",
            )
        if self.normalize:
            a, b = _unit(a, i), _unit(b, j)
        product = lax.dot_general(a, b, (((i,), (j,)), ((0,), (0,))))
        return product[:, None] if product.ndim == 1 else product


def _unit(x: jax.Array, axis: int) -> jax.Array:
    return x * lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis, keepdims=True), 1e-12))


def _function(layer: Callable[..., Layer], name: str) -> Callable[..., Any]:
    def merge(inputs: Sequence[Any], *args: Any, **kwargs: Unpack[LayerArguments]) -> Any:
        return layer(*args, **kwargs)(inputs)

    merge.__name__ = merge.__qualname__ = name
    merge.__doc__ = f"``{layer.__name__}(...)(inputs)``."
    return merge


add = _function(Add, "add")
average = _function(Average, "average")
concatenate = _function(Concatenate, "concatenate")
dot = _function(Dot, "dot")
maximum = _function(Maximum, "maximum")
minimum = _function(Minimum, "minimum")
multiply = _function(Multiply, "multiply")
subtract = _function(Subtract, "subtract")

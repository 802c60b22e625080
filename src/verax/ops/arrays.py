"""Functions of arrays whose form in Keras differs from that in jax.numpy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.sparse import JAXSparse

from verax.errors import InputError, ShapeError, UnknownNameError
from verax.frame.policy import standard_dtype
from verax.frame.settings import epsilon, floatx

__all__ = [
    "bincount",
    "cast",
    "cdist",
    "convert_to_tensor",
    "divide_no_nan",
    "einsum",
    "get_item",
    "in_top_k",
    "matmul",
    "meshgrid",
    "normalize",
    "pad",
    "polar",
    "psnr",
    "rearrange",
    "round_",
    "saturate_cast",
    "scatter",
    "scatter_update",
    "slice_",
    "slice_update",
    "top_k",
    "unique",
    "unstack",
    "view",
    "view_as_complex",
    "view_as_real",
    "where",
]


def refuse_sparse(name: str, sparse: bool) -> None:
    """Refuse ``sparse=True``."""
    if sparse:
        raise InputError(
            f"ops.{name} was called.", received="sparse=True", because="its result is dense", do="Leave sparse out."
        )


def cast(x: Any, dtype: Any) -> jax.Array:
    """``x`` in another dtype."""
    return jnp.asarray(x).astype(standard_dtype(dtype))


def saturate_cast(x: Any, dtype: Any) -> jax.Array:
    """``x`` in another dtype, clipped to its range first."""
    x = jnp.asarray(x)
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        # The largest integers are no exact floats: compare with the nearest ones below.
        low, high = (np.asarray(n).astype(x.dtype) for n in (info.min, info.max))
        if jnp.issubdtype(x.dtype, jnp.floating) and float(high) > info.max:
            high = np.nextafter(high, np.asarray(0, x.dtype))
        x = jnp.clip(x, low, high)
    elif jnp.issubdtype(dtype, jnp.floating) and _largest(dtype) < _largest(x.dtype):
        ends = jnp.finfo(dtype)
        x = jnp.clip(x, float(ends.min), float(ends.max))
    return x.astype(dtype)


def _largest(dtype: Any) -> float:
    if jnp.issubdtype(dtype, jnp.bool_):
        return 1.0
    return float((jnp.finfo if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo)(dtype).max)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Any:
    """``x`` as an array; a sparse array of jax stays one unless ``sparse=False``."""
    if ragged:
        raise InputError("ops.convert_to_tensor was called.", received="ragged=True", because="jax has no such arrays")
    dtype = None if dtype is None else standard_dtype(dtype)
    if isinstance(x, JAXSparse):
        x = x.todense() if sparse is False else x
        return x if dtype is None else x.astype(dtype)
    if dtype == "bfloat16" and not isinstance(x, jax.Array):
        return jnp.asarray(x).astype(dtype)
    return jnp.asarray(x, dtype)


def divide_no_nan(x1: Any, x2: Any) -> jax.Array:
    """``x1 / x2``, 0 where ``x2`` is 0; the gradient is 0 there too."""
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    safe = jnp.where(x2 == 0, jnp.ones_like(x2), x2)
    quotient = x1 / safe
    return jnp.where(x2 == 0, jnp.zeros_like(quotient), quotient)


def get_item(x: Any, key: Any) -> jax.Array:
    """``x[key]``."""
    return jnp.asarray(x)[key]


def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """``x1`` where the condition holds and ``x2`` elsewhere; the indices of where it holds, given neither."""
    if x1 is None and x2 is None:
        return jnp.where(jnp.asarray(condition))
    return jnp.where(jnp.asarray(condition), _number_or_array(x1), _number_or_array(x2))


def _number_or_array(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, complex)) else jnp.asarray(value)


def round_(x: Any, decimals: int = 0) -> jax.Array:
    """``x`` rounded to so many decimals, half to even; to tens, hundreds ... where ``decimals`` is negative."""
    x = jnp.asarray(x)
    if decimals < 0 and jnp.issubdtype(x.dtype, jnp.integer):
        return jnp.round(x.astype(floatx()), decimals).astype(x.dtype)
    return jnp.round(x, decimals)


def matmul(x1: Any, x2: Any) -> jax.Array:
    """The product of matrices over the last two axes; of int8 ones in int32."""
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    return jnp.matmul(x1, x2, preferred_element_type="int32" if x1.dtype == x2.dtype == jnp.int8 else None)


def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> jax.Array:
    """Einstein's sum over operands; of int8 ones in int32."""
    arrays = [jnp.asarray(x) for x in operands]
    if all(x.dtype == jnp.int8 for x in arrays):
        kwargs = {"preferred_element_type": "int32", **kwargs}
    return jnp.einsum(subscripts, *arrays, **kwargs)


def meshgrid(*x: Any, indexing: str = "xy") -> list[jax.Array]:
    """Coordinates of a grid from those of its axes."""
    return jnp.meshgrid(*(jnp.asarray(v) for v in x), indexing=indexing)


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> jax.Array:
    """``x`` with elements before and after each axis."""
    x = jnp.asarray(x)
    if constant_values is None:
        return jnp.pad(x, pad_width, mode)
    if mode != "constant":
        raise InputError(
            "ops.pad was called.",
            received=f"constant_values={constant_values!r}, mode={mode!r}",
            because="only mode='constant' pads with a value",
        )
    return jnp.pad(x, pad_width, mode, constant_values=constant_values)


def scatter(indices: Any, values: Any, shape: Sequence[int]) -> jax.Array:
    """Zeros of ``shape``, with ``values`` added at ``indices`` (n, rank)."""
    indices, values = jnp.asarray(indices), jnp.asarray(values)
    return jnp.zeros(tuple(shape), values.dtype).at[tuple(jnp.moveaxis(indices, -1, 0))].add(values)


def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> jax.Array:
    """``inputs`` with ``updates`` at ``indices`` (n, rank).

    Args:
        inputs: What is updated.
        indices: Where, an index a row.
        updates: (n,) with what.
        reduction: None: updates replace what was there; ``"add"``, ``"max"``, ``"min"`` or ``"mul"``: they join it.
    """
    inputs, updates = jnp.asarray(inputs), jnp.asarray(updates)
    at = inputs.at[tuple(jnp.moveaxis(jnp.asarray(indices), -1, 0))]
    ways = {None: at.set, "add": at.add, "max": at.max, "min": at.min, "mul": at.multiply}
    if reduction not in ways:
        raise UnknownNameError.among("reduction", reduction, [way for way in ways if way])
    return ways[reduction](updates.astype(inputs.dtype))


def slice_(inputs: Any, start_indices: Sequence[Any], shape: Sequence[int]) -> jax.Array:
    """The block of ``shape`` that begins at ``start_indices``; a size of -1 goes to the end."""
    inputs = jnp.asarray(inputs)
    sizes = [
        n - start if size == -1 else size for n, start, size in zip(inputs.shape, start_indices, shape, strict=True)
    ]
    return lax.dynamic_slice(inputs, start_indices, sizes)


def slice_update(inputs: Any, start_indices: Sequence[Any], updates: Any) -> jax.Array:
    """``inputs`` with ``updates`` as the block that begins at ``start_indices``."""
    inputs = jnp.asarray(inputs)
    return lax.dynamic_update_slice(inputs, jnp.asarray(updates).astype(inputs.dtype), start_indices)


def top_k(x: Any, k: int, sorted: bool = True) -> tuple[jax.Array, jax.Array]:
    """The ``k`` largest values along the last axis and where they stand; in order, whether or not that is asked for."""
    values, indices = lax.top_k(jnp.asarray(x), k)
    return values, indices


def in_top_k(targets: Any, predictions: Any, k: int) -> jax.Array:
    """Whether each target (batch,) is among the ``k`` largest of (batch, classes); ties count, NaN counts least."""
    predictions = jnp.asarray(predictions)
    own = jnp.take_along_axis(predictions, jnp.asarray(targets)[..., None], axis=-1)
    if jnp.issubdtype(own.dtype, jnp.floating):
        own = jnp.where(jnp.isnan(own), jnp.full_like(own, -jnp.inf), own)
    return jnp.sum(predictions > own, axis=-1) < k


def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[jax.Array]:
    """The slices of ``x`` along an axis; ``num`` is how many there are, checked where it is given."""
    x = jnp.asarray(x)
    if num is not None and num != x.shape[axis]:
        raise ShapeError(
            f"ops.unstack(x, num={num}, axis={axis}) was called.",
            received=f"shape {x.shape}",
            because=f"axis {axis} has {x.shape[axis]} slices",
        )
    return list(jnp.unstack(x, axis=axis))


def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> jax.Array:
    """How often each number from 0 on occurs, or the sum of its weights; of each row, where ``x`` has two axes.

    The length depends on the values, so under jit ``minlength`` cannot stand in for it: use ``one_hot`` and ``sum``.
    """
    refuse_sparse("bincount", sparse)
    x = jnp.asarray(x)
    weights = None if weights is None else jnp.asarray(weights)
    if x.ndim < 2:
        return jnp.bincount(x, weights=weights, minlength=minlength)
    length = max(minlength, int(jnp.max(x, initial=-1)) + 1)
    rows = [
        jnp.bincount(row, weights=None if weights is None else weights[i], length=length) for i, row in enumerate(x)
    ]
    return jnp.stack(rows)


def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The different values of ``x``, as ``jnp.unique`` gives them; each NaN is different from the others."""
    return jnp.unique(
        jnp.asarray(x), return_index, return_inverse, return_counts, axis,
        equal_nan=False, size=size, fill_value=fill_value, sorted=sorted,
    )  # fmt: skip


def view(x: Any, dtype: Any = None) -> jax.Array:
    """The bytes of ``x`` read in another dtype; the last axis shrinks or grows with the size of an element."""
    return jnp.asarray(x).view(dtype)


def view_as_complex(x: Any) -> jax.Array:
    """Real and imaginary parts (..., 2) as complex numbers (...)."""
    x = jnp.asarray(x)
    if x.ndim < 1 or x.shape[-1] != 2:
        raise ShapeError("ops.view_as_complex was called.", received=f"shape {x.shape}", because="the last axis is 2")
    return lax.complex(x[..., 0], x[..., 1])


def view_as_real(x: Any) -> jax.Array:
    """Complex numbers (...) as real and imaginary parts (..., 2)."""
    x = jnp.asarray(x)
    return jnp.stack([jnp.real(x), jnp.imag(x)], axis=-1)


def polar(abs_: Any, angle: Any) -> jax.Array:
    """abs · (cos angle + i sin angle)."""
    abs_, angle = jnp.asarray(abs_), jnp.asarray(angle)
    return lax.complex(abs_ * jnp.cos(angle), abs_ * jnp.sin(angle))


def psnr(x1: Any, x2: Any, max_val: Any) -> jax.Array:
    """The peak signal-to-noise ratio in decibels: 20 log₁₀ max − 10 log₁₀ mean((x1 − x2)²)."""
    x1, x2 = jnp.asarray(x1), jnp.asarray(x2)
    if x1.shape != x2.shape:
        raise ShapeError("ops.psnr was called.", received=f"shapes {x1.shape} and {x2.shape}", because="they differ")
    peak = jnp.asarray(max_val, x2.dtype)
    return 20 * jnp.log10(peak) - 10 * jnp.log10(jnp.mean(jnp.square(x1 - x2)))


def cdist(x: Any, y: Any) -> jax.Array:
    """The Euclidean distances (..., n, m) between points x (..., n, d) and y (..., m, d).

    Differs from Keras: the gradient of a distance of 0 is 0, where it is NaN there.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    if min(x.ndim, y.ndim) < 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(
            "ops.cdist was called.",
            received=f"shapes {x.shape} and {y.shape}",
            because="they are (..., n, d) and (..., m, d) of the same d",
        )
    square = jnp.sum(jnp.square(x[..., :, None, :] - y[..., None, :, :]), axis=-1)
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, jnp.ones_like(square))), jnp.zeros_like(square))


def normalize(x: Any, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> jax.Array:
    """``x`` divided by its norm along an axis, or by ``epsilon`` where that is larger."""
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise InputError("ops.normalize was called.", received=f"order={order!r}", because="it is an int >= 1")
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        x = x.astype(floatx())
    x = jnp.atleast_1d(x)
    least = _epsilon() if epsilon is None else epsilon
    if order == 2:
        most = min(1.0 / least, float(jnp.finfo(x.dtype).max))
        return x * jnp.minimum(lax.rsqrt(jnp.sum(jnp.square(x), axis=axis, keepdims=True)), most)
    return x / jnp.maximum(jnp.linalg.norm(x, order, axis, keepdims=True), least)


_epsilon = epsilon


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> jax.Array:
    """``tensor`` with its axes split, permuted and joined as a pattern says: ``"b (h p) c -> b h (p c)"``.

    Args:
        tensor: What is rearranged.
        pattern: Names of the axes, before and after; names in parentheses are parts of one axis, the last running
            fastest.
        axes_lengths: The sizes of parts; of each split axis, one may be left out.

    >>> rearrange(jnp.arange(6).reshape(1, 6), "b (h w) -> b w h", h=2).tolist()
    [[[0, 3], [1, 4], [2, 5]]]
    """
    tensor = jnp.asarray(tensor)
    asked = f"ops.rearrange(tensor, {pattern!r}) was called."
    sides = [
        [group.strip("()").split() for group in re.findall(r"\([^)]*\)|\w+", side)] for side in pattern.split("->")
    ]
    names = [[name for group in side for name in group] for side in sides]
    if len(sides) != 2 or sorted(names[0]) != sorted(names[1]) or len(set(names[0])) != len(names[0]):
        raise InputError(asked, received=repr(pattern), because="both sides of '->' hold the same names, each once")
    if len(sides[0]) != tensor.ndim or set(axes_lengths) - set(names[0]):
        raise ShapeError(
            asked,
            received=f"shape {tensor.shape}, sizes of {sorted(axes_lengths)}",
            because=f"the pattern names {len(sides[0])} axes, with the parts {names[0]}",
        )
    sizes: dict[str, int] = dict(axes_lengths)
    for group, n in zip(sides[0], tensor.shape, strict=True):
        unknown = [name for name in group if name not in sizes]
        known = math.prod(sizes[name] for name in group if name in sizes)
        if len(unknown) == 1 and known and n % known == 0:
            sizes[unknown[0]] = n // known
        elif unknown or known != n:
            raise ShapeError(asked, received=f"shape {tensor.shape}, {axes_lengths}", because=f"{group} is not {n}")
    apart = tensor.reshape([sizes[name] for name in names[0]])
    moved = jnp.transpose(apart, [names[0].index(name) for name in names[1]])
    return moved.reshape([math.prod(sizes[name] for name in group) for group in sides[1]])

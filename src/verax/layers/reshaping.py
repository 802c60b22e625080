"""Layers that move, repeat, pad or cut elements and compute nothing."""

from __future__ import annotations

import math
from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError, UnknownNameError
from verax.layers.base import (
    InputSpec,
    Layer,
    LayerArguments,
    as_float,
    each_axis,
    image_format,
    layer_registry,
)

__all__ = [
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Flatten",
    "Permute",
    "RepeatVector",
    "Reshape",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]


@layer_registry.add
class Flatten(Layer):
    """All axes but the batch as one: (batch, ...) -> (batch, features).

    Args:
        data_format: With ``"channels_first"`` the channels are moved last before flattening.

    >>> Flatten()(jnp.ones((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, data_format: str | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.data_format = image_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, x: jax.Array) -> jax.Array:
        """Flatten each row of ``x``."""
        if self.data_format == "channels_first" and x.ndim > 2:
            x = jnp.moveaxis(x, 1, -1)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


@layer_registry.add
class Reshape(Layer):
    """Each row in another shape: (batch, ...) -> (batch, *target_shape).

    Args:
        target_shape: The shape of one row; one entry may be -1, to be inferred.

    >>> Reshape((2, -1))(jnp.ones((5, 6))).shape
    (5, 2, 3)
    """

    def __init__(self, target_shape: tuple[int, ...], **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.target_shape = tuple(target_shape)
        if self.target_shape.count(-1) > 1 or any(n < -1 for n in self.target_shape):
            received = f"target_shape={target_shape!r}"
            raise InputError("Reshape was made.", received=received, because="only one size can be inferred (-1)")

    def call(self, x: jax.Array) -> jax.Array:
        """Reshape each row of ``x``."""
        have, want = math.prod(x.shape[1:]), math.prod(n for n in self.target_shape if n != -1)
        if (have % want if want else have) if -1 in self.target_shape else have != want:
            raise ShapeError(
                f"Reshape {self.name!r} was called.",
                received=f"rows of shape {tuple(x.shape[1:])}, {have} elements",
                because=f"target_shape={self.target_shape} does not hold as many",
            )
        inferred = tuple(have // max(want, 1) if n == -1 else n for n in self.target_shape)
        return x.reshape(x.shape[0], *inferred)


@layer_registry.add
class Permute(Layer):
    """The axes of each row in another order.

    Args:
        dims: The order, counted from 1: (2, 1) swaps the two axes of a row.

    >>> Permute((2, 1))(jnp.ones((5, 3, 4))).shape
    (5, 4, 3)
    """

    def __init__(self, dims: tuple[int, ...], **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            because = "each axis of a row, counted from 1, occurs once"
            raise InputError("Permute was made.", received=f"dims={dims!r}", because=because)
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, x: jax.Array) -> jax.Array:
        """Permute the axes of ``x``."""
        return jnp.transpose(x, (0, *self.dims))


@layer_registry.add
class RepeatVector(Layer):
    """Each vector n times: (batch, features) -> (batch, n, features).

    Args:
        n: How often.
    """

    def __init__(self, n: int, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InputError("RepeatVector was made.", received=f"n={n!r}", because="it is a positive integer")
        self.n = n
        self.input_spec = InputSpec(ndim=2)

    def call(self, x: jax.Array) -> jax.Array:
        """Repeat each row of ``x``."""
        return jnp.repeat(x[:, None], self.n, axis=1)


def _pairs(value: Any, rank: int, argument: str) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis, from one number, one for each axis, or a pair for each axis."""
    if isinstance(value, int):
        value = (value,) * rank
    elif rank == 1 and len(value) == 2 and all(isinstance(v, int) for v in value):
        value = (value,)
    pairs = tuple((v, v) if isinstance(v, int) else tuple(v) for v in value)
    if len(pairs) != rank or any(len(p) != 2 or any(not isinstance(n, int) or n < 0 for n in p) for p in pairs):
        because = f"it is a number, {rank} numbers, or {rank} pairs (before, after), none negative"
        raise InputError(f"{argument} was given.", received=repr(value), because=because)
    return pairs


class _ZeroPadding(Layer):
    rank: int

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.padding = _pairs(padding, self.rank, "padding")
        self.data_format = image_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, x: jax.Array) -> jax.Array:
        """Pad ``x``."""
        none = (0, 0)
        first = self.data_format == "channels_first"
        return jnp.pad(x, (none, none, *self.padding) if first else (none, *self.padding, none))


@layer_registry.add
class ZeroPadding1D(_ZeroPadding):
    """Zero steps before and after sequences (batch, steps, channels).

    Args:
        padding: A number, or a pair (before, after).
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 1


@layer_registry.add
class ZeroPadding2D(_ZeroPadding):
    """Zero rows and columns around images (batch, height, width, channels).

    Args:
        padding: A number, one for height and width, or ((top, bottom), (left, right)).
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.

    >>> ZeroPadding2D(((1, 0), (2, 2)))(jnp.ones((1, 3, 3, 1))).shape
    (1, 4, 7, 1)
    """

    rank = 2


@layer_registry.add
class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes (batch, depth, height, width, channels).

    Args:
        padding: A number, one for each axis, or a pair (before, after) for each axis.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 3


class _Cropping(Layer):
    rank: int

    def __init__(self, cropping: Any = 0, data_format: str | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.cropping = _pairs(cropping, self.rank, "cropping")
        self.data_format = image_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, x: jax.Array) -> jax.Array:
        """Crop ``x``."""
        begin = 2 if self.data_format == "channels_first" else 1
        cut = [slice(None)] * x.ndim
        for axis, (before, after) in enumerate(self.cropping, begin):
            if before + after >= x.shape[axis]:
                raise ShapeError(
                    f"{type(self).__name__} {self.name!r} was called.",
                    received=f"an input of shape {tuple(x.shape)}",
                    because=f"cropping {(before, after)} leaves nothing of axis {axis}",
                )
            cut[axis] = slice(before, x.shape[axis] - after)
        return x[tuple(cut)]


@layer_registry.add
class Cropping1D(_Cropping):
    """Cuts steps from both ends of sequences (batch, steps, channels).

    Args:
        cropping: A number, or a pair (before, after).
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 1

    def __init__(self, cropping: Any = (1, 1), data_format: str | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(cropping, data_format, **kwargs)


@layer_registry.add
class Cropping2D(_Cropping):
    """Cuts rows and columns from images (batch, height, width, channels).

    Args:
        cropping: A number, one for height and width, or ((top, bottom), (left, right)).
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 2


@layer_registry.add
class Cropping3D(_Cropping):
    """Cuts the border of volumes (batch, depth, height, width, channels).

    Args:
        cropping: A number, one for each axis, or a pair (before, after) for each axis.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 3

    def __init__(self, cropping: Any = 1, data_format: str | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(cropping, data_format, **kwargs)


class _UpSampling(Layer):
    rank: int

    def __init__(self, size: Any = 2, data_format: str | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.size = each_axis(size, self.rank, "size")
        self.data_format = image_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, x: jax.Array) -> jax.Array:
        """Repeat the elements of ``x`` along each axis."""
        for axis, n in enumerate(self.size, 2 if self.data_format == "channels_first" else 1):
            x = jnp.repeat(x, n, axis=axis)
        return x


@layer_registry.add
class UpSampling1D(_UpSampling):
    """Each step ``size`` times: (batch, steps, channels) -> (batch, steps * size, channels).

    Args:
        size: How often.
    """

    rank = 1

    def __init__(self, size: int = 2, **kwargs: Unpack[LayerArguments]):
        super().__init__(size, **kwargs)


@layer_registry.add
class UpSampling2D(_UpSampling):
    """Images enlarged by whole factors: (batch, height, width, channels) -> (batch, height * f, width * g, channels).

    Args:
        size: The factors: a number, or one for height and one for width.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        interpolation: ``"nearest"`` (repeat), ``"bilinear"``, ``"bicubic"``, ``"lanczos3"`` or ``"lanczos5"``.

    >>> UpSampling2D()(jnp.ones((1, 2, 3, 1))).shape
    (1, 4, 6, 1)
    """

    rank = 2

    def __init__(
        self,
        size: int | tuple[int, int] = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(size, data_format, **kwargs)
        methods = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
        if interpolation not in methods:
            raise UnknownNameError.among("interpolation", interpolation, methods)
        self.interpolation = interpolation

    def call(self, x: jax.Array) -> jax.Array:
        """Enlarge ``x``."""
        if self.interpolation == "nearest":
            return super().call(x)
        begin = 2 if self.data_format == "channels_first" else 1
        shape = list(x.shape)
        for axis, n in enumerate(self.size, begin):
            shape[axis] *= n
        method = {"bilinear": "linear", "bicubic": "cubic"}.get(self.interpolation, self.interpolation)
        return jax.image.resize(as_float(self, x), shape, method)


@layer_registry.add
class UpSampling3D(_UpSampling):
    """Volumes enlarged by repeating: (batch, depth, height, width, channels) -> each axis times its factor.

    Args:
        size: The factors: a number, or one for each axis.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    rank = 3

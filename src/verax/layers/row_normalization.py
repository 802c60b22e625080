"""Normalization of each row by itself: over its features, over groups of them, by its size."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from verax.errors import InputError, ShapeError
from verax.layers.base import InputSpec, LayerArguments, given, layer_registry
from verax.layers.normalization import _Normalization, _ScaleAndCenter, _wide

__all__ = ["GroupNormalization", "LayerNormalization", "RMSNormalization", "UnitNormalization"]


def _several(axis: Any, argument: str) -> int | tuple[int, ...]:
    """One axis, or a tuple of them, checked."""
    if isinstance(axis, int) and not isinstance(axis, bool):
        return axis
    if isinstance(axis, (list, tuple)) and axis and all(isinstance(a, int) for a in axis):
        return tuple(axis)
    raise InputError(f"{argument} was given.", received=repr(axis), because="it is an axis, or several, as integers")


def _placed(weight: jax.Array, axes: tuple[int, ...], x: jax.Array) -> jax.Array:
    """``weight`` with an axis for each of ``x``, 1 where it does not vary."""
    return weight.reshape(tuple(n if axis in axes else 1 for axis, n in enumerate(x.shape)))


@layer_registry.add
class LayerNormalization(_ScaleAndCenter):
    """Normalizes each row over its features (Ba et al., 2016).

    ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, mean and variance (biased) over ``axis`` of each row.
    Weights ``gamma``, ``beta``: of the sizes of those axes. Computed in float32 under half precision.

    Args:
        axis: The axis, or axes, to normalize over.
        epsilon: Added to the variance.
        center, scale: Whether there is a ``beta``, a ``gamma``.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: As
            for any weight.
        rms_scaling: Keras' older form, kept for its models: ``gamma * x / sqrt(variance + epsilon)``, always with a
            ``gamma`` and never with a ``beta``. Despite its name it does not divide by the root mean square:
            ``RMSNormalization`` does.

    >>> LayerNormalization(epsilon=1e-9)(jnp.array([[1.0, 3.0]])).round(3).tolist()
    [[-1.0, 1.0]]
    """

    autocast = False  # inputs of more digits than the compute dtype keep them until they are normalized

    def __init__(
        self,
        axis: int | tuple[int, ...] | list[int] = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        *,
        rms_scaling: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        others: dict[str, Any] = {**given(locals()), "axis": _several(axis, "axis")}
        del others["rms_scaling"]
        super().__init__(**others)
        self.rms_scaling = rms_scaling

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make ``gamma`` and ``beta``."""
        axes = self.checked_axes(len(input_shape))
        old = self.rms_scaling
        self.add_scale_and_center(
            tuple(input_shape[axis] for axis in axes), scale=self.scale or old, center=self.center and not old
        )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={axis: input_shape[axis] for axis in axes})

    def call(self, x: jax.Array) -> jax.Array:
        """Normalize ``x``; the shape stays."""
        wide, axes = _wide(x), self.checked_axes(x.ndim)
        off = wide - jnp.mean(wide, axes, keepdims=True)
        inverse = lax.rsqrt(jnp.mean(jnp.square(off), axes, keepdims=True) + self.epsilon)
        y = (wide if self.rms_scaling else off) * inverse
        if self.gamma is not None:
            y = y * _placed(self.gamma.value, axes, x)
        if self.beta is not None:
            y = y + _placed(self.beta.value, axes, x)
        return y.astype(self.compute_dtype)


@layer_registry.add
class GroupNormalization(_ScaleAndCenter):
    """Normalizes each row over groups of its channels (Wu, He, 2018).

    ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, mean and variance (biased) over all places of the channels
    of a group; the groups are ``channels / groups`` neighbours each. One group is layer normalization over all axes but
    the batch, as many as channels is instance normalization. Weights ``gamma``, ``beta``: (channels,). Computed in
    float32 under half precision.

    Args:
        groups: How many groups; -1 for one of each channel.
        axis: The axis of the channels.
        epsilon: Added to the variance.
        center, scale: Whether there is a ``beta``, a ``gamma``.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: As
            for any weight.

    Raises:
        ShapeError: When the channels cannot be cut into as many equal groups.

    >>> GroupNormalization(2, epsilon=1e-9)(jnp.array([[1.0, 3.0, 10.0, 30.0]])).round(3).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    autocast = False

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Unpack[LayerArguments],
    ):
        others = given(locals())
        del others["groups"]
        super().__init__(**others)
        if isinstance(groups, bool) or not isinstance(groups, int) or (groups < 1 and groups != -1):
            because = "it is a positive integer, or -1 for a group of each channel"
            raise InputError("GroupNormalization was made.", received=f"groups={groups!r}", because=because)
        self.groups = groups

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make ``gamma`` and ``beta``."""
        axis = self.check_axis(self.axis, len(input_shape))
        channels = input_shape[axis]
        if axis == 0 or (channels is not None and channels % self._count(channels)):
            raise ShapeError(
                f"GroupNormalization {self.name!r} was called.",
                received=f"an input of shape {input_shape}",
                because=f"axis {self.axis} cannot be cut into {self.groups} equal groups of channels",
                do="Give groups by which the number of channels can be divided.",
            )
        self.add_scale_and_center((channels,), scale=self.scale, center=self.center)
        self.input_spec = InputSpec(ndim=len(input_shape), axes={axis: channels})

    def call(self, x: jax.Array) -> jax.Array:
        """Normalize ``x``; the shape stays."""
        wide, axis = _wide(x), self.check_axis(self.axis, x.ndim)
        off = wide - self._means(wide, axis)
        factor = lax.rsqrt(self._means(jnp.square(off), axis) + self.epsilon)
        if self.gamma is not None:
            factor = factor * _placed(self.gamma.value, (axis,), x)
        y = off * factor
        if self.beta is not None:
            y = y + _placed(self.beta.value, (axis,), x)
        return y.astype(self.compute_dtype)

    def _means(self, x: jax.Array, axis: int) -> jax.Array:
        """The mean of its group for each channel, of the shape (rows, 1, ..., channels, ..., 1).

        Channel by channel first: a reduction over places and a part of the channels at once takes a CPU six times as
        long.
        """
        rows, channels = x.shape[0], x.shape[axis]
        groups = self._count(channels)
        each = jnp.mean(x, tuple(i for i in range(1, x.ndim) if i != axis)).reshape(rows, groups, channels // groups)
        means = jnp.broadcast_to(jnp.mean(each, -1, keepdims=True), each.shape)
        return means.reshape(tuple(n if i in (0, axis) else 1 for i, n in enumerate(x.shape)))

    def _count(self, channels: int) -> int:
        return channels if self.groups == -1 else self.groups


@layer_registry.add
class RMSNormalization(_Normalization):
    """Divides each row by the root mean square of its features (Zhang, Sennrich, 2019).

    ``scale * x / sqrt(mean(x²) + epsilon)``, the mean over ``axis`` of each row. Weight ``scale``: of the sizes of
    those axes. Computed in float32 under half precision.

    Differs from Keras: a mask is passed on, and ``scale`` varies along ``axis`` also where that is not the last one
    (there an error).

    Args:
        axis: The axis, or axes, to normalize over.
        epsilon: Added to the mean square.

    >>> RMSNormalization()(jnp.array([[3.0, 4.0]]))
    Array([[0.8485281, 1.1313708]], dtype=float32)
    """

    autocast = False

    def __init__(
        self,
        axis: int | tuple[int, ...] | list[int] = -1,
        epsilon: float = 1e-6,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(axis=_several(axis, "axis"), epsilon=epsilon, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make ``scale``."""
        axes = self.checked_axes(len(input_shape))
        shape = tuple(input_shape[axis] for axis in axes)
        self.scale = self.add_weight(shape, "ones", autocast=False, name="scale")
        self.input_spec = InputSpec(ndim=len(input_shape), axes={axis: input_shape[axis] for axis in axes})

    def call(self, x: jax.Array) -> jax.Array:
        """Normalize ``x``; the shape stays."""
        wide, axes = _wide(x), self.checked_axes(x.ndim)
        y = wide * lax.rsqrt(jnp.mean(jnp.square(wide), axes, keepdims=True) + self.epsilon)
        return (y * _placed(self.scale.value, axes, x)).astype(self.compute_dtype)


@layer_registry.add
class UnitNormalization(_Normalization):
    """Divides each row by its Euclidean norm: ``x / sqrt(sum(x²))``, the sum over ``axis``; zeros stay zeros.

    Input and output: any shape, float. Computed in float32 under half precision. Norms below 1e-12 count as 1e-12.

    Differs from Keras: the gradient at a row of zeros is 0 (there NaN).

    Args:
        axis: The axis, or axes, that one norm is taken over.

    >>> UnitNormalization()(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    Array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """

    def __init__(self, axis: int | tuple[int, ...] | list[int] = -1, **kwargs: Unpack[LayerArguments]):
        super().__init__(axis=_several(axis, "axis"), epsilon=1e-12, **kwargs)

    def call(self, x: jax.Array) -> jax.Array:
        """Normalize ``x``; the shape stays."""
        wide = _wide(x)
        squares = jnp.sum(jnp.square(wide), self.checked_axes(x.ndim), keepdims=True)
        some = squares > 0
        inverse = jnp.minimum(lax.rsqrt(jnp.where(some, squares, 1.0)), 1.0 / self.epsilon)
        return jnp.where(some, wide * inverse, 0.0).astype(self.compute_dtype)

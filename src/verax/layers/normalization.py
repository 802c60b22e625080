"""Normalization over the batch, and the base of all normalizations."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from verax.errors import InputError, ShapeError
from verax.layers.base import (
    InputSpec,
    Layer,
    LayerArguments,
    add_part,
    along_axis,
    given,
    keep_parts,
    layer_registry,
)
from verax.ops.batch_norm import moments, normalize

__all__ = ["BatchNormalization"]


class _Normalization(Layer):
    """Normalization along ``axis``, in float32 at least whatever the layer computes in."""

    supports_masking = True

    def __init__(self, *, axis: Any, epsilon: float, **others: Any):
        super().__init__(**keep_parts(self, others))
        if not epsilon > 0:
            received = f"epsilon={epsilon!r}"
            raise InputError(f"{type(self).__name__} was made.", received=received, because="it must be positive")
        self.axis = axis
        self.epsilon = epsilon

    def check_axis(self, axis: int, ndim: int) -> int:
        """``axis`` counted from the front."""
        if not -ndim <= axis < ndim:
            raise ShapeError(
                f"{type(self).__name__} {self.name!r} was called.",
                received=f"an input of {ndim} axes",
                because=f"it was made with axis={self.axis}",
                do="Give an axis that the input has.",
            )
        return axis % ndim

    def checked_axes(self, ndim: int) -> tuple[int, ...]:
        """The axes in the order of the weights: sorted as they were given, then counted from the front."""
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return tuple(self.check_axis(axis, ndim) for axis in sorted(axes))


class _ScaleAndCenter(_Normalization):
    """``gamma`` and ``beta``: kept and applied in float32, whatever the layer computes in."""

    def __init__(self, *, center: bool, scale: bool, **others: Any):
        super().__init__(**others)
        self.center = center
        self.scale = scale

    def add_scale_and_center(self, shape: tuple[int | None, ...], *, scale: bool, center: bool) -> None:
        """Make ``gamma`` and ``beta``."""
        self.gamma = add_part(self, "gamma", shape, autocast=False) if scale else None
        self.beta = add_part(self, "beta", shape, autocast=False) if center else None


def _wide(x: jax.Array) -> jax.Array:
    # Sums of many half-precision numbers lose their digits; float64 stays.
    return x if x.dtype == jnp.float64 else x.astype("float32")


@layer_registry.add
class BatchNormalization(_ScaleAndCenter):
    """Normalizes each channel: by the batch's moments in training, by moving averages otherwise (Ioffe, Szegedy, 2015).

    ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``. In training, mean and variance (biased) are those of the
    batch over all axes but ``axis``, and ``moving = moving * momentum + batch's * (1 - momentum)``. Weights, each of
    (channels,): ``gamma``, ``beta``; ``moving_mean``, ``moving_variance`` (not trainable). With ``trainable=False`` the
    layer runs on its moving averages in both modes. A mask (the input's shape without its last axis) leaves masked
    places out of the moments. Moments are computed in float32 in two passes, so a mean far from 0 does not cancel.

    Differs from Keras: ``renorm`` does not exist, and ``synchronized=True`` works (there an error on JAX).

    Args:
        axis: The axis of the channels.
        momentum: How much of the moving averages stays at each step.
        epsilon: Added to the variance.
        center, scale: Whether there is a ``beta``, a ``gamma``.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: Where they start.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: As for any weight.
        synchronized: True to ask that the moments are those of the whole batch, over all devices. They are so in either
            case: a compiled program sees the batch whole, however it is spread.

    >>> layer = BatchNormalization(momentum=0.5, epsilon=1e-9)
    >>> layer(jnp.array([[1.0], [3.0]]), training=True).round(3).tolist()
    [[-1.0], [1.0]]
    >>> layer.moving_mean.numpy().tolist(), layer.moving_variance.numpy().tolist()
    ([1.0], [1.0])
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        *,
        synchronized: bool = False,
        **kwargs: Unpack[LayerArguments],
    ):
        others = given(locals())
        del others["momentum"], others["synchronized"]
        super().__init__(**others)
        if not 0 <= momentum <= 1:
            because = "it is the part of the moving averages that stays at each step"
            raise InputError("BatchNormalization was made.", received=f"momentum={momentum!r}", because=because)
        self.momentum = momentum
        self.synchronized = synchronized

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the four vectors."""
        axis = self.check_axis(self.axis, len(input_shape))
        shape = (input_shape[axis],)
        self.add_scale_and_center(shape, scale=self.scale, center=self.center)
        self.moving_mean = add_part(self, "moving_mean", shape, trainable=False, autocast=False)
        self.moving_variance = add_part(self, "moving_variance", shape, trainable=False, autocast=False)
        self.input_spec = InputSpec(ndim=len(input_shape), axes={axis: shape[0]})

    def call(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Normalize ``x``; the shape stays."""
        wide = _wide(x)
        mean, variance = self.by_mode(
            "batch_statistics",
            train=lambda: self._observe(wide, mask),
            infer=lambda: (self.moving_mean.value, self.moving_variance.value),
            frozen=not self.trainable,
        )
        inverse = lax.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            inverse = inverse * self.gamma.value
        beta = None if self.beta is None else self.beta.value
        return normalize(wide, mean, inverse, beta, self.axis).astype(self.compute_dtype)

    def _observe(self, x: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """The batch's mean and variance, (channels,) each; the moving averages follow them."""
        mean, variance = moments(x, self.axis) if mask is None else self._masked_moments(x, mask)
        self.follow(self.moving_mean, mean, self.momentum)
        self.follow(self.moving_variance, variance, self.momentum)
        return mean, variance

    def _masked_moments(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        if mask.shape != x.shape[:-1]:
            raise ShapeError(
                f"BatchNormalization {self.name!r} was called with a mask.",
                received=f"a mask of shape {tuple(mask.shape)} for an input of shape {tuple(x.shape)}",
                because="the mask has the input's shape without its last axis",
            )
        axes = tuple(i for i in range(x.ndim) if i != self.axis % x.ndim)
        counts = jnp.broadcast_to(mask.astype(bool)[..., None], x.shape)
        # A batch without a single counting place has moments 0, as in Keras.
        n = jnp.maximum(jnp.sum(counts.astype(x.dtype), axes), 1.0)
        mean = jnp.sum(jnp.where(counts, x, jnp.zeros_like(x)), axes) / n
        off = jnp.where(counts, x - along_axis(mean, x.ndim, self.axis), jnp.zeros_like(x))
        return mean, jnp.sum(jnp.square(off), axes) / n

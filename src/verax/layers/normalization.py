"""Normalization over the batch and over features."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from verax import constraints, initializers, regularizers
from verax.errors import InputError, ShapeError
from verax.layers.base import InputSpec, Layer, LayerArguments, along_axis, layer_registry
from verax.ops.batch_norm import moments, normalize

__all__ = ["BatchNormalization", "LayerNormalization"]


class _ScaleAndCenter(Layer):
    """``gamma`` and ``beta``: kept and applied in float32, whatever the layer computes in."""

    supports_masking = True

    def __init__(
        self,
        axis: Any,
        epsilon: float,
        center: bool,
        scale: bool,
        beta: tuple[Any, Any, Any],
        gamma: tuple[Any, Any, Any],
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        if not epsilon > 0:
            received = f"epsilon={epsilon!r}"
            raise InputError(f"{type(self).__name__} was made.", received=received, because="it must be positive")
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta[0])
        self.beta_regularizer = regularizers.get(beta[1])
        self.beta_constraint = constraints.get(beta[2])
        self.gamma_initializer = initializers.get(gamma[0])
        self.gamma_regularizer = regularizers.get(gamma[1])
        self.gamma_constraint = constraints.get(gamma[2])

    def add_scale_and_center(self, shape: tuple[int | None, ...]) -> None:
        """Make ``gamma`` and ``beta``."""
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                autocast=False,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                name="gamma",
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                autocast=False,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                name="beta",
            )

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

    Under ``jit`` over a sharded batch the moments are those of the whole batch: what Keras calls ``synchronized``. That
    argument and ``renorm`` do not exist here.

    Args:
        axis: The axis of the channels.
        momentum: How much of the moving averages stays at each step.
        epsilon: Added to the variance.
        center, scale: Whether there is a ``beta``, a ``gamma``.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: Where they start.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: As for any weight.

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
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(
            axis,
            epsilon,
            center,
            scale,
            (beta_initializer, beta_regularizer, beta_constraint),
            (gamma_initializer, gamma_regularizer, gamma_constraint),
            **kwargs,
        )
        if not 0 <= momentum <= 1:
            because = "it is the part of the moving averages that stays at each step"
            raise InputError("BatchNormalization was made.", received=f"momentum={momentum!r}", because=because)
        self.momentum = momentum
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the four vectors."""
        axis = self.check_axis(self.axis, len(input_shape))
        shape = (input_shape[axis],)
        self.add_scale_and_center(shape)
        self.moving_mean = self.add_weight(
            shape, self.moving_mean_initializer, trainable=False, autocast=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            shape, self.moving_variance_initializer, trainable=False, autocast=False, name="moving_variance"
        )
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

    >>> LayerNormalization(epsilon=1e-9)(jnp.array([[1.0, 3.0]])).round(3).tolist()
    [[-1.0, 1.0]]
    """

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
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(
            tuple(axis) if isinstance(axis, (list, tuple)) else (axis,),
            epsilon,
            center,
            scale,
            (beta_initializer, beta_regularizer, beta_constraint),
            (gamma_initializer, gamma_regularizer, gamma_constraint),
            **kwargs,
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make ``gamma`` and ``beta``."""
        axes = [self.check_axis(axis, len(input_shape)) for axis in self.axis]
        self.add_scale_and_center(tuple(input_shape[axis] for axis in axes))
        self.input_spec = InputSpec(ndim=len(input_shape), axes={axis: input_shape[axis] for axis in axes})

    def call(self, x: jax.Array) -> jax.Array:
        """Normalize ``x``; the shape stays."""
        wide = _wide(x)
        axes = tuple(axis % x.ndim for axis in self.axis)
        mean = jnp.mean(wide, axes, keepdims=True)
        off = wide - mean
        inverse = lax.rsqrt(jnp.mean(jnp.square(off), axes, keepdims=True) + self.epsilon)
        y = off * inverse
        shape = tuple(n if axis in axes else 1 for axis, n in enumerate(x.shape))
        if self.gamma is not None:
            y = y * self._placed(self.gamma.value, axes, shape)
        if self.beta is not None:
            y = y + self._placed(self.beta.value, axes, shape)
        return y.astype(self.compute_dtype)

    @staticmethod
    def _placed(weight: jax.Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> jax.Array:
        # The weight lists its axes as ``axis`` does; in the input they stand in ascending order.
        return jnp.transpose(weight, sorted(range(len(axes)), key=lambda i: axes[i])).reshape(shape)

"""Activations that are layers because they have arguments, weights, or a mask."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax import activations, constraints, initializers, regularizers
from verax.errors import InputError, ShapeError
from verax.layers.base import InputSpec, Layer, LayerArguments, layer_registry
from verax.ops.stretching import stretch

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"]


@layer_registry.add
class ReLU(Layer):
    """``x`` above the threshold, ``negative_slope * (x - threshold)`` below it, at most ``max_value``.

    Args:
        max_value: The largest output; None for no limit.
        negative_slope: The slope below the threshold.
        threshold: Where the positive part begins.

    >>> ReLU(max_value=1.0)(jnp.array([-1.0, 0.5, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """

    supports_masking = True

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if (value is None and name != "max_value") or (value is not None and value < 0):
                raise InputError("ReLU was made.", received=f"{name}={value!r}", because="it must not be negative")
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def call(self, x: jax.Array) -> jax.Array:
        """Apply the function to each element."""
        return activations.relu(
            x, negative_slope=self.negative_slope, max_value=self.max_value, threshold=self.threshold
        )


@layer_registry.add
class LeakyReLU(Layer):
    """``x`` where positive, ``negative_slope * x`` elsewhere.

    Args:
        negative_slope: The slope for negative inputs.

    >>> LeakyReLU(0.5)(jnp.array([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            received = f"negative_slope={negative_slope!r}"
            raise InputError("LeakyReLU was made.", received=received, because="it must not be negative")
        self.negative_slope = negative_slope

    def call(self, x: jax.Array) -> jax.Array:
        """Apply the function to each element."""
        return activations.leaky_relu(x, negative_slope=self.negative_slope)


@layer_registry.add
class ELU(Layer):
    """``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al., 2016).

    Args:
        alpha: The limit for large negative inputs, negated.
    """

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, x: jax.Array) -> jax.Array:
        """Apply the function to each element."""
        return activations.elu(x, alpha=self.alpha)


@layer_registry.add
class PReLU(Layer):
    """``x`` where positive, ``alpha * x`` elsewhere, ``alpha`` learned (He et al., 2015).

    Weight: ``alpha``, of the shape of one input row, with 1 for each shared axis.

    Args:
        alpha_initializer, alpha_regularizer, alpha_constraint: As for any weight.
        shared_axes: The axes (1 is the first after the batch) along which one slope is shared.
    """

    supports_masking = True

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | tuple[int, ...] | list[int] | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = (shared_axes,) if isinstance(shared_axes, int) else tuple(shared_axes or ())

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the slopes."""
        shape = [1 if axis in self.shared_axes else n for axis, n in enumerate(input_shape)][1:]
        self.alpha = self.add_weight(
            tuple(shape),
            self.alpha_initializer,
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
            name="alpha",
        )
        axes = {axis: n for axis, n in enumerate(input_shape) if axis and axis not in self.shared_axes}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=axes)

    def call(self, x: jax.Array) -> jax.Array:
        """Apply the function to each element."""
        return jnp.where(x > 0, x, stretch(self.alpha.value[None], x) * x)


@layer_registry.add
class Softmax(Layer):
    """Probabilities from logits: ``exp(x) / sum(exp(x))`` along an axis.

    Args:
        axis: The axis, or axes, along which the probabilities sum to 1.

    Called with ``mask`` (True counts; broadcastable to ``x`` from its last axis back), masked places get probability 0.
    A mask of steps, of the shape of ``x`` without its last axis, is passed on and changes no probability.

    Differs from Keras: there a mask of steps is an error.

    >>> Softmax()(jnp.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """

    supports_masking = True

    def __init__(self, axis: int | tuple[int, ...] = -1, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.axis = tuple(axis) if isinstance(axis, (tuple, list)) else axis

    def call(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Probabilities of the shape of ``x``."""
        if mask is None or (x.ndim >= 3 and mask.shape == x.shape[:-1]):
            return self._probabilities(x)
        if mask.ndim > x.ndim or any(m not in (1, n) for m, n in zip(mask.shape[::-1], x.shape[::-1], strict=False)):
            raise ShapeError(
                f"Softmax {self.name!r} was called with a mask.",
                received=f"a mask of shape {tuple(mask.shape)} for an input of shape {tuple(x.shape)}",
                because="each of its axes must be 1 or that of the input, from the last one back",
                do="Add the missing axis: mask[..., None].",
            )
        keep = (mask if mask.dtype == bool else mask > 0.5).reshape((1,) * (x.ndim - mask.ndim) + mask.shape)
        keep = jnp.broadcast_to(keep, x.shape)
        low = jnp.full_like(x, -3e4 if x.dtype == jnp.float16 else -1e9)
        return jnp.where(keep, self._probabilities(jnp.where(keep, x, low)), jnp.zeros_like(x))

    def _probabilities(self, x: jax.Array) -> jax.Array:
        if not isinstance(self.axis, tuple):
            return activations.softmax(x, axis=self.axis)
        if len(self.axis) == 1:
            return activations.softmax(x, axis=self.axis[0])
        return jnp.exp(x - jax.nn.logsumexp(x, axis=self.axis, keepdims=True))

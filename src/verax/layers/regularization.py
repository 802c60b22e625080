"""Noise in training, and penalties on outputs."""

from __future__ import annotations

import math
from typing import Any, Unpack

import jax
import jax.numpy as jnp

from verax import regularizers
from verax.errors import InputError
from verax.layers.base import (
    InputSpec,
    Layer,
    LayerArguments,
    as_float,
    check_rate,
    check_seed,
    image_format,
    layer_registry,
)
from verax.ops.draws import draw_mask, kept_fraction

__all__ = [
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]


class _Noise(Layer):
    """A layer that draws in training, and its seed."""

    supports_masking = True

    def __init__(self, seed: int | None, **kwargs: Unpack[LayerArguments]):
        super().__init__(**kwargs)
        self.seed = check_seed(self, seed)


def dropout(x: jax.Array, rate: float, key: jax.Array, noise_shape: tuple[int, ...] | None = None) -> jax.Array:
    """``x / p`` with probability p, else 0: the expectation stays; p is ``1 - rate`` as ``kept_fraction`` rounds it."""
    if rate == 1.0:
        return jnp.zeros_like(x)
    keep = draw_mask(key, rate, x.shape if noise_shape is None else noise_shape)
    return jnp.where(keep, x / kept_fraction(rate), jnp.zeros_like(x))


@layer_registry.add
class Dropout(_Noise):
    """Sets elements to 0 in training and scales the others, so that the expectation stays (Srivastava et al., 2014).

    In training: ``x * mask / p``, mask 1 with probability p; otherwise ``x``. p is ``1 - rate`` rounded to 16 bits (to
    32 bits for rates within 2^-8 of 0 or 1). The mask follows from the pass's key, the layer's place and how often it
    was called: it does not depend on other layers' draws.

    Args:
        rate: The probability of dropping, from 0 to 1.
        noise_shape: The shape of the mask, None (or 1) in an axis to take the input's size (or to share it).
        seed: Another seed gives other masks for the same key.

    >>> x = jnp.ones((2, 3))
    >>> bool((Dropout(0.5)(x) == x).all())
    True
    """

    def __init__(
        self,
        rate: float,
        noise_shape: tuple[int | None, ...] | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(seed, **kwargs)
        self.rate = check_rate(rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def call(self, x: jax.Array) -> jax.Array:
        """Drop elements of ``x`` in training."""
        x = as_float(self, x)
        if self.rate == 0.0:
            return x
        return self.by_mode("dropout", train=lambda: self._drop(x), infer=lambda: x)

    def _drop(self, x: jax.Array) -> jax.Array:
        return dropout(x, self.rate, self.draw_key(self.seed), self._mask_shape(x))

    def _mask_shape(self, x: jax.Array) -> tuple[int, ...]:
        if self.noise_shape is None:
            return x.shape
        if len(self.noise_shape) != x.ndim:
            raise InputError(
                f"{type(self).__name__} {self.name!r} was called on an input of shape {tuple(x.shape)}.",
                received=f"noise_shape={self.noise_shape}",
                because=f"it has {len(self.noise_shape)} axes, the input {x.ndim}",
                do="Give noise_shape an entry for every axis of the input, batch included.",
            )
        return tuple(n if m is None else m for m, n in zip(self.noise_shape, x.shape, strict=True))


class _SpatialDropout(Dropout):
    rank: int

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(rate, seed=seed, **kwargs)
        self.data_format = image_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _mask_shape(self, x: jax.Array) -> tuple[int, ...]:
        ones = (1,) * self.rank
        if self.data_format == "channels_first":
            return (*x.shape[:2], *ones)
        return (x.shape[0], *ones, x.shape[-1])


@layer_registry.add
class SpatialDropout1D(_SpatialDropout):
    """Drops whole channels of sequences (batch, time, channels) in training (Tompson et al., 2015).

    Args:
        rate: The probability of dropping a channel.
        seed: Another seed gives other masks for the same key.
    """

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(rate, seed=seed, **kwargs)


@layer_registry.add
class SpatialDropout2D(_SpatialDropout):
    """Drops whole channels of images in training (Tompson et al., 2015).

    Args:
        rate: The probability of dropping a channel.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        seed: Another seed gives other masks for the same key.
    """

    rank = 2


@layer_registry.add
class SpatialDropout3D(_SpatialDropout):
    """Drops whole channels of volumes in training (Tompson et al., 2015).

    Args:
        rate: The probability of dropping a channel.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
        seed: Another seed gives other masks for the same key.
    """

    rank = 3


@layer_registry.add
class GaussianNoise(_Noise):
    """Adds normal noise in training: ``x + stddev * n``, n of mean 0 and variance 1.

    Args:
        stddev: The standard deviation.
        seed: Another seed gives other noise for the same key.
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(seed, **kwargs)
        if isinstance(stddev, bool) or not isinstance(stddev, (int, float)) or stddev < 0:
            because = "a standard deviation is not negative"
            raise InputError("GaussianNoise was made.", received=f"stddev={stddev!r}", because=because)
        self.stddev = float(stddev)

    def call(self, x: jax.Array) -> jax.Array:
        """Add noise to ``x`` in training."""
        x = as_float(self, x)
        if self.stddev == 0.0:
            return x
        return self.by_mode(
            "noise",
            train=lambda: x + self.stddev * jax.random.normal(self.draw_key(self.seed), x.shape, x.dtype),
            infer=lambda: x,
        )


@layer_registry.add
class GaussianDropout(_Noise):
    """Multiplies by normal noise of mean 1 and variance ``rate / (1 - rate)`` in training (Srivastava et al., 2014).

    Args:
        rate: As in ``Dropout``, whose noise has the same mean and variance; less than 1.
        seed: Another seed gives other noise for the same key.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Unpack[LayerArguments]):
        super().__init__(seed, **kwargs)
        self.rate = _below_one(rate, "GaussianDropout")

    def call(self, x: jax.Array) -> jax.Array:
        """Multiply ``x`` by noise in training."""
        x = as_float(self, x)
        if self.rate == 0.0:
            return x
        stddev = math.sqrt(self.rate / (1.0 - self.rate))
        return self.by_mode(
            "dropout",
            train=lambda: x * (1.0 + stddev * jax.random.normal(self.draw_key(self.seed), x.shape, x.dtype)),
            infer=lambda: x,
        )


def _below_one(rate: float, layer: str) -> float:
    if check_rate(rate) == 1.0:
        raise InputError(f"{layer} was made.", received="rate=1", because="its noise would have no finite variance")
    return float(rate)


@layer_registry.add
class AlphaDropout(Dropout):
    """Dropout that keeps mean and variance of inputs normalized by SELU (Klambauer et al., 2017, section 3).

    Args:
        rate, noise_shape, seed: As in ``Dropout``; the rate is less than 1.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: tuple[int | None, ...] | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(_below_one(rate, "AlphaDropout"), noise_shape, seed, **kwargs)

    def _drop(self, x: jax.Array) -> jax.Array:
        # What SELU tends to for large negative inputs, -scale * alpha, takes the place of 0; an affine map undoes the
        # change of mean and variance.
        low = -1.0507009873554805 * 1.6732632423543772
        kept = kept_fraction(self.rate)
        a = (kept * (1.0 + (1.0 - kept) * low**2)) ** -0.5
        keep = draw_mask(self.draw_key(self.seed), self.rate, self._mask_shape(x))
        return a * jnp.where(keep, x, jnp.full_like(x, low)) - a * low * (1.0 - kept)


@layer_registry.add
class ActivityRegularization(Layer):
    """The identity, with a penalty ``(l1 * sum|x| + l2 * sum x^2) / batch`` on what flows through.

    Args:
        l1, l2: The factors.
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Unpack[LayerArguments]):
        penalty: Any = regularizers.L1L2(l1=l1, l2=l2)
        super().__init__(activity_regularizer=penalty, **kwargs)
        self.l1 = l1
        self.l2 = l2

    def call(self, x: jax.Array) -> jax.Array:
        """Return ``x``."""
        return x

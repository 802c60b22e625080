"""Weights divided by their largest singular value."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from verax.errors import InputError
from verax.frame.variable import Variable
from verax.initializers import TruncatedNormal
from verax.layers.base import LayerArguments, layer_registry
from verax.layers.wrapper import Wrapper

__all__ = ["SpectralNormalization"]


@layer_registry.add
class SpectralNormalization(Wrapper):
    """A layer that computes with ``W / σ(W)`` for its kernel W: so its Lipschitz constant stays near 1 (Miyato, 2018).

    σ is the largest singular value of W as a matrix (everything else, outputs), estimated by the power method: a vector
    u (1, outputs) is kept, and each training pass continues from it ``power_iterations`` times::

        v = u Wᵀ / |u Wᵀ|,   u = v W / |v W|,   σ = v W uᵀ

    Gradients reach W through W / σ with u and v held; a pass in inference mode takes v and σ from the u that is kept.
    Weights: those of the layer, whose W stays as the optimizer set it, and ``vector_u`` (not trainable).

    Differs from Keras: inference divides by σ too (there, on JAX, ``fit`` loses the divided kernel, and inference
    computes with W itself), and the output keeps the dtype of the layer inside (there it is cast to the input's).

    Args:
        layer: A layer with a ``kernel`` or ``embeddings``.
        power_iterations: How many iterations each training pass makes.

    Raises:
        InputError: The layer has neither ``kernel`` nor ``embeddings``; iterations are not a positive integer.

    >>> dense = verax.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    >>> SpectralNormalization(dense)(jnp.ones((1, 4)), training=True)  # σ = 2
    Array([[2.]], dtype=float32)
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Unpack[LayerArguments]):
        super().__init__(layer, **kwargs)
        if isinstance(power_iterations, bool) or not isinstance(power_iterations, int) or power_iterations < 1:
            received = f"power_iterations={power_iterations!r}"
            raise InputError("SpectralNormalization was made.", received=received, because="it is a positive integer")
        self.power_iterations = power_iterations

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Build the layer inside, and make ``vector_u``."""
        super().build(input_shape)
        kernel = getattr(self.layer, "kernel", getattr(self.layer, "embeddings", None))
        if not isinstance(kernel, Variable):
            raise InputError(
                f"SpectralNormalization {self.name!r} was called.",
                received=f"a {type(self.layer).__name__} inside",
                because="it has neither kernel nor embeddings",
                do="Wrap a layer that multiplies with one of them.",
            )
        self.kernel = kernel
        self.vector_u = self.add_weight(
            (1, kernel.shape[-1]),
            TruncatedNormal(stddev=0.02),
            kernel.dtype,
            trainable=False,
            autocast=False,
            name="vector_u",
        )

    def call(self, x: Any, training: bool) -> Any:
        """What the layer inside makes of ``x``, with its kernel divided."""
        with self.reading(self.kernel, lambda kernel: self._divided(kernel, training)):
            return self.layer(x)

    def _divided(self, kernel: jax.Array, training: bool) -> jax.Array:
        matrix, u = kernel.reshape(-1, kernel.shape[-1]), self.vector_u.value
        fixed = lax.stop_gradient(matrix)
        v = _unit(u @ fixed.T)
        if training:
            u = _unit(v @ fixed)
            for _ in range(self.power_iterations - 1):
                v = _unit(u @ fixed.T)
                u = _unit(v @ fixed)
            # A kernel of zeros has no direction: the vector waits for one that has.
            u = jnp.where(jnp.any(fixed != 0), u, self.vector_u.value)
            self.vector_u.assign(u)
        sigma = (v @ matrix @ u.T).reshape(())
        return kernel / jnp.where(sigma != 0, sigma, jnp.ones_like(sigma))


def _unit(vector: jax.Array) -> jax.Array:
    size = jnp.sqrt(jnp.sum(jnp.square(vector)))
    return vector / jnp.maximum(size, jnp.asarray(1e-7, vector.dtype))

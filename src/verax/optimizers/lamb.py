"""LAMB: Adam's direction, with a step for each parameter in proportion to its size; for large batches."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
import optax

from verax.optimizers.base import Optimizer, Options, Rate
from verax.optimizers.transformations import descend, scale_by_adam_at

__all__ = ["Lamb"]


class Lamb(Optimizer):
    """Scales Adam's direction of each parameter to the parameter's norm.

        u = m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε),   m and v as in Adam
        w ← w − rate · ‖w‖ / ‖u‖ · u          (ratio 1 where either norm is 0)

    Args:
        learning_rate: As in ``Optimizer``.
        beta_1, beta_2: How much of m and of v is kept.
        epsilon: ε.
        options: The keyword arguments of ``Optimizer``; ``weight_decay`` is decoupled, and not in u.

    Source: You et al., 2019, https://arxiv.org/abs/1904.00962.

    >>> optimizer = Lamb(0.5)
    >>> params = {"w": jnp.array([3.0, 4.0])}
    >>> params, state = optimizer.update({"w": jnp.array([0.1, -7.0])}, optimizer.init(params), params)
    >>> [round(w, 3) for w in params["w"].tolist()]  # half the norm of 5, along (1, -1)
    [1.232, 5.768]
    """

    keras_slots = ({"mu": "momentum", "nu": "velocity"},)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.chain(
            scale_by_adam_at(self.beta_1, self.beta_2, self.epsilon), _to_size_of_params(), descend(learning_rate)
        )


def _to_size_of_params() -> optax.GradientTransformation:
    """Each update scaled to the norm of its parameter, where both have one."""

    def scaled(u: jax.Array, w: jax.Array) -> jax.Array:
        of_w, of_u = (jnp.sqrt(jnp.sum(jnp.square(x))) for x in (w, u))
        return jnp.where((of_w > 0) & (of_u > 0), of_w / jnp.where(of_u > 0, of_u, 1.0), 1.0) * u

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(scaled, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)

"""Schedule-free AdamW: an average of the iterates in the place of a falling rate."""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from verax.optimizers.base import Optimizer, Options, Rate
from verax.optimizers.transformations import in_float32

__all__ = ["ScheduleFreeAdamW", "ScheduleFreeState"]


class ScheduleFreeState(NamedTuple):
    """Steps so far, the points z that take the steps, and the mean squares of the gradients."""

    step: jax.Array
    z: Any
    nu: Any


class ScheduleFreeAdamW(Optimizer):
    """Steps from one point, averages the points, and takes gradients between the two; no rate has to fall.

        v ← β₂ v + (1 − β₂) g²,   z ← z − rate · min(t / warmup, 1) · g / (√(v / (1 − β₂ᵗ)) + ε)
        x ← (1 − 1/t) x + z / t,   w = (1 − β₁) z + β₁ x

    The weights of the model are w, where the gradients belong; x is not kept but found from w and z.

    Args:
        learning_rate: As in ``Optimizer``; a constant.
        beta_1: The share of the average x in w, above 0.
        beta_2: How much of v is kept.
        epsilon: ε.
        warmup_steps: Over so many steps the rate rises along a line; 0 for none.
        options: The keyword arguments of ``Optimizer``; ``weight_decay`` is none by default.

    Source: Defazio et al., 2024, https://arxiv.org/abs/2405.15682.

    >>> optimizer = ScheduleFreeAdamW(0.5)
    >>> params = {"w": jnp.array([1.0, 1.0])}
    >>> params, state = optimizer.update({"w": jnp.array([3.0, -0.1])}, optimizer.init(params), params)
    >>> [round(w, 3) for w in params["w"].tolist()]
    [0.5, 1.5]
    """

    keras_slots = ({"z": "momentum", "nu": "velocity"},)

    def __init__(
        self,
        learning_rate: Rate = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1, self.beta_2, self.epsilon, self.warmup_steps = beta_1, beta_2, epsilon, warmup_steps
        self._demand("beta_1", 0 < beta_1 <= 1, "above 0 and at most 1")
        self._demand("warmup_steps", warmup_steps >= 0, "not negative")

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        beta_1, beta_2 = in_float32(self.beta_1), in_float32(self.beta_2)

        def init(params: Any) -> ScheduleFreeState:
            # Arrays of their own: a loop may take over the memory of the parameters.
            z, v = jax.tree.map(jnp.copy, params), jax.tree.map(jnp.zeros_like, params)
            return ScheduleFreeState(jnp.zeros((), jnp.int32), z, v)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, ScheduleFreeState]:
            step = state.step + 1
            t = step.astype(jnp.float32)
            rate = learning_rate
            if self.warmup_steps:
                rate = rate * jnp.minimum(t / self.warmup_steps, 1.0)
            of_v, share = 1.0 - jnp.power(jnp.float32(beta_2), t), 1.0 / t
            nu = jax.tree.map(lambda g, v: v + (1 - beta_2) * (jnp.square(g) - v), updates, state.nu)

            def stepped(g: jax.Array, v: jax.Array, z: jax.Array) -> jax.Array:
                return z - rate.astype(g.dtype) * g / (jnp.sqrt(v / of_v.astype(v.dtype)) + self.epsilon)

            def change(w: jax.Array, before: jax.Array, z: jax.Array) -> jax.Array:
                x = (w - (1 - beta_1) * before) / beta_1
                x = (1.0 - share).astype(w.dtype) * x + share.astype(w.dtype) * z
                return (1 - beta_1) * z + beta_1 * x - w

            z = jax.tree.map(stepped, updates, nu, state.z)
            return jax.tree.map(change, params, state.z, z), ScheduleFreeState(step, z, nu)

        return optax.GradientTransformation(init, update)

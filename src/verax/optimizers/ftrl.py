"""Follow the regularized leader: weights that are exactly zero until a feature has earned more."""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from verax.optimizers.base import Optimizer, Options, Rate

__all__ = ["Ftrl", "FtrlState"]


class FtrlState(NamedTuple):
    """The sums of squared gradients, and the linear terms."""

    accumulator: Any
    linear: Any


class Ftrl(Optimizer):
    """Sets each weight to the best in hindsight of all gradients so far, under penalties: online convex learning.

        ĝ = g + 2 shrinkage · w,   n' = n + g²,   power p = −``learning_rate_power``
        z ← z + ĝ − (n'ᵖ − nᵖ) / rate · w,   n ← n'
        w ← (clip(z, −l1, l1) − z) / (nᵖ / rate + 2 l2 + beta / rate)

    The first step replaces the initial weights, which the rule takes to be zero.

    Args:
        learning_rate: As in ``Optimizer``.
        learning_rate_power: −p, not positive; 0 for a rate that does not fall.
        initial_accumulator_value: What n starts from, not negative.
        l1_regularization_strength: l1; weights whose |z| is not above it are exactly 0.
        l2_regularization_strength: l2, a penalty that stabilizes.
        l2_shrinkage_regularization_strength: A penalty on the size of the weights, which enters by the gradient.
        beta: β of the paper.
        options: The keyword arguments of ``Optimizer``.

    Source: McMahan et al., 2013, *Ad click prediction: a view from the trenches*; the form is TensorFlow's.

    >>> optimizer = Ftrl(0.5, l1_regularization_strength=1.0)
    >>> params = {"w": jnp.array([0.0, 0.0])}
    >>> params, state = optimizer.update({"w": jnp.array([3.0, -0.1])}, optimizer.init(params), params)
    >>> [round(w, 3) for w in params["w"].tolist()]
    [-0.331, 0.0]
    """

    keras_slots = ({"accumulator": "accumulator", "linear": "linear"},)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.learning_rate_power, self.initial_accumulator_value = learning_rate_power, initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta
        self._demand("learning_rate_power", learning_rate_power <= 0, "not positive")
        for argument in (
            "initial_accumulator_value",
            "l1_regularization_strength",
            "l2_regularization_strength",
            "l2_shrinkage_regularization_strength",
        ):
            self._demand(argument, getattr(self, argument) >= 0, "not negative")

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        power, l1 = -self.learning_rate_power, self.l1_regularization_strength

        def init(params: Any) -> FtrlState:
            start = self.initial_accumulator_value
            return FtrlState(
                jax.tree.map(lambda w: jnp.full_like(w, start), params), jax.tree.map(jnp.zeros_like, params)
            )

        def squares(g: jax.Array, n: jax.Array) -> jax.Array:
            return n + jnp.square(g)

        def linear(g: jax.Array, n: jax.Array, z: jax.Array, w: jax.Array) -> jax.Array:
            grown = (jnp.power(squares(g, n), power) - jnp.power(n, power)) / learning_rate.astype(w.dtype)
            return z + (g + 2 * self.l2_shrinkage_regularization_strength * w - grown * w)

        def change(n: jax.Array, z: jax.Array, w: jax.Array) -> jax.Array:
            rate = learning_rate.astype(w.dtype)
            l2 = self.l2_regularization_strength + self.beta / (2.0 * rate)
            return (jnp.clip(z, -l1, l1) - z) / (jnp.power(n, power) / rate + 2.0 * l2) - w

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, FtrlState]:
            n = jax.tree.map(squares, updates, state.accumulator)
            z = jax.tree.map(linear, updates, state.accumulator, state.linear, params)
            return jax.tree.map(change, n, z, params), FtrlState(n, z)

        return optax.GradientTransformation(init, update)

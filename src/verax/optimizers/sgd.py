"""Gradient descent, plain and with momentum, and its sign."""

from __future__ import annotations

from typing import Unpack

import jax
import optax

from verax.optimizers.base import Optimizer, Options, Rate
from verax.optimizers.transformations import descend

__all__ = ["SGD", "Lion"]


class SGD(Optimizer):
    """Steps against the gradient, carried on by momentum.

        v ← momentum · v − rate · g,   w ← w + v
        with nesterov:                 w ← w + momentum · v − rate · g

    The rate is inside the velocity: after a change of rate, earlier steps keep the rate they were made with.

    Args:
        learning_rate: As in ``Optimizer``.
        momentum: 0 to 1.
        nesterov: Look one step of momentum ahead.
        options: The keyword arguments of ``Optimizer``.

    Source: Sutskever et al., 2013, http://proceedings.mlr.press/v28/sutskever13.html.

    >>> optimizer = SGD(0.5, momentum=0.5)
    >>> params = {"w": jax.numpy.array([1.0])}
    >>> state = optimizer.init(params)
    >>> for _ in range(2):
    ...     params, state = optimizer.update({"w": jax.numpy.array([1.0])}, state, params)
    >>> params["w"].tolist()  # 1 - 0.5, then - (0.25 + 0.5)
    [-0.25]
    """

    keras_slots = ({"trace": "momentum"},)

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.momentum, self.nesterov = momentum, nesterov
        self._demand("momentum", 0 <= momentum <= 1, "between 0 and 1")

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        if not self.momentum:
            return descend(learning_rate)
        return optax.chain(descend(learning_rate), optax.trace(self.momentum, self.nesterov))


class Lion(Optimizer):
    """Steps by the sign of a momentum, so every element moves by the rate.

        w ← w − rate · sign(β₁ m + (1 − β₁) g),   m ← β₂ m + (1 − β₂) g

    Usual rates are 3 to 10 times smaller than AdamW's, and weight decay as much larger.

    Args:
        learning_rate: As in ``Optimizer``.
        beta_1: The momentum's share in the step, above 0 and at most 1.
        beta_2: How much of the momentum is kept.
        options: The keyword arguments of ``Optimizer``.

    Source: Chen et al., 2023, https://arxiv.org/abs/2302.06675.

    >>> optimizer = Lion(0.5)
    >>> params = {"w": jax.numpy.array([1.0, 1.0])}
    >>> params, state = optimizer.update({"w": jax.numpy.array([3.0, -0.1])}, optimizer.init(params), params)
    >>> params["w"].tolist()
    [0.5, 1.5]
    """

    keras_slots = ({"mu": "momentum"},)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1, self.beta_2 = beta_1, beta_2
        self._demand("beta_1", 0 < beta_1 <= 1, "above 0 and at most 1")

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_lion(self.beta_1, self.beta_2), descend(learning_rate))

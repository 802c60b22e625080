"""A rate for each element, from the size of its past gradients: RMSprop, Adagrad, Adadelta."""

from __future__ import annotations

from typing import Unpack

import jax
import optax

from verax.optimizers.base import Optimizer, Options, Rate
from verax.optimizers.transformations import descend

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


class RMSprop(Optimizer):
    """Divides the gradient by the root of a running mean of its square.

        v ← ρ v + (1 − ρ) g²,   a ← ρ a + (1 − ρ) g
        step = rate · g / √(v + ε),   centered: rate · g / √(v − a² + ε)
        w ← w − step,   with momentum: b ← momentum · b + step,  w ← w − b

    Args:
        learning_rate: As in ``Optimizer``.
        rho: ρ, how much of v (and a) is kept.
        momentum: How much of earlier steps is added; 0 for none.
        epsilon: ε, under the root.
        centered: Divide by the standard deviation in place of the root mean square.
        options: The keyword arguments of ``Optimizer``.

    Source: Hinton, 2012, http://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf; Graves, 2013,
    https://arxiv.org/abs/1308.0850, for the centered form.

    >>> optimizer = RMSprop(0.5, rho=0.75)
    >>> params = {"w": jax.numpy.array([2.0])}
    >>> params, state = optimizer.update({"w": jax.numpy.array([3.0])}, optimizer.init(params), params)
    >>> [round(w, 3) for w in params["w"].tolist()]  # 2 - 0.5 / sqrt(1 - 0.75)
    [1.0]
    """

    keras_slots = ({"nu": "velocity"}, {"trace": "momentum"}, {"mu": "average_gradient"})

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered
        self._demand("momentum", 0 <= momentum <= 1, "between 0 and 1")

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        scale = optax.scale_by_stddev if self.centered else optax.scale_by_rms
        if not self.momentum:
            return optax.chain(scale(self.rho, self.epsilon), descend(learning_rate))
        # b as above, and as Keras keeps it: of steps that are yet to be subtracted.
        step = optax.chain(scale(self.rho, self.epsilon), descend(-learning_rate))
        return optax.chain(step, optax.trace(self.momentum), optax.scale(-1.0))


class Adagrad(Optimizer):
    """Divides the gradient by the root of the sum of all its squares so far.

        s ← s + g²,   w ← w − rate · g / √(s + ε)

    Args:
        learning_rate: As in ``Optimizer``; the paper's form wants larger ones, such as 1.
        initial_accumulator_value: What s starts from, not negative.
        epsilon: ε, under the root.
        options: The keyword arguments of ``Optimizer``.

    Source: Duchi et al., 2011, http://www.jmlr.org/papers/volume12/duchi11a/duchi11a.pdf.

    >>> optimizer = Adagrad(0.5, initial_accumulator_value=7.0)
    >>> params = {"w": jax.numpy.array([2.0])}
    >>> params, state = optimizer.update({"w": jax.numpy.array([3.0])}, optimizer.init(params), params)
    >>> [round(w, 3) for w in params["w"].tolist()]  # 2 - 0.5 · 3 / sqrt(7 + 9)
    [1.625]
    """

    keras_slots = ({"sum_of_squares": "accumulator"},)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon
        self._demand("initial_accumulator_value", initial_accumulator_value >= 0, "not negative")

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_rss(self.initial_accumulator_value, self.epsilon), descend(learning_rate))


class Adadelta(Optimizer):
    """Scales the gradient by the size of recent steps over the size of recent gradients.

        e ← ρ e + (1 − ρ) g²,   d = √(x + ε) / √(e + ε) · g,   x ← ρ x + (1 − ρ) d²
        w ← w − rate · d

    Args:
        learning_rate: As in ``Optimizer``; 1 is the paper's form.
        rho: ρ, how much of e and x is kept.
        epsilon: ε, under both roots; it sets the size of the first steps.
        options: The keyword arguments of ``Optimizer``.

    Source: Zeiler, 2012, https://arxiv.org/abs/1212.5701.

    >>> optimizer = Adadelta(1.0, rho=0.75, epsilon=1e-2)
    >>> params = {"w": jax.numpy.array([2.0])}
    >>> params, state = optimizer.update({"w": jax.numpy.array([3.0])}, optimizer.init(params), params)
    >>> [round(w, 3) for w in params["w"].tolist()]  # 2 - 0.1 / sqrt(0.25 · 9 + 0.01) · 3
    [1.8]
    """

    keras_slots = ({"e_g": "accumulated_grad", "e_x": "accumulated_delta_var"},)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.rho, self.epsilon = rho, epsilon

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_adadelta(self.rho, self.epsilon), descend(learning_rate))

"""Adam and its relatives: momentum, divided by a running size of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Unpack

import jax
import optax

from verax.optimizers.base import Optimizer, Options, Rate, UndecayedOptions
from verax.optimizers.slots import Slot, Where
from verax.optimizers.transformations import (
    descend,
    product_of_nadam,
    scale_by_adam,
    scale_by_adamax,
    scale_by_nadam,
)

__all__ = ["Adam", "AdamW", "Adamax", "Nadam"]


class Adam(Optimizer):
    """Divides a running mean of the gradient by the root of a running mean of its square.

        m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
        w ← w − rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)

    Args:
        learning_rate: As in ``Optimizer``.
        beta_1: How much of m is kept.
        beta_2: How much of v is kept.
        epsilon: ε, added after the root and before the correction ("epsilon hat" in the paper).
        amsgrad: Divide by the largest v so far (Reddi et al., 2018, https://openreview.net/forum?id=ryQu7f-RZ).
        options: The keyword arguments of ``Optimizer``.

    Source: Kingma & Ba, 2014, https://arxiv.org/abs/1412.6980, the form before section 2.1.

    >>> optimizer = Adam(0.5)
    >>> params = {"w": jax.numpy.array([1.0, 1.0])}
    >>> params, state = optimizer.update({"w": jax.numpy.array([3.0, -0.1])}, optimizer.init(params), params)
    >>> [round(w, 3) for w in params["w"].tolist()]  # the first step is the rate, whatever the gradient's size
    [0.5, 1.5]
    """

    keras_slots = ({"mu": "momentum", "nu": "velocity"}, {"nu_max": "velocity_hat"})

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        direction = scale_by_adam(self.beta_1, self.beta_2, self.epsilon, self.amsgrad)
        return optax.chain(direction, descend(learning_rate))


class AdamW(Adam):
    """Adam with decoupled weight decay: each step also subtracts rate · ``weight_decay`` · w.

    Args:
        learning_rate, beta_1, beta_2, epsilon, amsgrad: As in ``Adam``.
        weight_decay: λ, a number; ``exclude_from_weight_decay`` spares parameters.
        options: The other keyword arguments of ``Optimizer``.

    Source: Loshchilov & Hutter, 2019, https://arxiv.org/abs/1711.05101.

    >>> optimizer = AdamW(0.5, weight_decay=0.25)
    >>> params = {"w": jax.numpy.array([1.0])}
    >>> params, state = optimizer.update({"w": jax.numpy.array([0.0])}, optimizer.init(params), params)
    >>> params["w"].tolist()
    [0.875]
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[UndecayedOptions],
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options)
        self._demand("weight_decay", weight_decay is not None, "a number (Adam is AdamW without it)")


class Adamax(Optimizer):
    """Adam with the largest recent gradient in place of the root mean square.

        m ← β₁ m + (1 − β₁) g,   u ← max(β₂ u, |g|)
        w ← w − rate / (1 − β₁ᵗ) · m / (u + ε)

    Args:
        learning_rate: As in ``Optimizer``.
        beta_1: How much of m is kept.
        beta_2: How much of u is kept.
        epsilon: ε.
        options: The keyword arguments of ``Optimizer``.

    Source: Kingma & Ba, 2014, https://arxiv.org/abs/1412.6980, section 7.1.

    >>> optimizer = Adamax(0.5)
    >>> params = {"w": jax.numpy.array([1.0])}
    >>> params, state = optimizer.update({"w": jax.numpy.array([3.0])}, optimizer.init(params), params)
    >>> [round(w, 3) for w in params["w"].tolist()]
    [0.5]
    """

    keras_slots = ({"mu": "momentum", "nu": "norm"},)

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
        return optax.chain(scale_by_adamax(self.beta_1, self.beta_2, self.epsilon), descend(learning_rate))


class Nadam(Optimizer):
    """Adam with Nesterov's momentum: m looks one step ahead, under a momentum that grows from β₁/2 to β₁.

        μ_t = β₁ (1 − ½ · 0.96ᵗ),   M_t = μ_1 ⋯ μ_t,   m and v as in Adam
        w ← w − rate · (μ_{t+1} m / (1 − M_{t+1}) + (1 − μ_t) g / (1 − M_t)) / (√(v / (1 − β₂ᵗ)) + ε)

    Args:
        learning_rate: As in ``Optimizer``.
        beta_1: How much of m is kept, and the limit of the momentum.
        beta_2: How much of v is kept.
        epsilon: ε.
        options: The keyword arguments of ``Optimizer``.

    Source: Dozat, 2015, http://cs229.stanford.edu/proj2015/054_report.pdf.

    >>> optimizer = Nadam(0.5)
    >>> params = {"w": jax.numpy.array([1.0])}
    >>> params, state = optimizer.update({"w": jax.numpy.array([3.0])}, optimizer.init(params), params)
    >>> 0.4 < float(params["w"][0]) < 0.5
    True
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
        return optax.chain(scale_by_nadam(self.beta_1, self.beta_2, self.epsilon), descend(learning_rate))

    def _rule_slots(self, fields: Mapping[Where, Slot], order: list[str], tracked: bool) -> list[Slot]:
        slots = super()._rule_slots(fields, order, tracked)
        if not tracked or not slots:
            return slots
        product = fields["product", ""]
        return [*slots, replace(product, name="u_product", value=product.value.astype(slots[0].value.dtype))]

    def _follows(self, field: str, steps: int) -> Any:
        return product_of_nadam(self.beta_1, steps) if field == "product" else super()._follows(field, steps)

"""Muon: momentum made orthogonal for matrices, AdamW for everything else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from verax.optimizers.base import Optimizer, Rate, UndecayedOptions
from verax.optimizers.transformations import scale_by_adam

__all__ = ["Muon", "MuonState", "orthogonalized"]

Arrays = dict[str, jax.Array]


class MuonState(NamedTuple):
    """The momenta of the matrices, and the state of Adam for the rest."""

    momentum: Arrays
    adam: Any


def orthogonalized(x: jax.Array, steps: int, a: float, b: float, c: float) -> jax.Array:
    """``x`` with its singular values driven towards 1, by the iteration x ← a x + (b A + c A²) x with A = x xᵀ.

    Args:
        x: (rows, columns).
        steps: How many times.
        a, b, c: The coefficients of the odd polynomial that is applied to each singular value.

    Source: Jordan et al., 2024, *Muon*, https://kellerjordan.github.io/posts/muon.

    >>> x = orthogonalized(jnp.array([[2.0, 0.0], [0.0, 0.5]]), 5, 3.4445, -4.775, 2.0315)
    >>> bool(((x.diagonal() > 0.6) & (x.diagonal() < 1.3)).all())
    True
    """
    upright = x.shape[0] > x.shape[1]
    x = x.T if upright else x
    x = x / (jnp.sqrt(jnp.sum(jnp.square(x))) + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if upright else x


class Muon(Optimizer):
    """Steps matrices along their momentum with all singular values made alike, other parameters by AdamW.

        m ← momentum · m + g,   d = orthogonalized(g + momentum · m), without nesterov of m
        w ← w − rate · rms_rate · √max(rows, columns) · d

    Parameters of one, three or more axes, embeddings, and those of ``exclude_layers`` step as with ``Adam`` at rate ·
    ``adam_lr_ratio``.

    Args:
        learning_rate: As in ``Optimizer``.
        adam_beta_1, adam_beta_2, epsilon: Of Adam.
        adam_weight_decay: λ for the parameters of Adam; None for none.
        weight_decay: λ for the matrices; None for none.
        exclude_layers: Regular expressions; a matrix in whose path one is found is a parameter of Adam.
        exclude_embeddings: Whether one with "embedding" in its path is.
        muon_a, muon_b, muon_c, ns_steps: As in ``orthogonalized``.
        adam_lr_ratio: The rate of Adam over that of the matrices.
        momentum: How much of m is kept.
        nesterov: Look one step of momentum ahead.
        rms_rate: The root mean square of a step over the rate; None for no scaling by the size of the matrix.
        options: The other keyword arguments of ``Optimizer``.

    Source: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; Liu et al., 2025,
    https://arxiv.org/abs/2502.16982, for ``rms_rate``.

    >>> optimizer = Muon(0.5, weight_decay=None, rms_rate=None)
    >>> params = {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)}
    >>> grads = {"w": jnp.array([[5.0, 0.0], [0.0, 5.0]]), "b": jnp.ones(2)}
    >>> params, state = optimizer.update(grads, optimizer.init(params), params)
    >>> [round(b, 3) for b in params["b"].tolist()], bool((abs(params["w"].diagonal() + 0.5) < 0.2).all())
    ([-0.5, -0.5], True)
    """

    keras_slots = ({"momentum": "momentum", "mu": "momentum", "nu": "velocity"},)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        exclude_layers: Iterable[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **options: Unpack[UndecayedOptions],
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.adam_beta_1, self.adam_beta_2, self.epsilon = adam_beta_1, adam_beta_2, epsilon
        self.adam_weight_decay, self.adam_lr_ratio = adam_weight_decay, adam_lr_ratio
        self.exclude_layers, self.exclude_embeddings = list(exclude_layers or ()), exclude_embeddings
        self.muon_a, self.muon_b, self.muon_c, self.ns_steps = muon_a, muon_b, muon_c, ns_steps
        self.momentum, self.nesterov, self.rms_rate = momentum, nesterov, rms_rate
        self._demand("adam_weight_decay", adam_weight_decay is None or adam_weight_decay >= 0, "not negative, or None")
        self._demand("ns_steps", ns_steps >= 0, "not negative")

    def is_of_adam(self, path: str, w: jax.Array) -> bool:
        """Whether the parameter at ``path`` steps by AdamW."""
        if w.ndim != 2 or (self.exclude_embeddings and "embedding" in path.lower()):
            return True
        return any(re.search(pattern, path) for pattern in self.exclude_layers)

    def decay_of(self, path: str, w: jax.Array) -> float | None:
        """λ of the parameter at ``path``; None for none."""
        if not self._decays(path):
            return None
        return self.adam_weight_decay if self.is_of_adam(path, w) else self.weight_decay

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        adam = scale_by_adam(self.adam_beta_1, self.adam_beta_2, self.epsilon, False)

        def split(params: Arrays) -> tuple[Arrays, Arrays]:
            """Those of Adam, and the matrices."""
            parts: tuple[Arrays, Arrays] = ({}, {})
            for path, w in params.items():
                parts[0 if self.is_of_adam(path, w) else 1][path] = w
            return parts

        def init(params: Any) -> MuonState:
            of_adam, matrices = split(params)
            return MuonState(jax.tree.map(jnp.zeros_like, matrices), adam.init(of_adam))

        def step(g: jax.Array, m: jax.Array) -> jax.Array:
            ahead = g + self.momentum * m if self.nesterov else m
            d = orthogonalized(ahead, self.ns_steps, self.muon_a, self.muon_b, self.muon_c)
            d = -learning_rate.astype(g.dtype) * d
            return d if self.rms_rate is None else d * (max(g.shape) ** 0.5) * self.rms_rate

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, MuonState]:
            of_adam, matrices = split(updates)
            m = jax.tree.map(lambda g, m: m + (g + m * (self.momentum - 1)), matrices, state.momentum)
            directions, after = adam.update(of_adam, state.adam)
            rate = learning_rate * self.adam_lr_ratio
            changes = jax.tree.map(lambda d: -rate.astype(d.dtype) * d, directions)
            return {**changes, **jax.tree.map(step, matrices, m)}, MuonState(m, after)

        return optax.GradientTransformation(init, update)

"""Adafactor: a rate for each element of a matrix from two vectors, so that its state is small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from verax.optimizers.base import Optimizer, Options, Rate
from verax.optimizers.slots import Slot, Where

__all__ = ["Adafactor", "AdafactorState"]

Arrays = dict[str, jax.Array]


class AdafactorState(NamedTuple):
    """Steps so far; of matrices the mean squares by row and by column, of vectors and scalars those by element."""

    step: jax.Array
    rows: Arrays
    columns: Arrays
    elements: Arrays


class Adafactor(Optimizer):
    """Divides the gradient by the root of a mean square that is kept by row and by column only.

        G = g² + ε₁,   β = 1 − t^decay,   R ← β R + (1 − β) mean_columns G,   C ← β C + (1 − β) mean_rows G
        V = R C / mean R                  (vectors and scalars: V ← β V + (1 − β) G)
        u = g / √V,   û = u / max(1, rms(u) / clip)
        w ← w − max(ε₂, rms(w)) · ρ · û,   ρ = min(rate, 1 / √t)

    Rows and columns are the last two axes. The state of a matrix (n, m) is n + m numbers.

    Args:
        learning_rate: As in ``Optimizer``; relative to the size of each parameter.
        beta_2_decay: How β nears 1.
        epsilon_1: ε₁, keeps V above 0.
        epsilon_2: ε₂, the least size a parameter is taken to have.
        clip_threshold: The largest root mean square of u.
        relative_step: Whether ρ falls with t as above; else, and with a schedule, ρ is the rate.
        options: The keyword arguments of ``Optimizer``.

    Source: Shazeer & Stern, 2018, https://arxiv.org/abs/1804.04235.

    Differs from Keras: ``relative_step=False`` and schedules take the rate as it is, as documented there; Keras 3.15
    takes no more than 1 / √t of it whatever the argument.

    >>> optimizer = Adafactor(0.5)
    >>> params = {"w": jnp.array([2.0, 2.0])}
    >>> params, state = optimizer.update({"w": jnp.array([3.0, -0.1])}, optimizer.init(params), params)
    >>> params["w"].tolist()
    [1.0, 3.0]
    """

    keras_slots = ({"rows": "rows", "columns": "columns", "elements": "velocity"},)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_2_decay, self.epsilon_1, self.epsilon_2 = beta_2_decay, epsilon_1, epsilon_2
        self.clip_threshold, self.relative_step = clip_threshold, relative_step
        self._demand("beta_2_decay", beta_2_decay < 0, "negative")
        self._demand("clip_threshold", clip_threshold > 0, "positive")

    def rule(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        def init(params: Any) -> AdafactorState:
            wide = {path: w for path, w in params.items() if w.ndim >= 2}
            return AdafactorState(
                jnp.zeros((), jnp.int32),
                {path: jnp.zeros(w.shape[:-1], w.dtype) for path, w in wide.items()},
                {path: jnp.zeros((*w.shape[:-2], w.shape[-1]), w.dtype) for path, w in wide.items()},
                {path: jnp.zeros_like(w) for path, w in params.items() if w.ndim < 2},
            )

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AdafactorState]:
            step = state.step + 1
            t = step.astype(jnp.float32)
            beta = 1.0 - jnp.power(t, self.beta_2_decay)
            relative = self.relative_step and not callable(self._learning_rate)
            rho = jnp.minimum(learning_rate, 1.0 / jnp.sqrt(t)) if relative else learning_rate
            after = AdafactorState(step, {}, {}, {})
            changes: Arrays = {}
            for path, g in updates.items():
                u = g / jnp.sqrt(self._mean_square(path, g, beta.astype(g.dtype), state, after))
                u = u / jnp.maximum(1.0, _rms(u) / self.clip_threshold)
                changes[path] = -jnp.maximum(self.epsilon_2, _rms(params[path])) * rho.astype(g.dtype) * u
            return changes, after

        return optax.GradientTransformation(init, update)

    def _mean_square(
        self, path: str, g: jax.Array, beta: jax.Array, state: AdafactorState, after: AdafactorState
    ) -> jax.Array:
        """V of a parameter; what it is made of goes into ``after``."""
        square = jnp.square(g) + self.epsilon_1
        if g.ndim < 2:
            after.elements[path] = beta * state.elements[path] + (1.0 - beta) * square
            return after.elements[path]
        rows = beta * state.rows[path] + (1.0 - beta) * jnp.mean(square, axis=-1)
        columns = beta * state.columns[path] + (1.0 - beta) * jnp.mean(square, axis=-2)
        after.rows[path], after.columns[path] = rows, columns
        return _product(rows, columns)

    def _rule_slots(self, fields: Mapping[Where, Slot], order: list[str], tracked: bool) -> list[Slot]:
        """Of a matrix R, C and V, which is made of both; of a vector V, after two zeros that stand for R and C."""
        slots: list[Slot] = []
        for path in order:
            if ("rows", path) in fields:
                rows, columns = fields["rows", path], fields["columns", path]
                v = jnp.where(fields["step", ""].value > 0, _product(rows.value, columns.value), 0.0)
                slots += [rows, columns, Slot(v, "velocity", path)]
            else:
                zeros = jnp.zeros((), jnp.int32)
                slots += [Slot(zeros, "rows", path), Slot(zeros, "columns", path)] if tracked else []
                slots.append(replace(fields["elements", path], name="velocity"))
        return slots


def _product(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """V of a matrix: the outer product of the mean squares by row and by column, over the mean of all."""
    return (rows / jnp.mean(rows, axis=-1, keepdims=True))[..., None] * columns[..., None, :]


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))

"""Optax transformations of our own, each where Keras' result differs from optax's or optax has none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

__all__ = [
    "accumulate",
    "average",
    "average_of",
    "clip_each_by_norm",
    "decay_weights",
    "descend",
    "in_float32",
    "product_of_nadam",
    "scale_by_adam",
    "scale_by_adam_at",
    "scale_by_adamax",
    "scale_by_nadam",
]

Arrays = dict[str, jax.Array]


def _stateless(change: Callable[[Any, Any], Any]) -> optax.GradientTransformation:
    """The transformation of a function of (updates, params)."""
    return optax.GradientTransformation(
        lambda params: optax.EmptyState(), lambda updates, state, params=None: (change(updates, params), state)
    )


def descend(rate: jax.Array) -> optax.GradientTransformation:
    """Multiply with minus the rate, in the dtype of each parameter (optax's promotes to the rate's)."""
    return _stateless(lambda updates, _: jax.tree.map(lambda u: -rate.astype(u.dtype) * u, updates))


def decay_weights(
    rule: optax.GradientTransformation, rate: jax.Array, decay_of: Callable[[str, jax.Array], float | None]
) -> optax.GradientTransformation:
    """``rule``, from parameters that have decayed: first w ← w − rate · λ · w with λ = ``decay_of(path, w)``.

    Decoupled as in AdamW (Loshchilov & Hutter, https://arxiv.org/abs/1711.05101), and outside of any momentum. A rule
    that looks at the parameters sees the decayed ones, as in Keras; optax's chains decay after the rule.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factors = {path: decay_of(path, w) for path, w in params.items()}
        decayed = {
            path: w if (factor := factors[path]) is None else w - (rate * factor).astype(w.dtype) * w
            for path, w in params.items()
        }
        step: Any = rule.update(updates, state, decayed)
        changes, state = step
        # The difference, and not the product again: a rule that sets a weight to 0 does so exactly.
        changes = {
            path: u if factors[path] is None else u + (decayed[path] - params[path]) for path, u in changes.items()
        }
        return changes, state

    return optax.GradientTransformation(rule.init, update)


def clip_each_by_norm(limit: float) -> optax.GradientTransformation:
    """Scale each gradient to a Euclidean norm of at most ``limit``: g · limit / max(‖g‖, limit)."""

    def clip(g: jax.Array) -> jax.Array:
        return g * limit / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(g))), limit)

    return _stateless(lambda updates, _: jax.tree.map(clip, updates))


class AccumulateState(NamedTuple):
    """Steps since the last change, the gradients' sum over them, and the inner state."""

    waited: jax.Array
    total: Any
    inner: Any


def accumulate(inner: optax.GradientTransformation, steps: int) -> optax.GradientTransformation:
    """Give ``inner`` the mean gradient of ``steps`` steps at the last of them; change nothing at the others.

    As ``optax.MultiSteps``, with the sum kept instead of a running mean, which is exact for whole numbers and passes
    under strict dtype promotion.
    """

    def init(params: Any) -> AccumulateState:
        return AccumulateState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), inner.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AccumulateState]:
        total = jax.tree.map(jnp.add, state.total, updates)
        nothing = jax.tree.map(jnp.zeros_like, updates)

        def apply() -> tuple[Any, AccumulateState]:
            changes, after = inner.update(jax.tree.map(lambda t: t / steps, total), state.inner, params)
            return changes, AccumulateState(jnp.zeros_like(state.waited), nothing, after)

        def wait() -> tuple[Any, AccumulateState]:
            return nothing, AccumulateState(state.waited + 1, total, state.inner)

        return jax.lax.cond(state.waited == steps - 1, apply, wait)

    return optax.GradientTransformation(init, update)


class AverageState(NamedTuple):
    """Steps asked for so far, and the moving average of the parameters."""

    asked: jax.Array
    average: Any


def average(momentum: float, overwrite_every: int | None, accumulation: int) -> optax.GradientTransformation:
    """Keep a ← momentum · a + (1 − momentum) · w of the changed parameters; now and then set them to it.

    The average starts at the parameters after the first change. Stands last, where the changes are final. With
    accumulation, as in Keras, the average moves at every step while the overwriting counts changes.
    """

    def init(params: Any) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, AverageState]:
        changed = state.asked // accumulation
        kept = jnp.where(changed == 0, 0.0, momentum)
        moved = jax.tree.map(
            lambda a, p, u: kept.astype(a.dtype) * a + (1.0 - kept).astype(a.dtype) * (p + u),
            state.average,
            params,
            updates,
        )
        if overwrite_every is not None:
            now = (changed + 1) % overwrite_every == 0
            updates = jax.tree.map(lambda a, p, u: jnp.where(now, a - p, u), moved, params, updates)
        return updates, AverageState(state.asked + 1, moved)

    return optax.GradientTransformation(init, update)


def average_of(states: tuple[Any, ...]) -> Arrays:
    """The average in the states of a chain that ends with ``average``."""
    return states[-1].average


def scale_by_adam(beta_1: float, beta_2: float, epsilon: float, amsgrad: bool) -> optax.GradientTransformation:
    """Adam's direction, with Keras' place for epsilon.

        m ← m + (1 − β₁)(g − m),   v ← v + (1 − β₂)(g² − v)
        m √(1 − β₂ᵗ) / (1 − β₁ᵗ) / (√v + ε),   with amsgrad the largest v so far

    This is the form before section 2.1 of Kingma & Ba (https://arxiv.org/abs/1412.6980). optax adds ε to √v after
    the correction, which is 1/√(1 − β₂ᵗ) times larger, 31 times at the first step; and its amsgrad takes the largest
    of the corrected v.
    """

    def init(params: Any) -> Any:
        m, v, v_max = (jax.tree.map(jnp.zeros_like, params) for _ in range(3))
        count = jnp.zeros((), jnp.int32)
        if amsgrad:
            return optax.ScaleByAmsgradState(count, m, v, v_max)
        return optax.ScaleByAdamState(count, m, v)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        count = state.count + 1
        m = _toward(updates, state.mu, beta_1)
        v = _toward(jax.tree.map(jnp.square, updates), state.nu, beta_2)
        correction = jnp.sqrt(1 - _power(beta_2, count)) / (1 - _power(beta_1, count))
        if amsgrad:
            largest = jax.tree.map(jnp.maximum, state.nu_max, v)
            state = optax.ScaleByAmsgradState(count, m, v, largest)
        else:
            largest = v
            state = optax.ScaleByAdamState(count, m, v)
        return jax.tree.map(lambda a, b: a * correction.astype(a.dtype) / (jnp.sqrt(b) + epsilon), m, largest), state

    return optax.GradientTransformation(init, update)


def scale_by_adam_at(beta_1: float, beta_2: float, epsilon: float) -> optax.GradientTransformation:
    """Adam's direction with both moments corrected before the root: m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε).

    As ``optax.scale_by_adam``, in each parameter's dtype.
    """

    def init(params: Any) -> Any:
        m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), m, v)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        count = state.count + 1
        m = _toward(updates, state.mu, beta_1)
        v = _toward(jax.tree.map(jnp.square, updates), state.nu, beta_2)
        of_m, of_v = 1 - _power(beta_1, count), 1 - _power(beta_2, count)

        def direction(a: jax.Array, b: jax.Array) -> jax.Array:
            return a / of_m.astype(a.dtype) / (jnp.sqrt(b / of_v.astype(b.dtype)) + epsilon)

        return jax.tree.map(direction, m, v), optax.ScaleByAdamState(count, m, v)

    return optax.GradientTransformation(init, update)


def scale_by_adamax(beta_1: float, beta_2: float, epsilon: float) -> optax.GradientTransformation:
    """Adamax's direction: m / ((1 − β₁ᵗ)(u + ε)), with m as in Adam and u ← max(β₂ u, |g|).

    Section 7.1 of Kingma & Ba. optax adds ε to |g| inside the maximum, which is another number for small gradients.
    """

    def init(params: Any) -> Any:
        m, u = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), m, u)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        count = state.count + 1
        m = _toward(updates, state.mu, beta_1)
        u = jax.tree.map(lambda g, old: jnp.maximum(beta_2 * old, jnp.abs(g)), updates, state.nu)
        correction = 1 - _power(beta_1, count)
        changes = jax.tree.map(lambda a, b: a / (correction.astype(a.dtype) * (b + epsilon)), m, u)
        return changes, optax.ScaleByAdamState(count, m, u)

    return optax.GradientTransformation(init, update)


class NadamState(NamedTuple):
    """Steps so far, the product of the momenta, and the two moments."""

    step: jax.Array
    product: jax.Array
    mu: Any
    nu: Any


def scale_by_nadam(beta_1: float, beta_2: float, epsilon: float) -> optax.GradientTransformation:
    """Nadam's direction, with the momentum schedule of Dozat's report.

        μ_t = β₁ (1 − ½ · 0.96ᵗ),   M_t = μ_1 ⋯ μ_t
        (μ_{t+1} m / (1 − M_{t+1}) + (1 − μ_t) g / (1 − M_t)) / (√(v / (1 − β₂ᵗ)) + ε),   m and v as in Adam

    Source: Dozat, 2015, http://cs229.stanford.edu/proj2015/054_report.pdf. optax's Nadam keeps μ constant.
    """

    momentum = partial(_momentum_of_nadam, beta_1)
    beta_1, beta_2 = in_float32(beta_1), in_float32(beta_2)

    def init(params: Any) -> NadamState:
        m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return NadamState(jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32), m, v)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, NadamState]:
        count = state.step + 1
        now, ahead = momentum(count), momentum(count + 1)
        product = state.product * now
        m = _toward(updates, state.mu, beta_1)
        v = _toward(jax.tree.map(jnp.square, updates), state.nu, beta_2)
        of_m, of_g = ahead / (1 - product * ahead), (1 - now) / (1 - product)
        of_v = 1 - _power(beta_2, count)

        def direction(g: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
            looked_ahead = of_m.astype(a.dtype) * a + of_g.astype(g.dtype) * g
            return looked_ahead / (jnp.sqrt(b / of_v.astype(b.dtype)) + epsilon)

        return jax.tree.map(direction, updates, m, v), NadamState(count, product, m, v)

    return optax.GradientTransformation(init, update)


def _momentum_of_nadam(beta_1: float, count: jax.Array) -> jax.Array:
    return beta_1 * (1 - 0.5 * _power(0.96, count))


def product_of_nadam(beta_1: float, steps: int) -> jax.Array:
    """μ_1 ⋯ μ_t of Nadam for t = ``steps``, float32, multiplied in the order of the steps.

    >>> [round(float(product_of_nadam(0.5, steps)), 4) for steps in (0, 1, 2)]
    [1.0, 0.26, 0.0701]
    """

    def more(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        count, product, before = carry
        return (count <= steps) & (product != before)  # μ only grows: a product that stays once stays

    def times(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        count, product, _ = carry
        return count + 1, product * _momentum_of_nadam(beta_1, count), product

    start = (jnp.ones((), jnp.int32), jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32))
    return jax.lax.while_loop(more, times, start)[1]


def _toward(new: Any, old: Any, beta: float) -> Any:
    """The moving average of a tree: old + (1 − β)(new − old)."""
    return jax.tree.map(lambda n, o: o + (1 - beta) * (n - o), new, old)


def in_float32(beta: float) -> float:
    """``beta`` as float32 holds it: 1 − β then fits the 1 − βᵗ of ``_power`` (0.999 is off by 1.3e-5 of 0.001)."""
    return float(np.float32(beta))


def _power(base: float, count: jax.Array) -> jax.Array:
    """base to the count, in float32, as Keras takes it: 1 − 0.999ᵗ then carries the same rounding."""
    return jnp.power(jnp.asarray(base, jnp.float32), count.astype(jnp.float32))

"""Recurrences over time: one scan for all of them, and forms of LSTM and GRU whose gradients are written by hand."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from verax.ops.contraction import multiply

__all__ = ["Weights", "gru", "lstm", "recur"]

States = tuple[jax.Array, ...]


class Weights(NamedTuple):
    """What a recurrence multiplies and adds, for all its gates side by side.

    Attributes:
        kernel: Of the inputs, (features, gates * units).
        recurrent_kernel: Of the state, (units, gates * units).
        bias: Of the inputs, (gates * units,), or None.
        recurrent_bias: Of the state, (gates * units,), or None.
    """

    kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array | None = None
    recurrent_bias: jax.Array | None = None


def recur(
    step: Callable[[jax.Array, States], States],
    inputs: jax.Array,
    states: States,
    counts: jax.Array | None = None,
    *,
    sequences: bool = False,
    unroll: int = 1,
) -> tuple[States, jax.Array | None]:
    """Carry ``states`` through time; gradients are autodiff's. The plain form that ``lstm`` and ``gru`` are tested on.

    Args:
        step: ``(inputs of a step, states) -> states``.
        inputs: (time, batch, ...).
        states: Each (batch, ...); the first of them is the output.
        counts: (time, batch), False where a step changes nothing; None where all count.
        sequences: Whether the outputs of all steps are returned.
        unroll: How many steps stand in the body of the loop.

    Returns:
        The last states, and the outputs (time, batch, ...) or None.

    >>> recur(lambda x, s: (s[0] + x,), jnp.ones((3, 1, 1)), (jnp.zeros((1, 1)),), sequences=True)[1].ravel().tolist()
    [1.0, 2.0, 3.0]
    """

    def one(states: States, at: Any) -> tuple[States, jax.Array | None]:
        x, counting = at
        new = _where(counting, step(x, states), states)
        return new, new[0] if sequences else None

    return lax.scan(one, states, (inputs, counts), unroll=unroll)


def lstm(
    inputs: jax.Array,
    weights: Weights,
    states: tuple[jax.Array, jax.Array],
    counts: jax.Array | None = None,
    *,
    sequences: bool = False,
) -> tuple[States, jax.Array | None]:
    """The LSTM with tanh and sigmoid: the recurrence of ``verax.layers.LSTM``, fast in both directions.

    Autodiff adds each step's kernel gradient to a sum and keeps what each operation kept. Here the forward scan keeps
    the gates, the backward scan has one matrix product a step, and the gradients of both kernels and of the bias are
    one product over all steps at its end. Reverse mode works to any order; forward mode (``jax.jvp``) needs ``recur``.

    Args:
        inputs: (time, batch, features).
        weights: For the gates i, f, c, o side by side, 4 * units; without a recurrent bias.
        states: h and c, each (batch, units).
        counts, sequences: As in ``recur``, and so is what is returned.

    >>> z, ones = jnp.zeros((1, 2)), Weights(jnp.ones((1, 8)), jnp.zeros((2, 8)))
    >>> (h, c), _ = lstm(jnp.ones((3, 1, 1)), ones, (z, z))
    >>> print(f"{h[0, 0]:.4f} {c[0, 0]:.4f}")
    0.6225 1.2614
    """
    return _recur(_LSTM, sequences, _Operands(inputs, weights, states, counts))


def gru(
    inputs: jax.Array,
    weights: Weights,
    states: tuple[jax.Array],
    counts: jax.Array | None = None,
    *,
    sequences: bool = False,
) -> tuple[States, jax.Array | None]:
    """The GRU with tanh, sigmoid and ``reset_after``: the recurrence of ``verax.layers.GRU``, made fast as ``lstm`` is.

    Args:
        inputs: (time, batch, features).
        weights: For the gates z, r, h side by side, 3 * units.
        states: h, (batch, units), in a tuple.
        counts, sequences: As in ``recur``, and so is what is returned.

    >>> (h,), _ = gru(jnp.ones((3, 1, 1)), Weights(jnp.ones((1, 6)), jnp.zeros((2, 6))), (jnp.zeros((1, 2)),))
    >>> print(f"{h[0, 0]:.4f}")
    0.4640
    """
    return _recur(_GRU, sequences, _Operands(inputs, weights, states, counts))


class _Cell(NamedTuple):
    """One step and its gradient.

    Attributes:
        forward: ``(projected, h @ kernel + bias, states) -> (states, kept)``.
        backward: ``(states before, kept, gradients of the states) -> (gradient of projected, that of h @ kernel + bias
            or None where it is the same, gradients of the states before without what goes through the kernel)``.
        joint: ``forward`` of the sum of its first two arguments, where it asks for no more.
    """

    forward: Callable[[jax.Array, jax.Array, States], tuple[States, States]]
    backward: Callable[[States, States, States], tuple[jax.Array, jax.Array | None, States]]
    joint: Callable[[jax.Array, States], tuple[States, States]] | None = None


class _Operands(NamedTuple):
    """What a recurrence runs on: the arguments of ``lstm`` and ``gru``."""

    inputs: jax.Array
    weights: Weights
    states: States
    counts: jax.Array | None

    def steps(self, cell: _Cell) -> tuple[jax.Array, Callable[[jax.Array, States], tuple[States, States]]]:
        """What each step is given, and the step: (the next states, what the gradient needs of it).

        Few features stand beside the state in the steps' own product: the product of all steps' would be written to
        memory and read again, which takes longer than it does. A bias is added where its product is at hand.
        """
        kernel, recurrent_kernel, bias, recurrent_bias = self.weights
        time, batch, features = self.inputs.shape
        joint = cell.joint
        if joint is not None and 2 * features <= recurrent_kernel.shape[0]:
            both = jnp.concatenate([kernel, recurrent_kernel])

            def at_once(x: jax.Array, states: States) -> tuple[States, States]:
                return joint(_plus(multiply(jnp.concatenate([x, states[0]], axis=-1), both), bias), states)

            return self.inputs, at_once

        def step(x: jax.Array, states: States) -> tuple[States, States]:
            inner = multiply(states[0], recurrent_kernel)
            return cell.forward(_plus(x, bias), _plus(inner, recurrent_bias), states)

        return multiply(self.inputs.reshape(-1, features), kernel).reshape(time, batch, -1), step


def _plus(x: jax.Array, bias: jax.Array | None) -> jax.Array:
    return x if bias is None else x + bias[None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recur(cell: _Cell, sequences: bool, given: _Operands) -> tuple[States, jax.Array | None]:
    xs, step = given.steps(cell)
    return recur(lambda x, states: step(x, states)[0], xs, given.states, given.counts, sequences=sequences)


def _forward(cell: _Cell, sequences: bool, given: _Operands) -> tuple[tuple[States, jax.Array | None], Any]:
    xs, step = given.steps(cell)

    def one(states: States, at: Any) -> tuple[States, Any]:
        x, counting = at
        new, kept = step(x, states)
        new = _where(counting, new, states)
        return new, (new[0] if sequences else None, states, kept)

    last, (outputs, before, kept) = lax.scan(one, given.states, (xs, given.counts))
    return (last, outputs), (given._replace(states=before), kept)


def _backward(cell: _Cell, sequences: bool, residuals: Any, cotangents: Any) -> tuple[_Operands]:
    given, kept = residuals
    inputs, weights, before, counts = given
    last, outputs = cotangents

    def one(dstates: States, at: Any) -> tuple[States, Any]:
        before, kept, counting, dy = at
        if dy is not None:
            dstates = (dstates[0] + dy, *dstates[1:])
        felt = _where(counting, dstates, tuple(jnp.zeros_like(d) for d in dstates))
        dx, dinner, dbefore = cell.backward(before, kept, felt)
        dh = dbefore[0] + multiply(dx if dinner is None else dinner, weights.recurrent_kernel, turn_b=True)
        return _where(counting, (dh, *dbefore[1:]), dstates), (dx, dinner)

    dfirst, (dprojected, dinner) = lax.scan(one, last, (before, kept, counts, outputs), reverse=True)
    dweights = _of_weights(weights, inputs, before[0], dprojected, dinner)
    dinputs = multiply(dprojected.reshape(-1, dprojected.shape[-1]), weights.kernel, turn_b=True)
    dcounts: Any = None if counts is None else np.zeros(counts.shape, jax.dtypes.float0)
    return (_Operands(dinputs.reshape(inputs.shape), dweights, dfirst, dcounts),)


def _of_weights(
    weights: Weights, inputs: jax.Array, h: jax.Array, dprojected: jax.Array, dinner: jax.Array | None
) -> Weights:
    """The gradients of the weights, from those of both products; the second is None where it is the first.

    Whatever the same gradient is multiplied by stands side by side, a column of ones for the bias too, so that it is
    read once.
    """
    once = jnp.ones((*h.shape[:-1], 1), h.dtype)
    if dinner is None and weights.recurrent_bias is None and inputs.shape[-1] <= dprojected.shape[-1]:
        [kernel, recurrent_kernel], bias = _products([inputs, h], once, weights.bias, dprojected)
        return Weights(kernel, recurrent_kernel, bias)
    [kernel], bias = _products([inputs], once, weights.bias, dprojected)
    dinner = dprojected if dinner is None else dinner
    [recurrent_kernel], recurrent_bias = _products([h], once, weights.recurrent_bias, dinner)
    return Weights(kernel, recurrent_kernel, bias, recurrent_bias)


def _products(
    factors: list[jax.Array], once: jax.Array, bias: jax.Array | None, gradient: jax.Array
) -> tuple[list[jax.Array], jax.Array | None]:
    """Each factor (time, batch, n) times the gradient, summed over all steps; and the gradient of the bias, if any."""
    columns = factors if bias is None else [*factors, once]
    joined = jnp.concatenate(columns, axis=-1)
    made = multiply(joined.reshape(-1, joined.shape[-1]), gradient.reshape(-1, gradient.shape[-1]), turn_a=True)
    parts = jnp.split(made, list(itertools.accumulate(f.shape[-1] for f in columns))[:-1])
    return parts[: len(factors)], None if bias is None else parts[-1][0]


_recur.defvjp(_forward, _backward)


def _where(counting: jax.Array | None, new: States, old: States) -> States:
    if counting is None:
        return new
    return tuple(jnp.where(counting.reshape(-1, *(1,) * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True))


def _lstm_forward(x: jax.Array, inner: jax.Array, states: States) -> tuple[States, States]:
    return _lstm_joint(x + inner, states)


def _lstm_joint(sums: jax.Array, states: States) -> tuple[States, States]:
    i, f, g, o = jnp.split(sums, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * states[1] + i * g
    a = jnp.tanh(c)
    return (o * a, c), (i, f, g, o, a)


def _lstm_backward(before: States, kept: States, dstates: States) -> tuple[jax.Array, None, States]:
    i, f, g, o, a = kept
    dh, dc = dstates
    dc = dc + dh * o * (1.0 - a * a)
    gates = (
        dc * g * i * (1.0 - i),
        dc * before[1] * f * (1.0 - f),
        dc * i * (1.0 - g * g),
        dh * a * o * (1.0 - o),
    )
    return jnp.concatenate(gates, axis=-1), None, (jnp.zeros_like(dh), dc * f)


def _gru_forward(x: jax.Array, inner: jax.Array, states: States) -> tuple[States, States]:
    (h,) = states
    n = 2 * h.shape[-1]
    z, r = jnp.split(jax.nn.sigmoid(x[:, :n] + inner[:, :n]), 2, axis=-1)
    q = inner[:, n:]
    new = jnp.tanh(x[:, n:] + r * q)
    return (z * h + (1.0 - z) * new,), (z, r, q, new)


def _gru_backward(before: States, kept: States, dstates: States) -> tuple[jax.Array, jax.Array, States]:
    z, r, q, new = kept
    (dh,) = dstates
    dz = dh * (before[0] - new) * z * (1.0 - z)
    dnew = dh * (1.0 - z) * (1.0 - new * new)
    dr = dnew * q * r * (1.0 - r)
    return jnp.concatenate([dz, dr, dnew], axis=-1), jnp.concatenate([dz, dr, dnew * r], axis=-1), (dh * z,)


_LSTM = _Cell(_lstm_forward, _lstm_backward, _lstm_joint)
_GRU = _Cell(_gru_forward, _gru_backward)

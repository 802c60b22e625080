"""Recurrences over time: one scan for all of them, and forms of LSTM and GRU whose gradients are written by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from verax.ops.contraction import multiply

__all__ = ["gru", "lstm", "recur"]

States = tuple[jax.Array, ...]


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
    projected: jax.Array,
    kernel: jax.Array,
    states: tuple[jax.Array, jax.Array],
    counts: jax.Array | None = None,
    *,
    sequences: bool = False,
) -> tuple[States, jax.Array | None]:
    """The LSTM with tanh and sigmoid: the recurrence of ``verax.layers.LSTM``, fast in both directions.

    Autodiff adds each step's kernel gradient to a sum and keeps what each operation kept. Here the forward scan keeps
    the gates, the backward scan has one matrix product a step, and the kernel's gradient is one product over all steps
    at its end. Reverse mode works to any order; forward mode (``jax.jvp``) needs ``recur``.

    Args:
        projected: The inputs times their kernel, plus the bias: (time, batch, 4 * units), gates i, f, c, o.
        kernel: The recurrent kernel (units, 4 * units).
        states: h and c, each (batch, units).
        counts, sequences: As in ``recur``, and so is what is returned.

    >>> z = jnp.zeros((1, 2))
    >>> (h, c), _ = lstm(jnp.ones((3, 1, 8)), jnp.zeros((2, 8)), (z, z))
    >>> print(f"{h[0, 0]:.4f} {c[0, 0]:.4f}")
    0.6225 1.2614
    """
    return _recur(_LSTM, sequences, _Operands(projected, kernel, None, states, counts))


def gru(
    projected: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    states: tuple[jax.Array],
    counts: jax.Array | None = None,
    *,
    sequences: bool = False,
) -> tuple[States, jax.Array | None]:
    """The GRU with tanh, sigmoid and ``reset_after``: the recurrence of ``verax.layers.GRU``, made fast as ``lstm`` is.

    Args:
        projected: The inputs times their kernel, plus the inputs' bias: (time, batch, 3 * units), gates z, r, h.
        kernel: The recurrent kernel (units, 3 * units).
        bias: The recurrent bias (3 * units,), or None.
        states: h, (batch, units), in a tuple.
        counts, sequences: As in ``recur``, and so is what is returned.

    >>> (h,), _ = gru(jnp.ones((3, 1, 6)), jnp.zeros((2, 6)), None, (jnp.zeros((1, 2)),))
    >>> print(f"{h[0, 0]:.4f}")
    0.4640
    """
    return _recur(_GRU, sequences, _Operands(projected, kernel, bias, states, counts))


class _Cell(NamedTuple):
    """One step and its gradient.

    Attributes:
        forward: ``(projected, h @ kernel + bias, states) -> (states, kept)``.
        backward: ``(states before, kept, gradients of the states) -> (gradient of projected, that of h @ kernel + bias
            or None where it is the same, gradients of the states before without what goes through the kernel)``.
    """

    forward: Callable[[jax.Array, jax.Array, States], tuple[States, States]]
    backward: Callable[[States, States, States], tuple[jax.Array, jax.Array | None, States]]


class _Operands(NamedTuple):
    """What a recurrence runs on: the arguments of ``lstm`` and ``gru``."""

    projected: jax.Array
    kernel: jax.Array
    bias: jax.Array | None
    states: States
    counts: jax.Array | None

    def step(self, cell: _Cell, x: jax.Array, states: States) -> tuple[States, States]:
        """(the next states, what the gradient needs of the step)."""
        inner = multiply(states[0], self.kernel)
        return cell.forward(x, inner if self.bias is None else inner + self.bias[None], states)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recur(cell: _Cell, sequences: bool, given: _Operands) -> tuple[States, jax.Array | None]:
    def step(x: jax.Array, states: States) -> States:
        return given.step(cell, x, states)[0]

    return recur(step, given.projected, given.states, given.counts, sequences=sequences)


def _forward(cell: _Cell, sequences: bool, given: _Operands) -> tuple[tuple[States, jax.Array | None], Any]:
    def one(states: States, at: Any) -> tuple[States, Any]:
        x, counting = at
        new, kept = given.step(cell, x, states)
        new = _where(counting, new, states)
        return new, (new[0] if sequences else None, states, kept)

    last, (outputs, before, kept) = lax.scan(one, given.states, (given.projected, given.counts))
    return (last, outputs), (given.kernel, given.bias, given.counts, before, kept)


def _backward(cell: _Cell, sequences: bool, residuals: Any, cotangents: Any) -> tuple[_Operands]:
    kernel, bias, counts, before, kept = residuals
    last, outputs = cotangents

    def one(dstates: States, at: Any) -> tuple[States, Any]:
        before, kept, counting, dy = at
        if dy is not None:
            dstates = (dstates[0] + dy, *dstates[1:])
        felt = _where(counting, dstates, tuple(jnp.zeros_like(d) for d in dstates))
        dx, dinner, dbefore = cell.backward(before, kept, felt)
        dh = dbefore[0] + multiply(dx if dinner is None else dinner, kernel, turn_b=True)
        return _where(counting, (dh, *dbefore[1:]), dstates), (dx, dinner)

    dfirst, (dprojected, dinner) = lax.scan(one, last, (before, kept, counts, outputs), reverse=True)
    summed = (dprojected if dinner is None else dinner).reshape(-1, kernel.shape[1])
    h = before[0].reshape(-1, kernel.shape[0])
    dkernel = multiply(h, summed, turn_a=True)
    dbias = None if bias is None else jnp.sum(summed, axis=0)
    dcounts: Any = None if counts is None else np.zeros(counts.shape, jax.dtypes.float0)
    return (_Operands(dprojected, dkernel, dbias, dfirst, dcounts),)


_recur.defvjp(_forward, _backward)


def _where(counting: jax.Array | None, new: States, old: States) -> States:
    if counting is None:
        return new
    return tuple(jnp.where(counting.reshape(-1, *(1,) * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True))


def _lstm_forward(x: jax.Array, inner: jax.Array, states: States) -> tuple[States, States]:
    i, f, g, o = jnp.split(x + inner, 4, axis=-1)
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


_LSTM = _Cell(_lstm_forward, _lstm_backward)
_GRU = _Cell(_gru_forward, _gru_backward)

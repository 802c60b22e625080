"""Learning rates that follow the step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import InputError
from verax.frame.registry import Registry

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "get",
    "serialize",
]


class LearningRateSchedule:
    """Gives the learning rate of a step; the first step is 0.

    A subclass defines ``__call__(step)``, where step is an int32 scalar, traced while training. Its constructor
    arguments, kept as attributes of the same names, are its configuration.

    >>> class Halving(LearningRateSchedule):
    ...     def __init__(self, initial=1.0):
    ...         self.initial = initial
    ...     def __call__(self, step):
    ...         return self.initial * 0.5 ** jnp.asarray(step, jnp.float32)
    >>> float(Halving()(2)), Halving().get_config()
    (0.25, {'initial': 1.0})
    """

    def __call__(self, step: Any) -> jax.Array:
        """The rate of ``step``, a float32 scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step)")

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments that make this schedule again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LearningRateSchedule:
        """The schedule of a configuration."""
        return cls(**config)


class _Decay(LearningRateSchedule):
    """A schedule of ours: ``rate`` of the step in float32, under the schedule's name in profiles."""

    name: str

    def __call__(self, step: Any) -> jax.Array:
        with jax.named_scope(self.name):
            return self.rate(jnp.asarray(step).astype(jnp.float32))

    def rate(self, t: jax.Array) -> jax.Array:
        """The rate of step ``t``."""
        raise NotImplementedError

    def _positive(self, argument: str) -> None:
        if not getattr(self, argument) > 0:
            raise InputError(
                f"{type(self).__name__}({argument}=...) is positive.", received=repr(getattr(self, argument))
            )


class ExponentialDecay(_Decay):
    """``initial_learning_rate`` · ``decay_rate`` ^ (step / ``decay_steps``).

    Args:
        initial_learning_rate: The rate of step 0.
        decay_steps: In how many steps the rate is multiplied with ``decay_rate`` once.
        decay_rate: The factor.
        staircase: Round step / decay_steps down, so that the rate falls in jumps.
        name: Names the computation in profiles.

    >>> schedule = ExponentialDecay(1.0, decay_steps=10, decay_rate=0.25)
    >>> float(schedule(0)), float(schedule(5)), float(schedule(10))
    (1.0, 0.5, 0.25)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name
        self._positive("decay_steps")

    def rate(self, t: jax.Array) -> jax.Array:
        return self.initial_learning_rate * jnp.power(self.decay_rate, _turns(t, self.decay_steps, self.staircase))


class InverseTimeDecay(_Decay):
    """``initial_learning_rate`` / (1 + ``decay_rate`` · step / ``decay_steps``).

    Args:
        initial_learning_rate, decay_steps, staircase, name: As in ``ExponentialDecay``.
        decay_rate: How fast the rate falls.

    >>> schedule = InverseTimeDecay(1.0, decay_steps=10, decay_rate=1.0)
    >>> float(schedule(0)), float(schedule(10)), float(schedule(30))
    (1.0, 0.5, 0.25)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ):
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name
        self._positive("decay_steps")

    def rate(self, t: jax.Array) -> jax.Array:
        return self.initial_learning_rate / (1 + self.decay_rate * _turns(t, self.decay_steps, self.staircase))


class PiecewiseConstantDecay(_Decay):
    """``values[i]`` from the step after ``boundaries[i-1]`` up to and including ``boundaries[i]``.

    Args:
        boundaries: Rising steps.
        values: The rates, one more than boundaries.
        name: Names the computation in profiles.

    Raises:
        InputError: Numbers of boundaries and values that do not fit, or boundaries that do not rise.

    >>> schedule = PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.25])
    >>> [float(schedule(step)) for step in range(6)]
    [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"):
        self.boundaries, self.values, self.name = list(boundaries), list(values), name
        if len(self.values) != len(self.boundaries) + 1 or sorted(set(self.boundaries)) != self.boundaries:
            raise InputError(
                "PiecewiseConstantDecay takes rising boundaries and one value more than boundaries.",
                received=f"boundaries={self.boundaries}, values={self.values}",
            )

    def rate(self, t: jax.Array) -> jax.Array:
        passed = jnp.sum((t > jnp.asarray(self.boundaries, jnp.float32)).astype(jnp.int32))
        return jnp.asarray(self.values, jnp.float32)[passed]


class PolynomialDecay(_Decay):
    """From the initial rate to ``end_learning_rate`` in n = ``decay_steps`` steps, along (1 − step / n) ^ ``power``.

    Args:
        initial_learning_rate: The rate of step 0.
        decay_steps: n, the number of steps.
        end_learning_rate: The rate of step n, and of all later ones.
        power: 1 for a line.
        cycle: After step n start again at the height a decay over 2n (then 3n, ...) steps would have there.
        name: Names the computation in profiles.

    >>> schedule = PolynomialDecay(1.0, decay_steps=10, end_learning_rate=0.0)
    >>> float(schedule(0)), float(schedule(5)), float(schedule(20))
    (1.0, 0.5, 0.0)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.end_learning_rate, self.power, self.cycle, self.name = end_learning_rate, power, cycle, name
        self._positive("decay_steps")

    def rate(self, t: jax.Array) -> jax.Array:
        turns = t / self.decay_steps
        # max: step 0 belongs to the first cycle
        done = turns / jnp.maximum(jnp.ceil(turns), 1.0) if self.cycle else jnp.minimum(turns, 1.0)
        fall = self.initial_learning_rate - self.end_learning_rate
        return fall * jnp.power(1 - done, self.power) + self.end_learning_rate


class CosineDecay(_Decay):
    """Half a cosine from the initial rate down to ``alpha`` times it, after an optional rise along a line.

        warmup, step < warmup_steps:  initial + (target − initial) · step / warmup_steps
        then, with s = min(step − warmup_steps, decay_steps):
            top · ((1 − alpha) · ½ (1 + cos(π s / decay_steps)) + alpha)

    where top is ``warmup_target``, or without one ``initial_learning_rate``.

    Args:
        initial_learning_rate: The rate of step 0.
        decay_steps: The length of the fall, after the warmup.
        alpha: The last rate as a fraction of the top.
        name: Names the computation in profiles.
        warmup_target: The rate the warmup ends at; None for no warmup.
        warmup_steps: The length of the warmup.

    Raises:
        InputError: ``warmup_steps`` without ``warmup_target`` (Keras ignores them).

    Source: Loshchilov & Hutter, 2016, https://arxiv.org/abs/1608.03983; Goyal et al., 2017, for the warmup.

    >>> schedule = CosineDecay(0.0, decay_steps=10, warmup_target=1.0, warmup_steps=4)
    >>> float(schedule(0)), float(schedule(2)), float(schedule(4)), round(float(schedule(9)), 6), float(schedule(14))
    (0.0, 0.5, 1.0, 0.5, 0.0)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        self.initial_learning_rate, self.decay_steps, self.alpha = initial_learning_rate, decay_steps, alpha
        self.name, self.warmup_target, self.warmup_steps = name, warmup_target, warmup_steps
        self._positive("decay_steps")
        if warmup_steps and warmup_target is None:
            raise InputError(
                "CosineDecay warms up to a target.",
                received=f"warmup_steps={warmup_steps}, warmup_target=None",
                do="Give warmup_target as well.",
            )

    def rate(self, t: jax.Array) -> jax.Array:
        start, target, warmup = self.initial_learning_rate, self.warmup_target, self.warmup_steps
        top = start if target is None else target
        fallen = jnp.clip((t - warmup) / self.decay_steps, 0.0, 1.0)
        decayed = top * ((1 - self.alpha) * _half_cosine(fallen) + self.alpha)
        if not warmup:
            return decayed
        return jnp.where(t < warmup, start + (top - start) * (t / warmup), decayed)


class CosineDecayRestarts(_Decay):
    """Half a cosine, again and again: each time ``t_mul`` times as long and from ``m_mul`` times as high.

    rate = initial · ((1 − alpha) · m_mulⁱ · ½ (1 + cos(π f)) + alpha), where f is the finished fraction of period i,
    and period i is ``first_decay_steps`` · t_mulⁱ steps long.

    Args:
        initial_learning_rate: The rate of step 0.
        first_decay_steps: The length of the first period.
        t_mul: Each period's length over the one before, 1 or more.
        m_mul: Each period's first rate over that of the one before.
        alpha: The lowest rate as a fraction of the initial one.
        name: Names the computation in profiles.

    Source: Loshchilov & Hutter, 2016, https://arxiv.org/abs/1608.03983.

    >>> schedule = CosineDecayRestarts(1.0, first_decay_steps=10)
    >>> [round(float(schedule(step)), 6) for step in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 1.0, 0.5, 1.0]

    Differs from Keras: a restart falls on its step. There the period is the rounded quotient of two float32
    logarithms, which at some restarts is one too low and gives the lowest rate in place of the highest.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ):
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name
        self._positive("first_decay_steps")
        if t_mul < 1:
            raise InputError("CosineDecayRestarts(t_mul=...) is 1 or more.", received=repr(t_mul))

    def rate(self, t: jax.Array) -> jax.Array:
        turns, grow = t / self.first_decay_steps, self.t_mul
        if grow == 1:
            period = jnp.floor(turns)
            done = turns - period
        else:
            period = jnp.floor(jnp.log1p(turns * (grow - 1)) / math.log(grow))
            period += ((jnp.power(grow, period + 1) - 1) / (grow - 1) <= turns).astype(t.dtype)
            period -= ((jnp.power(grow, period) - 1) / (grow - 1) > turns).astype(t.dtype)
            done = (turns - (jnp.power(grow, period) - 1) / (grow - 1)) / jnp.power(grow, period)
        height = jnp.power(self.m_mul, period) * _half_cosine(done)
        return self.initial_learning_rate * ((1 - self.alpha) * height + self.alpha)


def _turns(t: jax.Array, steps: float, staircase: bool) -> jax.Array:
    return jnp.floor(t / steps) if staircase else t / steps


def _half_cosine(fraction: jax.Array) -> jax.Array:
    """From 1 to 0 as ``fraction`` goes from 0 to 1."""
    return 0.5 * (1 + jnp.cos(math.pi * fraction))


_registry = Registry("learning rate schedule")
for _cls in (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
):
    _registry.add(_cls)


def get(identifier: Any) -> Any:
    """The schedule of a configuration; a schedule or a function of the step as it is."""
    return _registry.get(identifier)


def serialize(learning_rate_schedule: Any) -> Any:
    """The configuration of a schedule, in Keras' form; the name of a function."""
    return _registry.serialize(learning_rate_schedule)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The schedule of a configuration made by ``serialize``."""
    return _registry.deserialize(config, custom_objects)

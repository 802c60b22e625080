"""Where weights must stay: projections applied after every update."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from verax.frame.registry import Registry
from verax.frame.settings import epsilon

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]


class Constraint:
    """Maps a weight to the nearest one that is allowed, of the same shape and dtype.

    A subclass defines ``__call__``; its constructor arguments, kept as attributes of the same names, are its
    configuration. A plain function of one array serves as well.

    >>> class Below(Constraint):
    ...     def __init__(self, limit=1.0):
    ...         self.limit = limit
    ...     def __call__(self, w):
    ...         return jnp.minimum(w, self.limit)
    >>> Below(0.5)(jnp.array([0.0, 1.0])).tolist()
    [0.0, 0.5]
    """

    def __call__(self, w: jax.Array) -> jax.Array:
        """The constrained ``w``."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(w)")

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments that make this constraint again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Constraint:
        """The constraint of a configuration."""
        return cls(**config)


class NonNeg(Constraint):
    """max(w, 0), element by element.

    >>> NonNeg()(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __call__(self, w: jax.Array) -> jax.Array:
        return jnp.maximum(w, 0.0)


class MaxNorm(Constraint):
    """Scales down each unit's weights whose Euclidean norm exceeds ``max_value``: w · min(‖w‖, max) / (‖w‖ + 1e-7).

    Args:
        max_value: The largest norm allowed.
        axis: The axis or axes a norm is summed over: 0 for a Dense kernel (inputs, units), (0, 1, 2) for a Conv2D
            kernel (height, width, inputs, filters).

    >>> w = MaxNorm(1.0)(jnp.array([[3.0, 0.3], [4.0, 0.4]]))
    >>> [round(n, 3) for n in jnp.linalg.norm(w, axis=0).tolist()]
    [1.0, 0.5]
    """

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0):
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: jax.Array) -> jax.Array:
        norm = _norm(w, self.axis)
        return w * (jnp.clip(norm, 0.0, self.max_value) / (epsilon() + norm))


class UnitNorm(Constraint):
    """Scales the weights of each unit to norm 1: w / (‖w‖ + 1e-7).

    Args:
        axis: As in ``MaxNorm``.

    >>> [round(x, 3) for x in UnitNorm()(jnp.array([3.0, 4.0])).tolist()]
    [0.6, 0.8]
    """

    def __init__(self, axis: int | Sequence[int] = 0):
        self.axis = axis

    def __call__(self, w: jax.Array) -> jax.Array:
        return w / (epsilon() + _norm(w, self.axis))


class MinMaxNorm(Constraint):
    """Moves the norm of each unit's weights towards [``min_value``, ``max_value``].

    w · (rate · clip(‖w‖, min, max) + (1 − rate) · ‖w‖) / (‖w‖ + 1e-7)

    Args:
        min_value, max_value: The norms allowed.
        rate: 1 enforces them at once; less moves a part of the way at every update.
        axis: As in ``MaxNorm``.

    >>> [round(x, 3) for x in MinMaxNorm(max_value=1.0, rate=0.5)(jnp.array([3.0, 4.0])).tolist()]
    [1.8, 2.4]
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ):
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: jax.Array) -> jax.Array:
        norm = _norm(w, self.axis)
        wanted = self.rate * jnp.clip(norm, self.min_value, self.max_value) + (1 - self.rate) * norm
        return w * (wanted / (epsilon() + norm))


def _norm(w: jax.Array, axis: int | Sequence[int]) -> jax.Array:
    """Euclidean norms over ``axis``, which is kept with size 1."""
    axes = axis if isinstance(axis, int) else tuple(axis)
    return jnp.sqrt(jnp.sum(jnp.square(w), axis=axes, keepdims=True))


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

_registry = Registry("constraint")
for _cls in (MaxNorm, NonNeg, UnitNorm, MinMaxNorm):
    _registry.add(_cls)


def get(identifier: Any) -> Callable[[jax.Array], jax.Array] | None:
    """The constraint of a name, a configuration, a class, or a function of one array.

    >>> get("max_norm").get_config()
    {'max_value': 2, 'axis': 0}
    """
    return _registry.get(identifier)


def serialize(constraint: Any) -> Any:
    """The configuration of a constraint, in Keras' form."""
    return _registry.serialize(constraint)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The constraint of a configuration made by ``serialize``."""
    return _registry.deserialize(config, custom_objects)

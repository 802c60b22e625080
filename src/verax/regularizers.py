"""Penalties on weights and activities: a number that is added to the objective."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from verax.errors import InputError, ShapeError
from verax.frame.registry import Registry

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]


class Regularizer:
    """Makes the penalty of an array: a scalar of the array's dtype.

    A subclass defines ``__call__``; its constructor arguments, kept as attributes of the same names, are its
    configuration. A plain function of one array serves as well.

    >>> class Largest(Regularizer):
    ...     def __init__(self, factor=1.0):
    ...         self.factor = factor
    ...     def __call__(self, x):
    ...         return self.factor * abs(x).max()
    >>> float(Largest(2.0)(jnp.array([1.0, -3.0])))
    6.0
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """The penalty of ``x``, which may have any shape."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(x)")

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments that make this regularizer again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Regularizer:
        """The regularizer of a configuration."""
        return cls(**config)


class L1L2(Regularizer):
    """``l1`` Σ|x| + ``l2`` Σx², summed over all elements.

    Raises:
        InputError: A factor that is negative or not finite.

    >>> float(L1L2(l1=1.0, l2=10.0)(jnp.array([1.0, -2.0])))
    53.0

    Differs from Keras: the name "l1_l2" stands for ``L1L2(l1=0.01, l2=0.01)``, as its documentation says; there it
    makes a penalty of zero.
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0):
        self.l1, self.l2 = _factor("l1", l1 or 0.0), _factor("l2", l2 or 0.0)

    def __call__(self, x: jax.Array) -> jax.Array:
        penalty = jnp.zeros((), x.dtype)
        if self.l1:
            penalty += self.l1 * jnp.sum(jnp.abs(x))
        if self.l2:
            penalty += self.l2 * jnp.sum(jnp.square(x))
        return penalty


class L1(Regularizer):
    """``l1`` Σ|x|, summed over all elements.

    >>> float(L1(0.5)(jnp.array([1.0, -2.0])))
    1.5
    """

    def __init__(self, l1: float | None = 0.01):
        self.l1 = _factor("l1", 0.01 if l1 is None else l1)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.l1 * jnp.sum(jnp.abs(x))


class L2(Regularizer):
    """``l2`` Σx², summed over all elements (no factor ½).

    >>> float(L2(0.5)(jnp.array([1.0, -2.0])))
    2.5
    """

    def __init__(self, l2: float | None = 0.01):
        self.l2 = _factor("l2", 0.01 if l2 is None else l2)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.l2 * jnp.sum(jnp.square(x))


class OrthogonalRegularizer(Regularizer):
    """``factor`` times the mean |cos| of the angles between all pairs of different rows (or columns).

    Args:
        factor: Not negative.
        mode: "rows" or "columns" of the matrix.

    Raises:
        InputError: Another mode or factor.
        ShapeError: An array that is not (rows, columns).

    >>> pair = jnp.array([[1.0, 0.0], [3.0, 4.0]])
    >>> round(float(OrthogonalRegularizer(factor=1.0)(pair)), 6)
    0.6

    Differs from Keras: a single row has no pairs and costs 0, not NaN; a row of zeros has a finite gradient.
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        if mode not in ("rows", "columns"):
            raise InputError("OrthogonalRegularizer(mode=...) is 'rows' or 'columns'.", received=repr(mode))
        self.factor, self.mode = _factor("factor", factor), mode

    def __call__(self, x: jax.Array) -> jax.Array:
        if x.ndim != 2:
            raise ShapeError(
                "OrthogonalRegularizer compares the rows or columns of a matrix.",
                received=f"shape {x.shape}",
                do="Use it for a weight of two axes.",
            )
        rows = x if self.mode == "rows" else x.T
        n = rows.shape[0]
        if n < 2:
            return jnp.zeros((), x.dtype)
        squares = jnp.sum(jnp.square(rows), axis=1, keepdims=True)
        # The floor stands under the root, so that a row of zeros does not send a NaN backwards.
        unit = rows * jax.lax.rsqrt(jnp.maximum(squares, 1e-14))
        cosines = jnp.abs(unit @ unit.T) * (1.0 - jnp.eye(n, dtype=x.dtype))
        return self.factor * jnp.sum(cosines) / (n * (n - 1))


def _factor(name: str, value: float) -> float:
    if isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise InputError(f"The factor {name} of a penalty is finite and not negative.", received=repr(value))
    return float(value)


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

_registry = Registry("regularizer")
for _cls in (L1, L2, OrthogonalRegularizer):
    _registry.add(_cls)
_registry.add(L1L2, "l1_l2")


def get(identifier: Any) -> Callable[[jax.Array], jax.Array] | None:
    """The regularizer of a name, a configuration, a class, or a function of one array.

    >>> get("l2").l2, get("l1_l2").get_config()
    (0.01, {'l1': 0.01, 'l2': 0.01})
    """
    if isinstance(identifier, str) and identifier in ("l1_l2", "l1l2", "L1L2"):
        return L1L2(l1=0.01, l2=0.01)
    return _registry.get(identifier)


def serialize(regularizer: Any) -> Any:
    """The configuration of a regularizer, in Keras' form."""
    return _registry.serialize(regularizer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The regularizer of a configuration made by ``serialize``."""
    return _registry.deserialize(config, custom_objects)

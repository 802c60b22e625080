"""What every initializer is: a shape and a dtype in, an array out, and a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax

__all__ = ["Initializer"]


class Initializer:
    """Makes the first value of a weight from its shape.

    A subclass defines ``__call__``; its constructor arguments, kept as attributes of the same names, are its
    configuration.

    >>> class Diagonal(Initializer):
    ...     def __init__(self, value=1.0):
    ...         self.value = value
    ...     def __call__(self, shape, dtype="float32", *, key=None):
    ...         return self.value * jnp.eye(*shape, dtype=dtype)
    >>> Diagonal(2.0)((2, 2)).tolist(), Diagonal(2.0).get_config()
    ([[2.0, 0.0], [0.0, 2.0]], {'value': 2.0})
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        """An array of ``shape`` and ``dtype``; ``key`` is the randomness a drawing initializer uses."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(shape, dtype, *, key)")

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments that make this initializer again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Initializer:
        """The initializer of a configuration."""
        return cls(**config)

"""Every function of jax.numpy, jax.nn and jax.lax, on arrays, variables and symbolic tensors alike.

Names and arguments are Keras' where Keras has them (``ops.cast``, ``ops.expand_dims(x, axis)``, ``ops.mean(x, axis,
keepdims)``), else jax's. On a symbolic tensor a function adds one call to the graph; its shape is found by tracing it.

>>> from verax import layers, ops
>>> ops.sum(layers.Input((3, 4)), axis=1)
<SymbolicTensor 'sum', shape (None, 4), float32>
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from verax.frame.symbolic import is_symbolic
from verax.frame.variable import Variable
from verax.ops import image
from verax.ops.lifted import find, names

__all__ = ["convert_to_numpy", "image", "is_tensor", "shape"]


def convert_to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """``x`` as a NumPy array."""
    return np.asarray(x)


def is_tensor(x: Any) -> bool:
    """Whether ``x`` is an array of jax."""
    return isinstance(x, jax.Array)


def shape(x: Any) -> tuple[int | None, ...]:
    """The shape of ``x``, None for the unknown sizes of a symbolic tensor."""
    return tuple(x.shape) if is_symbolic(x) or isinstance(x, Variable) else np.shape(x)


def __getattr__(name: str) -> Callable[..., Any]:
    function = find(name)
    if function is None:
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.6)
        raise AttributeError(
            f"verax.ops has no function {name!r}." + (f" Did you mean {' or '.join(map(repr, near))}?" if near else "")
        )
    globals()[name] = function  # the next look-up finds it here
    return function


def __dir__() -> list[str]:
    return sorted({*__all__, *names()})

"""What asks about an array, a variable or a symbolic tensor, and computes nothing."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.experimental.sparse import JAXSparse

from verax.frame.policy import standard_dtype
from verax.frame.symbolic import is_symbolic, symbolic_call
from verax.frame.variable import Variable

__all__ = ["convert_to_numpy", "dtype", "is_tensor", "ndim", "shape", "size"]


def convert_to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """``x`` as a NumPy array of its own."""
    return np.array(x.todense() if isinstance(x, JAXSparse) else x)


def is_tensor(x: Any) -> bool:
    """Whether ``x`` is an array of jax."""
    return isinstance(x, (jax.Array, JAXSparse))


def shape(x: Any) -> tuple[int | None, ...]:
    """The shape of ``x``, None for the unknown sizes of a symbolic tensor."""
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def ndim(x: Any) -> int:
    """The number of axes."""
    return len(shape(x))


def size(x: Any) -> Any:
    """The number of elements; a symbolic scalar for a symbolic tensor with unknown sizes."""
    sizes = shape(x)
    if is_symbolic(x) and None in sizes:
        return symbolic_call(_size, (x,), {})
    return math.prod(n for n in sizes if n is not None)


def _size(x: jax.Array) -> jax.Array:
    return jax.numpy.asarray(x.size, "int32")


def dtype(x: Any) -> str:
    """The dtype's name."""
    return standard_dtype(x.dtype if is_symbolic(x) or isinstance(x, Variable) else jax.dtypes.result_type(x))

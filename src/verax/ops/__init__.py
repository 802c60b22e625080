"""All functions of ``keras.ops``, and every other of jax.numpy, jax.nn and jax.lax, on arrays, variables and symbolic
tensors alike.

Names, arguments and defaults are Keras' where Keras has them (``ops.cast``, ``ops.expand_dims(x, axis)``, ``ops.mean(x,
axis, keepdims)``), else jax's. Dtypes promote and ranks broadcast as in Keras. On a symbolic tensor a function adds one
call to the graph; its shape is found by tracing it.

>>> from verax import layers, ops
>>> ops.sum(layers.Input((3, 4)), axis=1)
<SymbolicTensor 'sum', shape (None, 4), float32>
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from typing import Any

import jax
import numpy as np
from jax.experimental.sparse import JAXSparse

from verax.frame.policy import standard_dtype
from verax.frame.symbolic import is_symbolic, symbolic_call
from verax.frame.variable import Variable
from verax.ops.lifted import look_up, names

__all__ = ["convert_to_numpy", "dtype", "is_tensor", "ndim", "shape", "size"]

_NAMESPACES = ("image", "linalg", "nn", "numpy")


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


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES and importlib.util.find_spec(f"verax.ops.{name}") is not None:
        return importlib.import_module(f"verax.ops.{name}")
    function = look_up(name, "verax.ops")
    globals().setdefault(name, function)  # the next look-up finds it here
    return function


def __dir__() -> list[str]:
    return sorted({*__all__, *names()})

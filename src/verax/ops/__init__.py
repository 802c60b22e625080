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
from typing import Any

from verax.ops.lifted import look_up, names
from verax.ops.plain import convert_to_numpy, dtype, is_tensor, ndim, shape, size

__all__ = ["convert_to_numpy", "dtype", "is_tensor", "ndim", "shape", "size"]

_NAMESPACES = ("image", "linalg", "nn", "numpy")


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES:
        return importlib.import_module(f"verax.ops.{name}")
    function = look_up(name, "verax.ops")
    globals().setdefault(name, function)  # the next look-up finds it here
    return function


def __dir__() -> list[str]:
    return sorted({*__all__, *names()})

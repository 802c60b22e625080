"""What ``keras.backend`` still holds in Keras 3: defaults, dtypes, names; older functions say what took their place."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from verax.frame.names import clear_session, get_uid
from verax.frame.policy import standard_dtype
from verax.frame.symbolic import is_symbolic
from verax.ops.lifted import names

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "get_uid",
    "image_data_format",
    "is_float_dtype",
    "is_int_dtype",
    "is_keras_tensor",
    "result_type",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "standardize_dtype",
]

_OF_PYTHON = {bool: "bool", int: "int32", float: "float32", complex: "complex64", "int": "int32"}

#: Functions of older programs -> what to do instead.
_OLDER = {
    "learning_phase": "Let call take training=None: it is filled in from the pass.",
    "set_learning_phase": "Call layer(x, training=...), or evaluate(x, y, mode='train').",
    "learning_phase_scope": "Call layer(x, training=...), or evaluate(x, y, mode='train').",
    "set_session": "Leave it out: there are no sessions.",
    "get_session": "Leave it out: there are no sessions.",
    "function": "Use jax.jit of a function.",
    "gradients": "Use jax.grad of a function.",
    "placeholder": "Use verax.Input.",
    "variable": "Use verax.Variable.",
    "get_value": "Use verax.ops.convert_to_numpy.",
    "set_value": "Use variable.assign(value).",
    "eval": "Use verax.ops.convert_to_numpy.",
    "batch_dot": "Use verax.ops.einsum, or the layer Dot.",
    "int_shape": "Use x.shape.",
    "constant": "Use verax.ops.convert_to_tensor.",
    "random_normal": "Use verax.random.normal.",
    "random_uniform": "Use verax.random.uniform.",
    "batch_flatten": "Use verax.ops.reshape.",
    "permute_dimensions": "Use verax.ops.transpose.",
    "pow": "Use verax.ops.power.",
    "sum": "Use verax.ops.sum.",
}


def is_keras_tensor(x: Any) -> bool:
    """Whether ``x`` is a symbolic tensor, as ``Input`` and layers called on it return.

    >>> is_keras_tensor(verax.Input((3,))), is_keras_tensor(jnp.ones(3))
    (True, False)
    """
    return is_symbolic(x)


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype; of None, the default float dtype's.

    >>> standardize_dtype(np.int8), standardize_dtype(float), standardize_dtype(None)
    ('int8', 'float32', 'float32')
    """
    if dtype is None:
        return floatx()
    if isinstance(dtype, (type, str)) and dtype in _OF_PYTHON:
        return _OF_PYTHON[dtype]
    return standard_dtype(dtype)


def is_float_dtype(dtype: Any) -> bool:
    """Whether a dtype is a real floating one.

    >>> is_float_dtype("bfloat16"), is_float_dtype("int8")
    (True, False)
    """
    return bool(jnp.issubdtype(standardize_dtype(dtype), jnp.floating))


def is_int_dtype(dtype: Any) -> bool:
    """Whether a dtype is an integer one, signed or not.

    >>> is_int_dtype("uint8"), is_int_dtype("bool")
    (True, False)
    """
    return bool(jnp.issubdtype(standardize_dtype(dtype), jnp.integer))


def result_type(*dtypes: Any) -> str:
    """The dtype that an operation on these gives; Python's ``int`` and ``float`` give way to any array's.

    >>> result_type("int32", "bfloat16"), result_type("bfloat16", float), result_type()
    ('bfloat16', 'bfloat16', 'float32')
    """
    if not dtypes:
        return floatx()
    weak = {bool: False, int: 0, float: 0.0, complex: 0j}
    numbers: list[Any] = [
        weak[d] if isinstance(d, type) and d in weak else np.dtype(standardize_dtype(d)) for d in dtypes
    ]
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*numbers).name


def __getattr__(name: str) -> Any:
    if name in _OLDER or name in names():
        do = _OLDER.get(name, f"Use verax.ops.{name}.")
        raise AttributeError(f"verax.backend has no {name!r}: Keras 3 has dropped it. {do}")
    raise AttributeError(f"module 'verax.backend' has no attribute {name!r}")

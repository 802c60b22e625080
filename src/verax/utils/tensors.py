"""Questions about symbolic tensors and dtypes, by Keras' names."""

from __future__ import annotations

from typing import Any

from verax.errors import InputError, UnknownNameError
from verax.frame.policy import floatx, standard_dtype
from verax.frame.symbolic import SymbolicTensor, is_symbolic
from verax.layers import InputLayer

__all__ = [
    "get_source_inputs",
    "is_keras_tensor",
    "standardize_dtype",
]


def is_keras_tensor(x: Any) -> bool:
    """Whether ``x`` is a symbolic tensor: what ``Input``, and a layer called on it, return.

    >>> is_keras_tensor(verax.Input((3,))), is_keras_tensor(jnp.ones(3))
    (True, False)
    """
    return is_symbolic(x)


def get_source_inputs(tensor: SymbolicTensor) -> list[SymbolicTensor]:
    """The Inputs a symbolic tensor was made from, in the order in which its arguments lead to them.

    >>> a, b = verax.Input((3,), name="a"), verax.Input((3,), name="b")
    >>> [t.name for t in get_source_inputs(a + verax.layers.Dense(3)(b))]
    ['a', 'b']
    """
    if not is_symbolic(tensor):
        raise InputError(
            "get_source_inputs follows a symbolic tensor back.",
            received=f"{type(tensor).__name__}",
            do="Pass what Input, or a layer called on it, returned.",
        )
    found: dict[int, SymbolicTensor] = {}
    stack, seen = [tensor], set[int]()
    while stack:
        here = stack.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        node = here.node
        if node is None or (isinstance(node.target, InputLayer) and not node.inputs()):
            found.setdefault(id(here), here)
        else:
            stack.extend(reversed(node.inputs()))
    return list(found.values())


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype: of a NumPy or JAX dtype, a name, Python's ``float`` or ``int``; ``floatx()`` for None.

    Raises:
        UnknownNameError: For what is no dtype.

    >>> [standardize_dtype(d) for d in (None, "int8", np.float16, jnp.bfloat16, int, bool)]
    ['float32', 'int8', 'float16', 'bfloat16', 'int32', 'bool']
    """
    if dtype is None:
        return floatx()
    if dtype in ("int", int):
        return "int32"
    if dtype is float:
        return "float32"
    if dtype == "float":  # float64 to NumPy and float32 to JAX
        raise UnknownNameError.among("dtype", dtype, ["float32", "float16", "bfloat16", "float64"])
    if dtype == "string" or dtype is str:
        return "string"
    name = standard_dtype(dtype)
    if name.startswith(("complex", "datetime", "str", "object")) and not name.startswith("complex"):
        raise UnknownNameError.among("dtype", name, ["float32", "int32", "bool"])
    return name

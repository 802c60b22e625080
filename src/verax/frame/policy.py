"""In which dtype layers compute and keep their variables, and the few other global settings Keras has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from verax.errors import DtypeError, UnknownNameError

__all__ = ["DTypePolicy", "epsilon", "floatx", "global_policy", "set_global_policy", "standard_dtype"]

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_settings: dict[str, Any] = {"policy": None}


@dataclass(frozen=True)
class DTypePolicy:
    """A pair of dtypes: one to compute in, one to keep variables in.

    Args:
        name: ``"float32"`` (both), ``"bfloat16"`` (both), ``"mixed_bfloat16"`` (compute bfloat16, keep float32), or any
            other dtype name for layers that hold integers.

    >>> DTypePolicy("mixed_bfloat16").compute_dtype, DTypePolicy("mixed_bfloat16").variable_dtype
    ('bfloat16', 'float32')
    """

    name: str = "float32"

    def __post_init__(self) -> None:
        if self.name == "mixed_float16":
            raise DtypeError(
                "A dtype policy was asked for.",
                received="'mixed_float16'",
                because="float16 gradients underflow without loss scaling, which Verax does not have yet",
                do="Use 'mixed_bfloat16', whose range is float32's.",
            )
        if self.name != "mixed_bfloat16":
            standard_dtype(self.name)

    @property
    def compute_dtype(self) -> str:
        """What inputs are cast to and layers compute in."""
        return self.name.removeprefix("mixed_")

    @property
    def variable_dtype(self) -> str:
        """What variables are kept in."""
        return "float32" if self.name.startswith("mixed_") else self.name

    @classmethod
    def of(cls, value: Any) -> DTypePolicy:
        """The policy that None (the global one), a name, a dtype or a policy stands for."""
        if value is None:
            return global_policy()
        if isinstance(value, DTypePolicy):
            return value
        if isinstance(value, str):
            return cls(value)
        return cls(standard_dtype(value))


def standard_dtype(dtype: Any) -> str:
    """The name of a dtype, checked.

    >>> standard_dtype(np.float32), standard_dtype("int32"), standard_dtype(jnp.bfloat16)
    ('float32', 'int32', 'bfloat16')
    """
    try:
        return jnp.dtype(dtype).name
    except TypeError:
        known = [*_FLOATS, "int8", "int16", "int32", "uint8", "uint16", "uint32", "bool", "mixed_bfloat16"]
        raise UnknownNameError.among("dtype", dtype, known) from None


def global_policy() -> DTypePolicy:
    """The policy of layers that name none."""
    return _settings["policy"] or DTypePolicy("float32")


def set_global_policy(policy: DTypePolicy | str | None) -> None:
    """Set the policy of layers made from now on; None for float32."""
    _settings["policy"] = None if policy is None else DTypePolicy.of(policy)


def floatx() -> str:
    """The default float dtype.

    >>> floatx()
    'float32'
    """
    return "float32"


def epsilon() -> float:
    """Keras' small constant for divisions and logarithms, 1e-7.

    >>> epsilon()
    1e-07
    """
    return 1e-7


def is_float(dtype: Any) -> bool:
    """Whether a dtype is a floating one, bfloat16 included."""
    return bool(jnp.issubdtype(np.dtype(dtype) if not hasattr(dtype, "name") else dtype, jnp.floating))

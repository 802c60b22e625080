"""In which dtype layers compute and keep their variables, and the few other global settings Keras has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import jax.numpy as jnp
import numpy as np

from verax.errors import UnknownNameError
from verax.frame.settings import epsilon, floatx

__all__ = ["DTypePolicy", "epsilon", "floatx", "global_policy", "set_global_policy", "standard_dtype"]

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_MIXED = ("mixed_bfloat16", "mixed_float16")
_settings: dict[str, Any] = {"policy": None}


@dataclass(frozen=True, init=False)
class DTypePolicy:
    """A pair of dtypes: one to compute in, one to keep variables in.

    With a mixed policy weights, their gradients, losses, metrics and the moments of normalizations stay float32.
    bfloat16 has float32's range and 8 bits of precision. float16 has 11 bits, and a range from 6e-8 to 65504 in which
    small gradients vanish: ``compile`` wraps the optimizer of a ``mixed_float16`` model in a ``LossScaleOptimizer``.

    Args:
        name: ``"float32"`` (both), ``"bfloat16"`` (both), ``"mixed_bfloat16"`` or ``"mixed_float16"`` (compute in the
            short one, keep float32), or any other dtype name for layers that hold integers; the global policy's when
            None.

    Raises:
        UnknownNameError: A name of no policy and no dtype.

    Source: Micikevicius et al., 2018, https://arxiv.org/abs/1710.03740.

    >>> DTypePolicy("mixed_bfloat16").compute_dtype, DTypePolicy("mixed_bfloat16").variable_dtype
    ('bfloat16', 'float32')
    """

    name: str

    def __init__(self, name: str | None = None):
        if name is None:
            name = global_policy().name
        elif name not in _MIXED:
            standard_dtype(name)
        object.__setattr__(self, "name", name)

    @property
    def compute_dtype(self) -> str:
        """What inputs are cast to and layers compute in."""
        return self.name.removeprefix("mixed_")

    @property
    def variable_dtype(self) -> str:
        """What variables are kept in."""
        return "float32" if self.name.startswith("mixed_") else self.name

    def get_config(self) -> dict[str, str]:
        """The name, as Keras keeps a policy."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, str]) -> DTypePolicy:
        """The policy of a configuration."""
        return cls(**config)

    @classmethod
    def of(cls, value: Any) -> DTypePolicy:
        """The policy that None (the global one), a name, a dtype, a policy or its configuration stands for."""
        if value is None:
            return global_policy()
        if isinstance(value, DTypePolicy):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, Mapping):
            return cls(**cast("Mapping[str, Any]", value)["config"])
        return cls(standard_dtype(value))


def standard_dtype(dtype: Any) -> str:
    """The name of a dtype, checked.

    >>> standard_dtype(np.float32), standard_dtype("int32"), standard_dtype(jnp.bfloat16)
    ('float32', 'int32', 'bfloat16')
    """
    try:
        return jnp.dtype(dtype).name
    except TypeError:
        known = [*_FLOATS, "int8", "int16", "int32", "uint8", "uint16", "uint32", "bool", *_MIXED]
        raise UnknownNameError.among("dtype", dtype, known) from None


def global_policy() -> DTypePolicy:
    """The policy of layers that name none."""
    return _settings["policy"] or DTypePolicy(floatx())


def set_global_policy(policy: DTypePolicy | str | None) -> None:
    """Set the policy of layers made from now on; None for the default float dtype."""
    _settings["policy"] = None if policy is None else DTypePolicy.of(policy)


def is_float(dtype: Any) -> bool:
    """Whether a dtype is a floating one, bfloat16 included."""
    return bool(jnp.issubdtype(np.dtype(dtype) if not hasattr(dtype, "name") else dtype, jnp.floating))

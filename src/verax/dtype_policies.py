"""Dtype policies, by Keras' names.

>>> deserialize(serialize(get("mixed_float16"))).compute_dtype
'float16'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verax.frame.policy import DTypePolicy
from verax.frame.registry import Registry

__all__ = ["DTypePolicy", "FloatDTypePolicy", "deserialize", "get", "serialize"]

FloatDTypePolicy = DTypePolicy
_registry = Registry("dtype policy")
_registry.add(DTypePolicy, "FloatDTypePolicy")


def get(identifier: Any) -> DTypePolicy:
    """The policy of a name, a dtype, a configuration, a policy as it is, or None: the global one.

    Raises:
        UnknownNameError: A name of no policy and no dtype.
    """
    return deserialize(identifier) if isinstance(identifier, Mapping) else DTypePolicy.of(identifier)


def serialize(dtype_policy: DTypePolicy) -> dict[str, Any]:
    """The configuration of a policy, in Keras' form."""
    return _registry.serialize(dtype_policy)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> DTypePolicy:
    """The policy of a configuration made by ``serialize``."""
    made: Any = _registry.deserialize(config, custom_objects)
    return made

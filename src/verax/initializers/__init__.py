"""Where weights start: constants and draws, scaled by the shape they fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from verax.frame.registry import Registry
from verax.initializers.base import Initializer
from verax.initializers.constant import STFT, Constant, Identity, Ones, Zeros
from verax.initializers.random import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
)

__all__ = [
    "STFT",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

IdentityInitializer, OrthogonalInitializer, STFTInitializer, stft = Identity, Orthogonal, STFT, STFT
zeros, ones, constant, identity, orthogonal = Zeros, Ones, Constant, Identity, Orthogonal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform, glorot_normal = GlorotUniform, GlorotNormal
he_uniform, he_normal = HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal

_registry = Registry("initializer")
for _cls in (Constant, VarianceScaling, GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal):
    _registry.add(_cls)
_registry.add(Zeros, "zero")
_registry.add(Ones, "one")
_registry.add(Identity, "IdentityInitializer")
_registry.add(Orthogonal, "OrthogonalInitializer")
_registry.add(STFT, "STFTInitializer")
_registry.add(RandomNormal, "normal")
_registry.add(RandomUniform, "uniform")
_registry.add(TruncatedNormal)


def get(identifier: Any) -> Callable[..., jax.Array] | None:
    """The initializer of a name, a configuration, a class, a function ``(shape, dtype)``, or an array.

    >>> type(get("he_normal")).__name__, get(np.ones(2))((2,)).tolist(), get(None)
    ('HeNormal', [1.0, 1.0], None)
    """
    if isinstance(identifier, (np.ndarray, np.generic, jax.Array, int, float)):
        return Constant(identifier)
    return _registry.get(identifier)


def serialize(initializer: Any) -> Any:
    """The configuration of an initializer, in Keras' form."""
    return _registry.serialize(initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The initializer of a configuration made by ``serialize``."""
    return _registry.deserialize(config, custom_objects)

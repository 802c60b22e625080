"""Optimizers under Keras' names, over optax: what they change, and how fast.

>>> get("adam").get_config()["epsilon"]
1e-07
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verax.errors import InputError
from verax.optimizers import schedules
from verax.optimizers.adam import Adam, Adamax, AdamW, Nadam
from verax.optimizers.base import Optimizer, OptimizerState, optimizer_registry
from verax.optimizers.loss_scale import LossScaleOptimizer
from verax.optimizers.rmsprop import Adadelta, Adagrad, RMSprop
from verax.optimizers.sgd import SGD, Lion

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "LossScaleOptimizer",
    "Nadam",
    "Optimizer",
    "OptimizerState",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

for _cls in (SGD, Adadelta, Adagrad, Adam, AdamW, Adamax, Lion, LossScaleOptimizer, Nadam, RMSprop):
    optimizer_registry.add(_cls, _cls.__name__.lower())


def get(identifier: Any) -> Optimizer:
    """The optimizer of a name (in any case), a configuration, a class, or an optimizer as it is.

    Raises:
        UnknownNameError: A name of no optimizer.
        InputError: Anything else that is none.
    """
    if isinstance(identifier, str):
        identifier = identifier.lower()
    if isinstance(identifier, (str, Mapping, type)):
        identifier = optimizer_registry.get(identifier)
    if not isinstance(identifier, Optimizer):
        raise InputError(
            "An optimizer is a name, a configuration, or an Optimizer.",
            received=f"{identifier!r} of type {type(identifier).__name__}",
            do="For an optax transformation, subclass Optimizer and return it from rule(learning_rate).",
        )
    return identifier


def serialize(optimizer: Optimizer) -> Any:
    """The configuration of an optimizer, in Keras' form."""
    return optimizer_registry.serialize(optimizer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The optimizer of a configuration made by ``serialize``.

    >>> deserialize(serialize(SGD(0.5, momentum=0.9))).momentum
    0.9
    """
    return optimizer_registry.deserialize(config, custom_objects)

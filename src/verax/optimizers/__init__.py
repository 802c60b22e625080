"""Optimizers under Keras' names, over optax: what they change, and how fast.

>>> get("adam").get_config()["epsilon"]
1e-07
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verax.errors import InputError
from verax.optimizers import legacy, schedules
from verax.optimizers.adafactor import Adafactor
from verax.optimizers.adam import Adam, Adamax, AdamW, Nadam
from verax.optimizers.base import Optimizer, OptimizerState, optimizer_registry
from verax.optimizers.ftrl import Ftrl
from verax.optimizers.lamb import Lamb
from verax.optimizers.loss_scale import LossScaleOptimizer
from verax.optimizers.multi import MultiOptimizer, OptimizerMap
from verax.optimizers.muon import Muon
from verax.optimizers.rmsprop import Adadelta, Adagrad, RMSprop
from verax.optimizers.schedule_free import ScheduleFreeAdamW
from verax.optimizers.sgd import SGD, Lion

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "OptimizerMap",
    "OptimizerState",
    "RMSprop",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "legacy",
    "schedules",
    "serialize",
]

for _cls in (
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    AdamW,
    Adamax,
    Ftrl,
    Lamb,
    Lion,
    LossScaleOptimizer,
    MultiOptimizer,
    Muon,
    Nadam,
    RMSprop,
    ScheduleFreeAdamW,
):
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

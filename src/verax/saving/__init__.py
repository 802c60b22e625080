"""Models and weights as files; configurations, and the names of a person's own classes and functions in them."""

from __future__ import annotations

from verax import losses, metrics, models, optimizers
from verax.formats.inspecting import inspect_file
from verax.frame.custom_objects import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from verax.frame.serialized import deserialize_keras_object, serialize_keras_object
from verax.model.files import load_model, load_weights, save_model, save_weights

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "inspect_file",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]

#: Every room whose objects configurations may hold has to be open before one is read.
_ROOMS = (losses, metrics, models, optimizers)

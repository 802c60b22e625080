"""Names to objects and back: one small table for each kind of part (loss, metric, layer, ...)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from verax.errors import InputError, UnknownNameError

__all__ = ["Registry", "described", "snake_case"]


def snake_case(name: str) -> str:
    """``"Conv2DLayer"`` -> ``"conv2d_layer"``, the rule by which Keras names a layer after its class.

    >>> snake_case("BatchNormalization"), snake_case("Conv2D"), snake_case("AUC")
    ('batch_normalization', 'conv2d', 'auc')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class Registry:
    """The parts of one kind, by every name a person may use for them.

    Args:
        kind: What an entry is called in messages ("loss", "initializer", ...).
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Any] = {}

    def add(self, entry: Any, *names: str) -> Any:
        """Register a class or function under its own name, its snake_case name, and any further ones."""
        for name in (entry.__name__, snake_case(entry.__name__), *names):
            self._entries.setdefault(name, entry)
        return entry

    def names(self) -> list[str]:
        """Every registered name."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            raise UnknownNameError.among(self.kind, name, self._entries)
        return self._entries[name]

    def get(self, identifier: Any) -> Any:
        """What ``identifier`` stands for: None, a name, a config dict, or already an object.

        A class is instantiated with its defaults; a function is returned as it is.
        """
        if identifier is None:
            return None
        if isinstance(identifier, str):
            entry = self[identifier]
            return entry() if isinstance(entry, type) else entry
        if isinstance(identifier, Mapping):
            return self.deserialize(identifier)
        if isinstance(identifier, type):
            return identifier()
        if callable(identifier):
            return identifier
        raise InputError(
            f"A {self.kind} is a name, a configuration, or an object.",
            received=f"{identifier!r} of type {type(identifier).__name__}",
            do=f"Pass one of the names ({', '.join(self.names()[:6])}, ...) or an instance.",
        )

    def serialize(self, entry: Any) -> Any:
        """The configuration of an object, in Keras' form; the name of a registered function; None for None."""
        if entry is None:
            return None
        return described(entry) if hasattr(entry, "get_config") else entry.__name__

    def deserialize(
        self, config: Mapping[str, Any] | str, custom_objects: Mapping[str, Callable[..., Any]] | None = None
    ):
        """The object of a configuration made by ``serialize``."""
        name = config if isinstance(config, str) else config["class_name"]
        entry = (custom_objects or {}).get(name) or self[name]
        if isinstance(config, str):
            return entry
        arguments = _plain(config["config"])
        if not hasattr(entry, "from_config"):
            return entry(**arguments)
        make = cast("Any", entry).from_config
        inside = "custom_objects" in inspect.signature(make).parameters
        return make(arguments, custom_objects) if inside else make(arguments)


def _plain(config: Any) -> Any:
    """``config`` with the arrays and tuples that Keras writes as dictionaries read back."""
    if not isinstance(config, Mapping):
        return [_plain(v) for v in cast("list[Any]", config)] if isinstance(config, list) else config
    config = cast("Mapping[str, Any]", config)
    kind = config.get("class_name")
    if kind in ("__tensor__", "__numpy__"):
        return np.asarray(config["config"]["value"], config["config"]["dtype"])
    if kind == "__tuple__":
        return tuple(_plain(v) for v in config["items"])
    return {key: _plain(v) for key, v in config.items()}


def described(value: Any) -> Any:
    """``value`` as a configuration holds it, in Keras' form: parts of Verax as dictionaries, functions by their names.

    What it does not know (a person's own function, which has no configuration) stays as it is.

    >>> described([verax.initializers.Ones(), verax.activations.relu, np.float32(0.5)])
    [{'module': 'keras.initializers', 'class_name': 'Ones', 'config': {}, 'registered_name': None}, 'relu', 0.5]
    """
    if isinstance(value, (list, tuple)):
        parts = (described(v) for v in cast("list[Any]", value))
        return tuple(parts) if isinstance(value, tuple) else list(parts)
    if isinstance(value, Mapping):
        return {k: described(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, np.generic):
        return value.item()
    module = str(getattr(value if inspect.isfunction(value) else type(value), "__module__", "")).split(".")
    if module[0] != "verax":
        return value
    if inspect.isfunction(value):
        return value.__name__
    if hasattr(value, "get_config"):
        room = "keras" if module[1] in ("frame", "model") else f"keras.{module[1]}"
        name = type(value).__name__
        return {"module": room, "class_name": name, "config": value.get_config(), "registered_name": None}
    return value

"""Names to objects and back: one small table for each kind of part (loss, metric, layer, ...)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from verax.errors import InputError, UnknownNameError
from verax.frame.custom_objects import custom_object_scope, find_custom, get_registered_name, meet

__all__ = ["Registry", "described", "registries", "snake_case"]

#: kind -> its registry; the rooms fill it when they are imported.
registries: dict[str, Registry] = {}


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
        registries[kind] = self

    def add(self, entry: Any, *names: str) -> Any:
        """Register a class or function under its own name, its snake_case name, and any further ones."""
        for name in (entry.__name__, snake_case(entry.__name__), *names):
            self._entries.setdefault(name, entry)
        return entry

    def names(self) -> list[str]:
        """Every registered name."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or (isinstance(name, str) and find_custom(name) is not None)

    def __getitem__(self, name: str) -> Any:
        own = find_custom(name)
        if own is None and name not in self._entries:
            raise UnknownNameError.among(self.kind, name, self._entries)
        return self._entries[name] if own is None else own

    def entries(self) -> dict[str, Any]:
        """name -> entry, of Verax' own."""
        return self._entries

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
        with custom_object_scope(custom_objects):
            if isinstance(config, str):
                return self[config]
            entry = find_custom(config)
            if config["class_name"] == "function":
                return entry or self[config["config"]]
            entry = entry or self[config["class_name"]]
            arguments = _plain(config["config"])
            return entry.from_config(arguments) if hasattr(entry, "from_config") else entry(**arguments)


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

    A person's own objects with a ``get_config`` are described too, under their registered names. What has none (a
    function that is not registered) stays as it is.

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
    function = inspect.isfunction(value)
    module = str(getattr(value if function else type(value), "__module__", ""))
    own = module.split(".")[0] != "verax"
    if function:
        return value if own else value.__name__
    if not hasattr(value, "get_config") or inspect.isclass(value):
        return value
    kind = type(value)
    registered = None
    if own:
        meet(kind)
        registered = get_registered_name(kind)
    else:
        parts = module.split(".")
        module = "keras" if parts[1] in ("frame", "model") else f"keras.{parts[1]}"
        if parts[2:] == ["schedules"]:
            module += ".schedules"
    module, name = getattr(value, "_described_as", None) or (module, kind.__name__)
    return {"module": module, "class_name": name, "config": value.get_config(), "registered_name": registered}

"""A person's own classes and functions, by the names under which a configuration holds them."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar, cast

from verax.errors import InputError

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "find_custom",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "meet",
    "register_keras_serializable",
]

_Kind = TypeVar("_Kind", bound=Callable[..., Any])

_global: dict[str, Any] = {}
_names: dict[Any, str] = {}
_scoped: ContextVar[Mapping[str, Any]] = ContextVar("custom objects", default={})  # noqa: B039 (never changed in place)
#: Classes whose objects were described in this process: what was described here is found again here.
_met: weakref.WeakValueDictionary[tuple[str, str], Any] = weakref.WeakValueDictionary()


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[_Kind], _Kind]:
    """Give a class or function a name of its own in configurations: ``"package>name"``.

    Args:
        package: The name of what it belongs to.
        name: The name in the package; the object's own when None.

    Returns:
        A decorator that returns its argument.

    Raises:
        InputError: For a class without ``get_config``.

    >>> @register_keras_serializable("mine")
    ... def twice(x):
    ...     return 2 * x
    >>> get_registered_name(twice), verax.activations.get("mine>twice") is twice
    ('mine>twice', True)
    """

    def register(entry: _Kind) -> _Kind:
        own: str = entry.__name__
        if inspect.isclass(cast("Any", entry)) and not hasattr(entry, "get_config"):
            raise InputError(
                "A class was registered, so that configurations can hold its objects.",
                received=own,
                because="it has no get_config",
                do="Define get_config(self), which returns the constructor's arguments.",
            )
        known = f"{package}>{name or own}"
        _global[known] = entry
        _names[entry] = known
        return entry

    return register


def get_custom_objects() -> dict[str, Any]:
    """The table of registered names, itself: what is put into it is found everywhere."""
    return _global


def get_registered_name(obj: Any) -> str:
    """The name under which a class or function is registered; its own where it is not."""
    own = str(obj.__name__)
    try:
        return _names.get(obj, own)
    except TypeError:  # not hashable
        return own


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """What ``name`` stands for: in the scopes now open, in the global table, in the two given; else None."""
    for table in (_scoped.get(), _global, custom_objects or {}, module_objects or {}):
        if name in table:
            return table[name]
    return None


class CustomObjectScope:
    """Within ``with CustomObjectScope({"Mine": Mine}):`` configurations find these objects by these names.

    >>> with CustomObjectScope({"twice": lambda x: 2 * x}):
    ...     verax.activations.get("twice")(3)
    6
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None):
        self.custom_objects = dict(custom_objects or {})
        self._tokens: list[Any] = []

    def __enter__(self) -> CustomObjectScope:
        self._tokens.append(_scoped.set({**_scoped.get(), **self.custom_objects}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _scoped.reset(self._tokens.pop())


custom_object_scope = CustomObjectScope


def find_custom(config: str | Mapping[str, Any]) -> Any:
    """A person's own class or function that a name or a configuration means; None where it means one of Verax'."""
    if isinstance(config, str):
        return get_registered_object(config)
    names = [config.get("registered_name"), config.get("class_name")]
    if config.get("class_name") == "function":
        names = [config.get("config"), config.get("registered_name")]
    for name in names:
        found = get_registered_object(name) if isinstance(name, str) else None
        if found is not None:
            return found
    return _met.get((str(config.get("module")), str(config.get("class_name"))))


def meet(kind: Any) -> None:
    """Remember a class for as long as it exists."""
    _met[kind.__module__, kind.__name__] = kind

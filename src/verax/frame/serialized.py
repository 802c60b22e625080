"""Objects to configurations and back, in the form of Keras' JSON: whatever a layer or a call may hold."""

from __future__ import annotations

import builtins
import codecs
import contextlib
import inspect
import marshal
import types
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, UnknownNameError
from verax.frame.custom_objects import custom_object_scope, find_custom, get_registered_name, get_registered_object
from verax.frame.policy import DTypePolicy, standard_dtype
from verax.frame.registry import described, registries
from verax.frame.settings import is_unsafe_deserialization_enabled

__all__ = ["deserialize_keras_object", "is_description", "revived", "serialize_keras_object", "unsafely"]

#: Whether lambdas in configurations are made functions: only where a person says so.
_unsafe: ContextVar[bool] = ContextVar("unsafe", default=False)


@contextlib.contextmanager
def unsafely(allowed: bool = True) -> Generator[None]:
    """Make functions of lambdas in configurations, within the block, as a person has asked for."""
    token = _unsafe.set(allowed or is_unsafe_deserialization_enabled())
    try:
        yield
    finally:
        _unsafe.reset(token)


def serialize_keras_object(obj: Any) -> Any:
    """``obj`` as JSON can hold it, in Keras' form.

    Numbers, strings, None, lists, tuples and dicts stay; arrays, slices, bytes, ``...`` and dtypes become what Keras
    makes of them; parts of Verax and registered objects become ``{"module", "class_name", "config",
    "registered_name"}``; functions become their names.

    Raises:
        InputError: For a lambda, and for an object that has no configuration.

    Differs from Keras: a lambda is refused. Its bytecode would mean something in one version of Python only.

    >>> serialize_keras_object({"steps": slice(1, None), "act": verax.activations.relu})["act"]["config"]
    'relu'
    """
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    if isinstance(obj, (list, tuple)):
        items = [serialize_keras_object(item) for item in cast("list[Any]", obj)]
        return tuple(items) if isinstance(obj, tuple) else items
    if isinstance(obj, Mapping):
        return {key: serialize_keras_object(value) for key, value in cast("Mapping[Any, Any]", obj).items()}
    if isinstance(obj, bytes):
        return _special("bytes", value=obj.decode("utf-8"))
    if isinstance(obj, slice):
        return _special("slice", start=_whole(obj.start), stop=_whole(obj.stop), step=_whole(obj.step))
    if obj is Ellipsis:
        return _special("ellipsis")
    if isinstance(obj, (np.ndarray, np.generic, jax.Array)):
        return _array(obj)
    if isinstance(obj, np.dtype) or (inspect.isclass(obj) and issubclass(obj, np.generic)):
        return standard_dtype(obj)
    if callable(obj) and hasattr(obj, "__name__") and not hasattr(obj, "get_config"):
        return _named(obj)
    found = described(obj)
    if found is obj:
        raise InputError(
            "A configuration was to be made.",
            received=f"{obj!r} of type {type(obj).__name__}",
            because="it has no get_config, and no other form in JSON",
            do="Define get_config, or pass a number, a string, a list or a dict.",
        )
    found["config"] = serialize_keras_object(found["config"])
    further = getattr(obj, "described_further", None)
    return {**found, **(serialize_keras_object(further()) if further is not None else {})}


def deserialize_keras_object(
    config: Any, custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True, **kwargs: Any
) -> Any:
    """The object of a configuration that ``serialize_keras_object``, ours or Keras', made.

    Args:
        config: The configuration.
        custom_objects: name -> class or function, beside those that are registered.
        safe_mode: Whether lambdas are refused. False runs the bytecode that the configuration holds: whoever wrote it
            can do what you can.
        kwargs: ``module_objects``, name -> object: what a string, or a class that is not found elsewhere, stands for.

    Raises:
        UnknownNameError: For a class or function that nobody knows; nothing is imported to find it.
        InputError: For a lambda.

    >>> deserialize_keras_object(serialize_keras_object(verax.initializers.Constant(0.5))).value
    0.5
    """
    module_objects = kwargs.pop("module_objects", None) or {}
    if kwargs:
        raise UnknownNameError.among("argument of deserialize_keras_object", next(iter(kwargs)), ["module_objects"])
    with custom_object_scope({**module_objects, **(custom_objects or {})}), unsafely(_unsafe.get() or not safe_mode):
        if isinstance(config, str) and config in module_objects:
            found = get_registered_object(config)
            return found() if inspect.isclass(found) else found
        return revived(config)


def is_description(value: Any) -> bool:
    """Whether ``value`` describes an object."""
    return isinstance(value, Mapping) and "class_name" in value and "config" in value


def revived(config: Any) -> Any:
    """Descriptions within lists, tuples and dicts made objects again."""
    if isinstance(config, (list, tuple)):
        items = [revived(item) for item in cast("list[Any]", config)]
        return tuple(items) if isinstance(config, tuple) else items
    if not isinstance(config, Mapping):
        return config
    config = cast("Mapping[str, Any]", config)
    if not is_description(config):
        return {key: revived(value) for key, value in config.items()}
    name, inner = str(config["class_name"]), config["config"]
    if name.startswith("__") and name.strip("_") in _SPECIAL:
        return _SPECIAL[name.strip("_")](inner)
    if name == "function":
        return _function(config)
    if name == "DTypePolicy":
        return DTypePolicy.of(config)
    kind = _class(config)
    made = kind.from_config(inner) if hasattr(kind, "from_config") else kind(**inner)
    finish = getattr(made, "finish_revival", None)
    if finish is not None:
        finish(config)
    return made


def _class(config: Mapping[str, Any]) -> Any:
    own = find_custom(config)
    if own is not None:
        return own
    name, words = str(config["class_name"]), [w for w in str(config.get("module") or "").split(".") if w]
    words = words[1:] if words[:1] == ["keras"] else words
    words = words[1:] if words[:1] == ["src"] else words
    anywhere = not words or words[0] in ("models", "applications")  # rooms of Keras whose classes stand elsewhere here
    for registry in registries.values():
        entry = registry.entries().get(name)
        if inspect.isclass(entry) and (anywhere or entry.__module__.split(".")[1] == words[0]):
            return entry
    known = [name for registry in registries.values() for name in registry.names()]
    hint = (
        "A class of your own is found when it has @verax.saving.register_keras_serializable(), or by "
        "custom_objects={name: class}."
    )
    raise UnknownNameError.among(f"class (of module {config.get('module')!r})", name, known, hint)


def _function(config: Mapping[str, Any]) -> Callable[..., Any]:
    own = find_custom(config)
    if own is not None:
        return own
    name = str(config["config"])
    found: list[Any] = [r.entries()[name] for r in registries.values() if name in r.entries()]
    functions = [entry for entry in found if not inspect.isclass(entry)]
    if not functions:
        known = [name for registry in registries.values() for name in registry.names()]
        hint = (
            "A function of your own is found when it has @verax.saving.register_keras_serializable(), or by "
            "custom_objects={name: function}; where only fit needs it, compile=False loads the model without."
        )
        raise UnknownNameError.among("function", name, known, hint)
    return functions[0]


def _named(entry: Any) -> dict[str, Any]:
    """A function or a class, by its name."""
    if entry.__name__ == "<lambda>":
        raise InputError(
            "A configuration was to be made.",
            received="a lambda",
            because="it has no name by which it could be found again",
            do="Make it a function (def ...) with @verax.saving.register_keras_serializable().",
        )
    kind = "type" if inspect.isclass(entry) else "function"
    name = get_registered_name(entry)
    return {"module": "builtins", "class_name": kind, "config": name, "registered_name": kind}


def _array(array: Any) -> Any:
    kind = "tensor" if isinstance(array, jax.Array) else "numpy"
    dtype, array = array.dtype.name, np.asarray(array)
    if kind == "numpy" and array.ndim == 0:
        return array.item()
    values: Any = array if array.dtype.kind in "biuf" else array.astype(np.float32)
    return _special(kind, value=values.tolist(), dtype=dtype)


def _special(name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": f"__{name}__", "config": config}


def _whole(value: Any) -> Any:
    return value if value is None else int(value)


def _lambda(config: Any) -> Any:
    """The function of a lambda's bytecode."""
    if not (_unsafe.get() or is_unsafe_deserialization_enabled()):
        raise InputError(
            "A configuration was read.",
            received="a lambda, as bytecode of Python",
            because="it would run whatever it says, and means something in one version of Python only",
            do="Write it as a registered function in the program that made the configuration; or pass safe_mode=False "
            "if you trust the file as you trust a program.",
        )
    try:
        code = marshal.loads(codecs.decode(config["code"].encode("ascii"), "base64"))
        defaults = config.get("defaults")
        cells = tuple(types.CellType(value) for value in config.get("closure") or ())
        values = None if defaults is None else tuple(defaults)
        return types.FunctionType(code, {"__builtins__": builtins}, "<lambda>", values, cells or None)
    except (ValueError, EOFError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            "A lambda was to be made of its bytecode.",
            received=str(error),
            because="bytecode means something in the version of Python that wrote it only",
            do="Write it as a registered function, and pass custom_objects={name: function}.",
        ) from error


_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda config: config["value"].encode("utf-8"),
    "slice": lambda config: slice(config["start"], config["stop"], config["step"]),
    "ellipsis": lambda config: Ellipsis,
    "numpy": lambda config: np.asarray(config["value"], config["dtype"]),
    "tensor": lambda config: jnp.asarray(config["value"], config["dtype"]),
    "lambda": _lambda,
}

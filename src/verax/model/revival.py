"""Configurations in files made models: what fails is explained, and what is not safe is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from verax.errors import DataError, InputError, VeraxError
from verax.frame.serialized import revived

__all__ = ["check_model", "refuse_unsafe", "revive", "unsafe_items"]

#: Classes whose ``vocabulary`` may be the name of a file.
_READERS = ("StringLookup", "IntegerLookup", "IndexLookup", "TextVectorization")


def revive(config: Any, name: str) -> Any:
    """What a configuration in the file ``name`` describes; what constructors raise at nonsense is one error."""
    try:
        return revived(config)
    except VeraxError as error:
        error.add_note(f"While {name} was read. Without its configuration: build the model, then load_weights.")
        raise
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError, ArithmeticError) as error:
        raise DataError(
            f"{name} was to be loaded.",
            received=f"a configuration that cannot be used: {type(error).__name__}: {str(error)[:300]}",
            because="it is damaged, or of a kind that Verax does not know",
            do="See the error above; where a class of your own raised it, its get_config and __init__ do not fit. "
            "Weights alone are read by load_weights.",
        ) from error


def check_model(found: Any, name: str) -> None:
    """Refuse what is no model."""
    if not hasattr(found, "predict"):
        raise DataError(
            f"{name} was to be loaded.",
            received=f"the configuration of a {type(found).__name__}",
            because="it is no model",
        )


def refuse_unsafe(config: Any, name: str) -> None:
    """Refuse a configuration that would run code, or read other files of this machine."""
    for layer, what, do in unsafe_items(config):
        raise InputError(
            f"{name} was to be loaded.",
            received=f"{what} in {layer!r}",
            because="a file from somebody else could do anything by it",
            do=do + ", or pass safe_mode=False if you trust the file as you trust a program.",
        )


def unsafe_items(config: Any, layer: str = "model") -> Iterator[tuple[str, str, str]]:
    """(layer, what it holds, what to do instead) for each part of a configuration that is not safe to revive."""
    if isinstance(config, (list, tuple)):
        for item in cast("list[Any]", config):
            yield from unsafe_items(item, layer)
    if not isinstance(config, Mapping):
        return
    config = cast("Mapping[str, Any]", config)
    inner = config.get("config")
    if isinstance(inner, Mapping) and isinstance(cast("Any", inner).get("name"), str):
        layer = str(cast("Any", inner)["name"])
    if config.get("class_name") == "__lambda__":
        do = "Save it with a registered function in the place of the lambda, and pass custom_objects={name: function}"
        yield layer, "a lambda, as bytecode of Python,", do
    if config.get("class_name") in _READERS and isinstance(inner, Mapping):
        source = cast("Any", inner).get("vocabulary")
        if isinstance(source, str):
            yield layer, f"the file {source!r} as its vocabulary", "Save the layer with the tokens themselves"
    for value in config.values():
        yield from unsafe_items(value, layer)

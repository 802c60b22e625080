"""Configurations in files made models: what fails is explained, and what is not safe is refused."""

from __future__ import annotations

from typing import Any

from verax.errors import DataError, InputError, VeraxError
from verax.formats.configs import code_in
from verax.frame.serialized import revived

__all__ = ["check_model", "refuse_unsafe", "revive"]


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
    for kind, layer, why in code_in(config):
        if kind == "unsafe":
            raise InputError(
                f"{name} was to be loaded.",
                received=f"{layer!r}, which {why}",
                because="a file from somebody else could do anything by it",
                do="Save the model without it (a registered function in a lambda's place, and custom_objects={name: "
                "function}; a vocabulary's tokens themselves), or pass safe_mode=False if you trust the file as you "
                "trust a program.",
            )

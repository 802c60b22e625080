"""Blocks of a program in which something holds: names for profiles, a device, values that are not kept."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import jax

from verax.errors import InputError, UnknownNameError
from verax.frame.current import stateless
from verax.frame.variable import Variable

__all__ = ["StatelessScope", "device", "name_scope"]


def name_scope(name: str) -> AbstractContextManager[Any]:
    """Within, operations have ``name`` before theirs in profiles and compiled programs; weights' paths stay.

    >>> with name_scope("encoder"):
    ...     y = jnp.ones(3) * 2
    """
    if not isinstance(name, str) or not name:
        raise InputError("name_scope was called.", received=repr(name), because="a name is a string")
    return jax.named_scope(name)


def device(device_name: Any) -> AbstractContextManager[Any]:
    """Within, arrays are made on a device: ``"cpu:0"``, ``"gpu:1"``, or a device of jax.

    >>> with device("cpu:0"):
    ...     jnp.ones(3).device.platform
    'cpu'
    """
    if isinstance(device_name, jax.Device):
        return jax.default_device(device_name)
    if not isinstance(device_name, str):
        raise InputError("device was called.", received=repr(device_name), because="it is a name or a device of jax")
    platform, _, index = device_name.lower().partition(":")
    known: dict[str, Any] = {}
    for kind in ("cpu", "gpu", "cuda", "tpu"):
        try:
            known |= {f"{kind}:{i}": d for i, d in enumerate(jax.devices(kind))}
        except RuntimeError:  # this machine has none
            continue
    found = known.get(f"{platform}:{index or 0}")
    if found is None:
        raise UnknownNameError.among("device", device_name, known)
    return jax.default_device(found)


class StatelessScope:
    """Within, variables have given values, and what is assigned to them is collected and not kept.

    Made for programs that say it in Keras' way; ``verax.pure`` does the same for a layer as a plain function.

    Args:
        state_mapping: Pairs (variable, its value within).

    >>> v = verax.Variable(jnp.zeros(2), name="v")
    >>> with StatelessScope([(v, jnp.ones(2))]) as scope:
    ...     v.assign(v + 1.0)
    >>> scope.get_current_value(v).tolist(), v.numpy().tolist()
    ([2.0, 2.0], [0.0, 0.0])
    """

    def __init__(self, state_mapping: Iterable[tuple[Variable, Any]] | None = None):
        self._given = list(state_mapping or ())
        for variable, value in self._given:
            if not isinstance(variable, Variable):
                raise InputError(
                    "A StatelessScope was made.", received=repr(variable), because="its pairs begin with a variable"
                )
            variable.check_shape(value)
        self._before: dict[int, tuple[Variable, jax.Array]] = {}
        self._after: dict[int, jax.Array] = {}

    def keep(self, variable: Variable) -> None:
        """Remember what a variable is to be again."""
        self._before.setdefault(id(variable), (variable, variable.own()))

    def get_current_value(self, variable: Variable) -> jax.Array | None:
        """The value of a variable within, or at the end of, the scope; None where it had no other there."""
        if id(variable) in self._before:
            return self._after.get(id(variable), variable.value)
        return None

    def __enter__(self) -> StatelessScope:
        self._token = stateless.set(self)
        self._before, self._after = {}, {}
        for variable, value in self._given:
            variable.assign(value)
        return self

    def __exit__(self, *_: object) -> None:
        stateless.reset(self._token)
        for key, (variable, before) in self._before.items():
            self._after[key] = variable.own()
            variable.restore(before)

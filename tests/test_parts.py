"""The parts have every public name of Keras, and their constructors and functions every argument, in its order."""

from __future__ import annotations

import importlib
import inspect

import pytest

from tests.oracle import oracle
from verax.optimizers.base import Options, UndecayedOptions

ROOMS = [
    "activations",
    "constraints",
    "initializers",
    "losses",
    "metrics",
    "optimizers",
    "optimizers.legacy",
    "optimizers.schedules",
    "regularizers",
]
#: Optimizers take these by keyword only.
BY_KEYWORD = {**Options.__annotations__, **UndecayedOptions.__annotations__}
#: The base classes that a person subclasses: their arguments are passed on by name.
BASES = {"Metric", "Optimizer"}


def public(room):
    with oracle():
        module = importlib.import_module(f"keras.{room}")
    return {name: value for name, value in vars(module).items() if not name.startswith("_") and callable(value)}


def arguments(part):
    return [p for p in inspect.signature(part).parameters.values() if p.kind is not p.VAR_KEYWORD]


CASES = [(room, name) for room in ROOMS for name in sorted(public(room))]


@pytest.mark.parametrize("room", ROOMS)
def test_every_name(room):
    ours = importlib.import_module(f"verax.{room}")
    assert set(public(room)) <= set(ours.__all__)


@pytest.mark.parametrize(("room", "name"), [case for case in CASES if case[0] != "optimizers.legacy"])
def test_every_argument(room, name):
    theirs = arguments(public(room)[name])
    ours = {p.name: p for p in arguments(getattr(importlib.import_module(f"verax.{room}"), name))}
    missing = [p.name for p in theirs if p.name not in ours]
    if room == "optimizers":
        missing = [argument for argument in missing if argument not in BY_KEYWORD]
    assert not missing
    if name not in BASES:
        order = [p.name for p in theirs if p.name in ours and not (room == "optimizers" and p.name in BY_KEYWORD)]
        assert [argument for argument in ours if argument in order] == order
    for p in theirs:
        if p.name in ours and p.default is not p.empty and p.name != "name":
            assert ours[p.name].default == p.default, p.name

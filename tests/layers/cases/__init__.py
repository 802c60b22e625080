"""One row for each way to make a layer: what real Keras and Verax are compared on. A family a file."""

from __future__ import annotations

import importlib
import pkgutil

from tests.layers.cases.base import QUICK, Case

__all__ = ["CASES", "QUICK", "Case"]

_FAMILIES = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
CASES: list[Case] = [case for family in _FAMILIES if family.__name__ != Case.__module__ for case in family.CASES]

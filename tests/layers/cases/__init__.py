"""One row for each way to make a layer: what real Keras and Verax are compared on. A family a file."""

from __future__ import annotations

from tests.layers.cases import foundation, recurrent
from tests.layers.cases.base import QUICK, Case

__all__ = ["CASES", "QUICK", "Case"]

CASES: list[Case] = [case for family in (foundation, recurrent) for case in family.CASES]

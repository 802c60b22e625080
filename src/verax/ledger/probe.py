"""What a framework must offer so that its numbers can be explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from verax.ledger.facts import Facts

__all__ = ["Probe"]


@runtime_checkable
class Probe(Protocol):
    """Measures a model again with given facts; the ledger asks, the framework computes.

    A probe measures without changing anything: the model, its random state and its data are afterwards as before.
    """

    def facts(self) -> tuple[Facts, Facts]:
        """The facts of the two readings to be explained: as trained, as validated."""
        ...

    def measure(self, facts: Facts) -> Mapping[str, Any]:
        """The sums (name -> Tally or structure) of a pass with these facts."""
        ...

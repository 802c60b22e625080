"""From one reading to another, a fact at a time: the changes add up to the gap by construction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from verax.errors import ChainError
from verax.ledger.causes import Cause
from verax.ledger.facts import Change
from verax.ledger.reading import Reading

__all__ = ["Gap", "Link", "explain"]


@dataclass(frozen=True)
class Link:
    """Two readings that differ in one fact.

    Attributes:
        cause: The named reason.
        fact: The fact that changed, in words.
        before, after: The readings.
    """

    cause: Cause
    fact: Change
    before: Reading
    after: Reading

    @property
    def change(self) -> float:
        """after - before."""
        return self.after.value - self.before.value

    @property
    def stderr(self) -> float:
        """Standard error of the change where the rows differ (the two samples are independent); else NaN."""
        if self.fact.fact != "rows":
            return math.nan
        return math.hypot(self.before.stderr, self.after.stderr)


@dataclass(frozen=True)
class Gap:
    """The difference between two readings, cause by cause.

    Attributes:
        links: One cause each, in order, from ``train`` to ``validation``.
    """

    links: tuple[Link, ...]

    @property
    def train(self) -> Reading:
        """Where the chain begins."""
        return self.links[0].before

    @property
    def validation(self) -> Reading:
        """Where it ends."""
        return self.links[-1].after

    @property
    def total(self) -> float:
        """validation - train, as shown."""
        return self.validation.value - self.train.value

    @property
    def residual(self) -> float:
        """The total less the sum of the changes: float rounding."""
        return self.total - math.fsum(link.change for link in self.links)


def explain(readings: Sequence[Reading]) -> Gap:
    """The gap between the first and the last reading, through readings that differ in one fact each.

    Raises:
        ChainError: When two neighbours differ in no fact, or in more than one: their difference has no one cause.
    """
    if len(readings) < 2:
        raise ChainError("A gap was to be explained.", received=f"{len(readings)} reading", do="Give at least two.")
    links: list[Link] = []
    for before, after in itertools.pairwise(readings):
        changes = before.facts.differences(after.facts)
        if len(changes) != 1:
            raise ChainError(
                f"The change from {before.name} {before.value:.4g} to {after.name} {after.value:.4g} was to be named.",
                received="; ".join(str(c) for c in changes) or "no changed fact",
                because="a link changes exactly one fact, or its difference has no one cause",
                do="Measure a reading between them that changes one fact at a time."
                if changes
                else "Leave one of them out.",
            )
        links.append(Link(Cause.of(changes[0]), changes[0], before, after))
    return Gap(tuple(links))

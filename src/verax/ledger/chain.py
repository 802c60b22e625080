"""From one reading to another, a fact at a time: the changes add up to the gap by construction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

from verax.errors import ChainError
from verax.ledger.causes import Cause
from verax.ledger.facts import Change
from verax.ledger.page import fragment, page
from verax.ledger.picture import plot_waterfall
from verax.ledger.reading import Reading
from verax.ledger.report import rich_lines, table, to_dict, to_json
from verax.ledger.verdict import Verdict, judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Gap", "Link", "bundle", "explain", "link_of"]


@dataclass(frozen=True)
class Link:
    """Two readings that differ in one fact.

    Attributes:
        cause: The named reason.
        fact: The fact that changed, in words.
        before, after: The readings.
        stderr: Standard error of the change: over rows where the rows differ, over batches where a sample of them or
            fresh draws were measured; 0 where nothing is random; NaN where it is not known.
        detail: What else is known, for people: name -> plain data.
    """

    cause: Cause
    fact: Change
    before: Reading
    after: Reading
    stderr: float = math.nan
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def change(self) -> float:
        """after - before."""
        return self.after.value - self.before.value

    @property
    def interval(self) -> tuple[float, float]:
        """The change's 95 % interval, change ± 1.96 · stderr."""
        return self.change - 1.96 * self.stderr, self.change + 1.96 * self.stderr


@dataclass(frozen=True)
class Gap:
    """The difference between two readings, cause by cause.

    Attributes:
        links: One cause each, in order, from ``train`` to ``validation``.
        columns: For a loss of several outputs: output -> the gap of its own loss.
        grade: "full" where every cause was separated; otherwise what could not be, in words.
        sample: Which batches the causes between were measured on, in words; "" for all.
        notes: Sentences about what is unusual and is no cause of the gap.
        advice: The name of a cause -> what to do about it, where that is not what a user of Verax would do.
    """

    links: tuple[Link, ...]
    columns: Mapping[str, Gap] = field(default_factory=dict[str, "Gap"])
    grade: str = "full"
    sample: str = ""
    notes: tuple[str, ...] = ()
    advice: Mapping[str, str] = field(default_factory=dict[str, str])

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

    def __repr__(self) -> str:
        ends = f"{self.train.name} {self.train.value:.4g} -> {self.validation.name} {self.validation.value:.4g}"
        return f"<Gap {ends}, {len(self.links)} links>"

    def by_cause(self) -> dict[Cause, float]:
        """cause -> the sum of its changes (penalties, taken off and put on again, are one amount)."""
        amounts: dict[Cause, float] = {}
        for link in self.links:
            amounts[link.cause] = amounts.get(link.cause, 0.0) + link.change
        return amounts

    @property
    def verdict(self) -> Verdict:
        """What the gap comes to: ``.sentence``, ``.line``, ``.kind`` and ``.advice``."""
        return judge(self)

    def __str__(self) -> str:
        return table(self)

    def to_dict(self) -> dict[str, Any]:
        """The gap as plain data; None for what is not finite."""
        return to_dict(self)

    def to_json(self, indent: int | None = 2) -> str:
        """The gap as JSON text."""
        return to_json(self, indent)

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """One page with a picture, the table, what every number measured, and what to do; no network is needed.

        Args:
            path: Where to write the page; None to return it alone.
        """
        text = page(self)
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """A waterfall from the training number to the validation number, drawn with matplotlib.

        Args:
            ax: Where to draw; None for a new figure, which is ``ax.figure``.
        """
        return plot_waterfall(self, ax)

    def _repr_html_(self) -> str:
        return fragment(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield from rich_lines(self, console, options)


def explain(readings: Sequence[Reading]) -> Gap:
    """The gap between the first and the last reading, through readings that differ in one fact each.

    Raises:
        ChainError: When two neighbours differ in no fact, or in more than one: their difference has no one cause.
    """
    if len(readings) < 2:
        raise ChainError("A gap was to be explained.", received=f"{len(readings)} reading", do="Give at least two.")
    return Gap(tuple(link_of(before, after) for before, after in itertools.pairwise(readings)))


def link_of(before: Reading, after: Reading, stderr: float | None = None, **detail: Any) -> Link:
    """The link between two readings that differ in one fact.

    Args:
        before, after: The readings.
        stderr: Standard error of the change; where the rows differ and it is None, that of two independent samples.
        **detail: What else is known.
    """
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
    if stderr is None:
        stderr = math.hypot(before.stderr, after.stderr) if changes[0].fact == "rows" else math.nan
    return Link(Cause.of(changes[0]), changes[0], before, after, stderr, detail)


def bundle(start: Reading, end: Reading, why: str) -> Gap:
    """The gap of two readings whose causes cannot be separated: penalties by their own sums, the rest in one piece.

    Args:
        start, end: The readings.
        why: Why the rest cannot be separated, in words.
    """
    first, last = start.without_penalties(), end.without_penalties()
    changes = first.facts.differences(last.facts)
    words = Change("several", "; ".join(c.fact for c in changes), "all at once")
    links = [Link(Cause.NOT_SEPARATED, words, first, last, math.hypot(first.stderr, last.stderr))]
    if first.facts != start.facts:
        links.insert(0, link_of(start, first, 0.0))
    if last.facts != end.facts:
        links.append(link_of(last, end, 0.0))
    return Gap(tuple(links), grade=f"not separated: {why}")

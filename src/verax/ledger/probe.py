"""What a framework must offer so that its numbers can be explained, and the explanation made of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np

from verax.errors import ChainError
from verax.ledger.causes import Cause
from verax.ledger.chain import Gap, Link, link_of
from verax.ledger.chain import explain as explain_readings
from verax.ledger.facts import Change, Facts
from verax.ledger.path import path
from verax.ledger.reading import Reading
from verax.ledger.tally import same_tuple

__all__ = ["Batches", "Probe", "explain", "explain_gap"]

#: The jackknife deletes at most this many groups of batches in turn.
_GROUPS = 32


@dataclass(frozen=True)
class Batches:
    """What one pass measured, batch by batch.

    Attributes:
        sums: A structure of sums whose leaves have a leading axis: one entry for each batch.
        of: How many batches the whole pass has; more than were measured when they are a sample.
        detail: What else the pass found, for people: told with the change that leads on from it.
    """

    sums: Mapping[str, Any]
    of: int
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Probe(Protocol):
    """Measures a model again with given facts; the ledger asks, the framework computes.

    A probe changes nothing: the model, its random state and its data are afterwards as before.
    """

    def shown(self, name: str) -> tuple[Reading, Reading]:
        """The two readings of a number, as they were shown."""
        ...

    def measure(self, facts: Facts) -> Batches | None:
        """The sums of a pass with these facts (terms and average aside). Passes over the same rows measure the same
        batches in the same order: their differences are then paired. None where rows other than those of the first
        reading cannot be read again."""
        ...

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        """The number made of folded sums."""
        ...


def explain_gap(probe: Probe, name: str, *, reverse: bool = False) -> Gap:
    """The gap between the two shown readings of ``name``, cause by cause.

    Every reading between the two is estimated from the same batches: the shown value, plus the difference the batches
    show. So a sample of batches costs precision, never the sum: the changes add up to the gap exactly. A change's
    standard error is the jackknife's over (groups of) batches, times √(1 - n/N) for a sample of n of N batches where
    nothing is drawn at random (Cochran, *Sampling Techniques*, 3rd ed., sections 2.9 and 5.7).
    """
    start, end = probe.shown(name)
    facts = path(start.facts, end.facts, reverse=reverse)
    passes = [_Pass(start, None, start.facts.draws == "fresh")]
    base: Any = None
    for here in facts[1:-1]:
        same_rows = here.rows == start.facts.rows
        if not same_rows and here.rows == end.facts.rows:
            passes += _at_the_end(probe, name, here, end)
            continue
        if base is None:
            base = _measured(probe, start.facts)
        if here.terms != start.facts.terms and _bare(here) == _bare(start.facts):
            passes.append(_Pass(replace(start.without_penalties(), facts=here), base, here.draws == "fresh"))
            continue
        batches = _measured(probe, here)
        found = probe.reading(name, _folded(batches.sums), here)
        if same_rows:
            origin = probe.reading(name, _folded(base.sums), start.facts)
            shown = start.without_penalties() if "penalties" not in here.terms else start
            value = shown.value + (_plain(found, here) - _plain(origin, here))
            stderr = found.stderr * math.sqrt(min(1.0, _count(batches.sums) / batches.of))  # as of all the rows
        else:
            value, stderr = _plain(found, here), found.stderr
        random = here.draws == "fresh"
        passes.append(_Pass(replace(found, value=value, stderr=stderr, facts=here), batches, random))
    passes.append(_Pass(end, None, False))
    if len(facts) == 1:
        raise ChainError(
            f"The gap between {start.name} and {end.name} was to be explained.",
            received=str(start.facts.rows),
            because="both readings have the same facts: they measured the same thing",
        )
    links = [
        _link(probe, name, before, after, base, start.facts.average) for before, after in itertools.pairwise(passes)
    ]
    sampled = next((p.batches for p in passes if p.batches is not None), None)
    sample = ""
    if sampled is not None and (n := _count(sampled.sums)) < sampled.of:
        sample = f"{n:,} of {sampled.of:,} batches"
    several = any(link.cause is Cause.NOT_SEPARATED for link in links)
    grade = f"not separated: the {end.facts.rows.label} can be read only once" if several else "full"
    return Gap(tuple(links), grade=grade, sample=sample)


def explain(*readings: Any, metric: str = "loss") -> Gap:
    """The gap between two numbers: of readings that differ in one fact each, or of what a probe measures.

    Args:
        *readings: Readings in order, or a list of them; or one Probe.
        metric: Which of a probe's numbers.

    Raises:
        ChainError: When two neighbouring readings differ in no fact, or in more than one.

    >>> from verax.ledger import Facts, Reading, Tally
    >>> tally = Tally.of(np.array([1.0, 2.0]))
    >>> on, off = Facts(weights="none"), Facts(weights="sample weights")
    >>> gap = explain(Reading("loss", 1.5, 0.5, on, tally=tally), Reading("loss", 1.9, 0.5, off, tally=tally))
    >>> gap.links[0].cause.name, round(gap.total, 6)
    ('ROW_WEIGHTS', 0.4)
    """
    if len(readings) == 1 and hasattr(readings[0], "measure"):
        return explain_gap(readings[0], metric)
    if len(readings) == 1 and isinstance(readings[0], (list, tuple)):
        return explain_readings(cast("list[Reading]", readings[0]))
    return explain_readings(readings)


@dataclass(frozen=True)
class _Pass:
    reading: Reading
    batches: Batches | None
    random: bool


def _bare(facts: Facts) -> Facts:
    """The facts a pass depends on: what is in the number and how it is averaged does not change what is measured."""
    return facts.but(terms=("data",), average="", clipped=0)


def _plain(reading: Reading, facts: Facts) -> float:
    return reading.value if "penalties" in facts.terms or not reading.parts else reading.data


def _measured(probe: Probe, facts: Facts) -> Batches:
    found = probe.measure(_bare(facts))
    if found is None:
        raise ChainError(f"The {facts.rows} were to be measured again.", because="they can be read only once")
    return found


def _at_the_end(probe: Probe, name: str, facts: Facts, end: Reading) -> list[_Pass]:
    """What is measured on the rows of the second reading: one pass, or none where they cannot be read again."""
    same = _bare(facts) == _bare(end.facts)
    if same and (facts.average == end.facts.average or not end.parts):
        return [_Pass(replace(end.without_penalties(), facts=facts), None, False)]
    if (batches := probe.measure(_bare(facts))) is None:
        return []
    sums = _folded(batches.sums)
    found = probe.reading(name, sums, facts)
    value = _plain(found, facts)
    if same:  # only the average is another: from the number as it was shown
        shown = end if "penalties" in facts.terms else end.without_penalties()
        value = shown.value + (value - _plain(probe.reading(name, sums, facts.but(average=end.facts.average)), facts))
    return [_Pass(replace(found, value=value, facts=facts), None, False)]


def _link(probe: Probe, name: str, before: _Pass, after: _Pass, base: Batches | None, average: str) -> Link:
    detail = {} if before.batches is None else dict(before.batches.detail)
    changes = before.reading.facts.differences(after.reading.facts)
    if len(changes) > 1:
        words = Change("several", "; ".join(c.fact for c in changes), "all at once")
        stderr = math.hypot(before.reading.stderr, after.reading.stderr)
        return Link(Cause.NOT_SEPARATED, words, before.reading, after.reading, stderr)
    rows = before.reading.facts.rows != after.reading.facts.rows
    if rows:
        spread = 0.0
        facts = before.reading.facts
        as_shown = facts.but(average=average)
        # What stands before the rows is the shown number plus what the sample tells of all between; so is its error.
        if before.batches is not None and base is not None and (before.batches is not base or as_shown != facts):
            spread = _paired_stderr(probe, name, (base, as_shown), (before.batches, facts), before.random)
        one, two = before.reading, after.reading
        if one.facts.rows.label == two.facts.rows.label:  # a part of the rows, then all of them, or the other way
            part = one if one.facts.rows.skipped else two
            seen = (part.facts.rows.count or 0) / max(part.facts.rows.of or 1, 1)
            return link_of(one, two, math.hypot(part.stderr * math.sqrt(max(0.0, 1.0 - seen)), spread))
        if _same_rows(one, two):
            return link_of(one, two, spread)
        return link_of(one, two, math.hypot(one.stderr, two.stderr, spread))
    first = before.batches or (base if after.batches is not None else None)
    averages = before.reading.facts.average, after.reading.facts.average
    if first is None or after.batches is None or (first is after.batches and averages[0] == averages[1]):
        return link_of(before.reading, after.reading, 0.0, **detail)
    random = before.random or after.random
    facts = after.reading.facts.but(average=averages[0])
    stderr = _paired_stderr(probe, name, (first, facts), (after.batches, after.reading.facts), random)
    return link_of(before.reading, after.reading, stderr, **detail)


def _same_rows(one: Reading, two: Reading) -> bool:
    """Whether two readings are of the very same rows: as many, of the same mean and spread, but for rounding.

    Validation on the training rows is how people meet a gap first; its rows differ by nothing, and not by chance.
    """
    return one.facts.rows.count == two.facts.rows.count and all(
        math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
        for a, b in ((one.value, two.value), (one.stderr, two.stderr))
    )


def _paired_stderr(
    probe: Probe, name: str, one: tuple[Batches, Facts], two: tuple[Batches, Facts], random: bool
) -> float:
    """Jackknife standard error of the difference of a number between two passes over the same batches."""
    n, of = _count(one[0].sums), one[0].of
    if n >= of and not random:
        return 0.0
    groups = np.array_split(np.arange(n), min(n, _GROUPS))
    if len(groups) < 2:
        return math.nan

    def without(end: tuple[Batches, Facts], group: np.ndarray[Any, Any]) -> float:
        batches, facts = end
        kept = np.ones(n, bool)
        kept[group] = False
        return _plain(probe.reading(name, _folded(batches.sums, kept), facts), facts)

    differences = np.array([without(two, group) - without(one, group) for group in groups])
    # A number that stands on one batch alone has no value without it, and no noise from the others; what was drawn for
    # that one batch has a noise that no other batch tells.
    known = differences[np.isfinite(differences)]
    g = len(known)
    if g < 2 or (random and g < len(differences)):
        return math.nan
    differences = known
    variance = (g - 1) / g * float(np.sum((differences - differences.mean()) ** 2))
    if not random:
        variance *= 1.0 - n / of
    return math.sqrt(variance)


def _over(structure: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(structure, Mapping):
        return {key: _over(value, leaf) for key, value in cast("Mapping[Any, Any]", structure).items()}
    if isinstance(structure, tuple):
        return same_tuple(structure, [_over(value, leaf) for value in cast("tuple[Any, ...]", structure)])
    return leaf(structure)


def _folded(sums: Any, kept: np.ndarray[Any, Any] | None = None) -> Any:
    def add(leaf: Any) -> Any:
        steps = np.asarray(leaf, dtype=np.float64)
        steps = steps if kept is None else steps[kept]
        return math.fsum(steps.tolist()) if steps.ndim == 1 else steps.sum(axis=0)

    return _over(sums, add)


def _count(sums: Any) -> int:
    counts: list[int] = []
    _over(sums, lambda leaf: counts.append(len(leaf)))
    return max(counts, default=0)

"""What is relied on in a probe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from verax.ledger.chain import Gap
from verax.ledger.facts import Facts
from verax.ledger.path import path
from verax.ledger.probe import Batches, Probe, explain_gap
from verax.ledger.reading import Reading
from verax.ledger.tally import Tally, same_tuple
from verax.testing.faults import Faults, difference

__all__ = ["check_probe"]

_REST = "Compute from a copy of the weights and from keys of your own, and put back whatever was changed."


def check_probe(
    probe: Probe, name: str = "loss", *, state: Callable[[], Any] | None = None, tolerance: float = 1e-5
) -> Gap:
    """Check a probe: what makes a framework's numbers explainable.

    Tried are: the two readings, that they are finite, of facts that can be joined, and made of their parts; every pass
    that the explanation of ``name`` needs, that it gives sums batch by batch, the same batches in the same order
    whatever is asked, the same numbers when asked again, whatever is said of terms and average; that the number made of
    all of the first pass' sums is the first shown number, and that of the last pass' the last; that twice the rows give
    the same mean; that nothing has changed afterwards; and the explanation itself, that it begins and ends with what was
    shown, and adds up.

    Args:
        probe: The probe.
        name: Which of its numbers.
        state: () -> all that the probe must leave as it is: weights, random states, the mode of a model. Arrays, or
            dicts and lists of them.
        tolerance: Relative, for numbers that should be equal; measured again they are often computed in another order.

    Returns:
        The gap that was explained.

    Raises:
        CheckError: With every fault found.

    >>> from verax.ledger import Batches, Facts, Reading, Rows, Tally
    >>> class Means:
    ...     def shown(self, name):
    ...         facts = Facts(params="each step's own", rows=Rows("training rows", 8, 8))
    ...         end = Facts(params="now", rows=Rows("validation rows", 4, 4))
    ...         return Reading(name, 2.0, 0.1, facts), Reading(name, 1.0, 0.1, end)
    ...     def measure(self, facts):
    ...         return Batches({"loss": Tally.of(np.array([1.0, 2.0]))}, of=2)
    ...     def reading(self, name, sums, facts):
    ...         return Reading.of_tally(name, sums["loss"], facts)
    >>> check_probe(Means())
    Traceback (most recent call last):
      ...
    verax.testing.faults.CheckError: probe Means has 1 fault.
      batches: the sums of 2 batches are numbers, not arrays, for training rows at each step's own. Give every leaf a leading axis with one entry for each batch: np.stack of Tally.of(losses of the batch).
    """  # noqa: E501, a message is one line
    faults = Faults(f"probe {type(probe).__name__}")
    before = _copied(state()) if state is not None else None
    ends = _check_shown(faults, probe, name, tolerance)
    gap: Gap | None = None
    if ends is not None:
        facts = _check_path(faults, *ends)
        passes = _check_passes(faults, probe, facts, ends)
        if not faults.found:
            _check_numbers(faults, probe, name, passes, ends, tolerance)
            _check_again(faults, probe, name, passes, ends, tolerance)
            gap = _check_chain(faults, probe, name, ends)
    if state is not None and (found := difference(before, _copied(state()), 0.0)):
        faults.add("changed", f"what state() gives is not as before: {found}", _REST)
    faults.raise_if_any()
    assert gap is not None
    return gap


# ---- the ends --------------------------------------------------------------------------------------------------------


def _check_shown(faults: Faults, probe: Probe, name: str, tolerance: float) -> tuple[Reading, Reading] | None:
    with faults.trying("shown", f"shown({name!r}) fails", "Return the two readings of the number."):
        ends: Any = probe.shown(name)
        if not (isinstance(ends, tuple) and len(ends) == 2 and all(isinstance(one, Reading) for one in ends)):
            faults.add(
                "shown",
                f"shown({name!r}) gives {type(ends).__name__}, and no pair of readings",
                "Return (Reading of training, Reading of validation).",
            )
            return None
        for one in cast("tuple[Reading, Reading]", ends):
            _check_reading(faults, one, tolerance)
        return cast("tuple[Reading, Reading]", ends)
    return None


def _check_reading(faults: Faults, one: Reading, tolerance: float) -> None:
    if not math.isfinite(one.value):
        faults.add("shown", f"{one.name} is {one.value}", "Explain numbers that are finite: nothing else has a gap.")
    made = math.fsum(part.coefficient * part.value for part in one.parts.values())
    if one.parts and not _near(made, one.value, tolerance):
        faults.add(
            "parts",
            f"{one.name} is {one.value:.6g}, and its parts add up to {made:.6g}",
            "Make the reading with Reading.of_parts: value = Σ coefficient · part.",
        )
    kinds = {part.kind for part in one.parts.values()}
    if one.parts and ("penalties" in one.facts.terms) != ("penalty" in kinds):
        has = "parts that are penalties" if "penalty" in kinds else "no part that is a penalty"
        faults.add(
            "terms",
            f"{one.name} says its terms are {' + '.join(one.facts.terms)} and has {has}",
            "Name 'penalties' in Facts.terms exactly where a Part has kind='penalty'.",
        )


def _check_path(faults: Faults, start: Reading, end: Reading) -> list[Facts]:
    found: list[Facts] = []
    with faults.trying(
        "facts",
        f"no way leads from what {start.name} measured to what {end.name} measured",
        "Name the same layers in Facts.modes of both, each with what it did.",
    ):
        found = path(start.facts, end.facts)
        if len(found) < 2:
            faults.add(
                "facts",
                f"{start.name} and {end.name} say that they measured the same",
                "Say in Facts what differs: rows, params, modes, ...",
            )
    return found


# ---- the passes ------------------------------------------------------------------------------------------------------


def _check_passes(
    faults: Faults, probe: Probe, facts: list[Facts], ends: tuple[Reading, Reading]
) -> list[tuple[Facts, Batches]]:
    """Every pass that the explanation needs, the shown ends' own ones first."""
    start, end = ends
    wanted = dict.fromkeys(_bare(one) for one in (start.facts, end.facts, *facts))
    passes: list[tuple[Facts, Batches]] = []
    given: list[Any] = []
    for one in wanted:
        where = f"{one.rows.label} at {one.params}"
        with faults.trying("measure", f"measure fails for {where}", "Measure any facts between those of the two ends."):
            found: Any = probe.measure(one)
            if found is None:
                if one.rows == start.facts.rows:
                    faults.add(
                        "measure",
                        f"measure gives None for {where}",
                        "Keep enough of the epoch to run some of its batches again; only other rows may be gone.",
                    )
            elif not isinstance(found, Batches):
                faults.add("measure", f"measure gives {type(found).__name__}", "Return verax.ledger.Batches(sums, of).")
            elif _check_batches(faults, found, where):
                passes.append((one, replace(found, sums=_copied(found.sums))))
                given.append(found.sums)
    _check_paired(faults, passes)
    for (one, batches), sums in zip(passes, given, strict=True):
        if found := difference(batches.sums, sums, 0.0):
            what = f"sums given for {one.rows.label} at {one.params} were changed by later passes: {found}"
            faults.add("kept", what, "Return arrays of their own for every pass; do not fill one buffer again.")
    return passes


def _check_batches(faults: Faults, batches: Batches, where: str) -> bool:
    leaves = _leaves(batches.sums)
    stack = "Give every leaf a leading axis with one entry for each batch: np.stack of Tally.of(losses of the batch)."
    if not leaves or any(np.ndim(leaf) == 0 for leaf in leaves):
        what = f"the sums of {batches.of} batches are {'numbers, not arrays' if leaves else 'empty'}, for {where}"
        faults.add("batches", what, stack)
        return False
    counts = sorted({len(leaf) for leaf in leaves})
    if len(counts) > 1 or counts[0] == 0:
        faults.add("batches", f"the sums have {' and '.join(map(str, counts))} batches, for {where}", stack)
        return False
    if counts[0] > batches.of:
        faults.add(
            "of",
            f"{counts[0]} batches were measured of a pass of {batches.of}, for {where}",
            "Batches.of is how many batches the whole pass has.",
        )
    return True


def _check_paired(faults: Faults, passes: list[tuple[Facts, Batches]]) -> None:
    """Passes over the same rows are of the same batches in the same order, as far as their sizes tell."""
    first: dict[tuple[Any, str], tuple[Facts, Batches]] = {}
    do = "Choose the batches once, by a seed of their own, and run the same ones in the same order for all facts."
    for facts, batches in passes:
        like_facts, like = first.setdefault((facts.rows, facts.weights), (facts, batches))
        n, m = _count(like), _count(batches)
        between = _words(like_facts, facts)
        if n != m or like.of != batches.of:
            what = (
                f"{n} of {like.of} batches of the {facts.rows.label} were measured, and {m} of {batches.of} {between}"
            )
            faults.add("paired", what, do)
        elif any(difference(a, b, 0.0) for a, b in zip(_rows(like), _rows(batches), strict=False)):
            what = f"the batches of the {facts.rows.label} have other numbers of rows, or another order, {between}"
            faults.add("paired", what, do)


def _words(one: Facts, two: Facts) -> str:
    changes = one.differences(two)
    return f"when {changes[0]}" if changes else "when they are asked again"


# ---- the numbers -----------------------------------------------------------------------------------------------------


def _check_numbers(
    faults: Faults,
    probe: Probe,
    name: str,
    passes: list[tuple[Facts, Batches]],
    ends: tuple[Reading, Reading],
    tolerance: float,
) -> None:
    measured = dict(passes)
    for end in ends:
        batches = measured.get(_bare(end.facts))
        if batches is None:
            continue
        with faults.trying("reading", "reading fails on folded sums", "Take the sums of any of the batches."):
            found = probe.reading(name, _folded(batches.sums), end.facts)
            if not isinstance(cast("Any", found), Reading):
                faults.add("reading", f"reading gives {type(found).__name__}", "Return a Reading of the given facts.")
                continue
            if found.facts.differences(end.facts):
                faults.add(
                    "reading",
                    f"asked with the facts of {end.name}, a reading says other ones {_words(end.facts, found.facts)}",
                    "Give the reading the facts that were asked.",
                )
            if _count(batches) == batches.of and not _near(found.value, end.value, tolerance):
                faults.add(
                    "number",
                    f"all batches measured as {end.name} was give {found.value:.6g}, and shown is {end.value:.6g}",
                    "Measure with the same weights, draws, modes and row weights, and average as facts.average says.",
                )
            _check_mean(faults, probe, name, batches, found, tolerance)


def _check_mean(faults: Faults, probe: Probe, name: str, batches: Batches, found: Reading, tolerance: float) -> None:
    """A mean is of whatever rows there are: a sample's, or every row twice."""
    do = "Divide by sums that are folded with it, never by a number of rows or batches that is known beforehand."
    if any(part.average == "sum" for part in found.parts.values()):
        return
    twice = probe.reading(name, _folded(batches.sums, times=2), found.facts)
    if not _near(twice.value, found.value, tolerance):
        what = f"with every batch twice {found.name} is {twice.value:.6g}, and with every batch once {found.value:.6g}"
        faults.add("mean", what, do)
    if not math.isnan(found.stderr) and not twice.stderr <= found.stderr * (1 + tolerance):
        what = f"with every batch twice the error of {found.name} grows from {found.stderr:.3g} to {twice.stderr:.3g}"
        faults.add("error", what, "Make it of a Tally of rows: Tally.stderr.")


def _check_again(
    faults: Faults,
    probe: Probe,
    name: str,
    passes: list[tuple[Facts, Batches]],
    ends: tuple[Reading, Reading],
    tolerance: float,
) -> None:
    """Measured again, after all the others, each pass comes to the same; and so do the shown numbers."""
    for asked, what, do in (
        (
            lambda facts: facts,
            "measured again, {where} gives other sums: {found}",
            "Draw from keys that facts and the batch's number decide, and change nothing: not weights, not generators.",
        ),
        (
            lambda facts: facts.but(terms=("data", "penalties"), average="mean over rows"),
            "{where} gives other sums where terms and average are others: {found}",
            "These change how sums are read and not what is measured: let measure not look at them.",
        ),
    ):
        for facts, batches in passes:
            where = f"{facts.rows.label} at {facts.params}"
            with faults.trying("again", f"{where} cannot be measured again", "Return None for rows that are gone."):
                again = probe.measure(asked(facts))
                if again is None:  # rows that could be read only once
                    continue
                if found := difference(batches.sums, again.sums, tolerance):
                    faults.add("again", what.format(where=where, found=found), do)
    for one, two in zip(ends, probe.shown(name), strict=True):
        if one.value != two.value or one.facts != two.facts:
            what = f"after measuring, {one.name} is {two.value:.6g} and was {one.value:.6g}"
            faults.add("changed", what, "Keep the two readings as they were shown.")


def _check_chain(faults: Faults, probe: Probe, name: str, ends: tuple[Reading, Reading]) -> Gap | None:
    with faults.trying("chain", f"the gap of {name} cannot be explained", "See the message."):
        gap = explain_gap(probe, name)
        scale = max([abs(link.after.value) for link in gap.links if math.isfinite(link.after.value)], default=0.0)
        bad = [link for link in gap.links if not math.isfinite(link.change)]
        if bad:
            faults.add(
                "chain",
                f"the step to {bad[0].fact} has no amount: {bad[0].after.value}",
                "Give finite sums for every pass; a batch without a weighted row has no mean.",
            )
        elif not abs(gap.residual) <= 1e-6 * scale:
            faults.add("chain", f"the amounts leave {gap.residual:.3g} over", "Return finite numbers in float64.")
        if gap.train.value != ends[0].value or gap.validation.value != ends[1].value:
            faults.add("chain", "it does not begin and end with the shown numbers", "Return the same from shown.")
        return gap
    return None


# ---- small things ----------------------------------------------------------------------------------------------------


def _bare(facts: Facts) -> Facts:
    """What the explanation asks to be measured."""
    return facts.but(terms=("data",), average="", clipped=0)


def _near(one: float, two: float, tolerance: float) -> bool:
    return math.isclose(one, two, rel_tol=tolerance, abs_tol=1e-9)


def _over(structure: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(structure, Mapping):
        return {key: _over(value, leaf) for key, value in cast("Mapping[Any, Any]", structure).items()}
    if isinstance(structure, (tuple, list)):
        return same_tuple(structure, [_over(value, leaf) for value in cast("tuple[Any, ...]", structure)])
    return leaf(structure)


def _leaves(structure: Any) -> list[Any]:
    found: list[Any] = []
    _over(structure, found.append)
    return found


def _copied(structure: Any) -> Any:
    return _over(structure, lambda leaf: np.array(leaf, copy=True))


def _count(batches: Batches) -> int:
    return len(_leaves(batches.sums)[0])


def _rows(batches: Batches) -> list[Any]:
    """The numbers of rows of each batch, where there are tallies."""
    if isinstance(batches.sums, Tally):
        return [batches.sums.rows]
    return [value.rows for value in batches.sums.values() if isinstance(value, Tally)]


def _folded(sums: Any, times: int = 1) -> Any:
    def add(leaf: Any) -> Any:
        total = np.sum(np.asarray(leaf, np.float64), axis=0) * times
        return float(total) if np.ndim(total) == 0 else total

    return _over(sums, add)

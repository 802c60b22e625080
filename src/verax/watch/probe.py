"""The gap of a loop that Verax did not run: the ledger's questions, answered by running its batches again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from verax.ledger.chain import Gap
from verax.ledger.facts import Facts
from verax.ledger.path import PLAIN_AVERAGE
from verax.ledger.probe import Batches, explain_gap
from verax.ledger.reading import Part, Reading
from verax.ledger.tally import Tally
from verax.watch.averages import BY_ROWS, MEAN, SUM, number, recognized, shares
from verax.watch.epoch import Epoch, Measured, Step

__all__ = ["End", "LoopProbe", "Program", "chosen_average"]

OWN = "each step's own"


class Program(Protocol):
    """A model with its loss, which can be run on a batch again; it changes nothing."""

    def run(self, facts: Facts, steps: Iterable[Step], averages: Any) -> Iterator[Measured]:
        """What each batch comes to with these facts, at the weights of now.

        ``facts.draws`` says whether the random generators start from ``step.draws`` ("as drawn") or from anew, by the
        step's number ("fresh", the same ones at each call); ``facts.modes`` what each layer does, ``facts.objective``
        and ``facts.weights`` which loss is meant, ``facts.dtype`` the precision. ``averages`` is what ``population``
        found, where a layer is to use it.
        """
        ...

    def population(self, facts: Facts, steps: Iterable[Step]) -> tuple[Any, Sequence[Mapping[str, Any]]]:
        """The population's statistics over batches at the weights of now; and how far the moving averages are from
        them: a mapping each of path, off, momentum, updates, needed (and taken, where momentum is the share taken)."""
        ...

    def batches(self, facts: Facts) -> Iterable[Step] | None:
        """The batches of ``facts.rows`` where these are not the steps that trained; None where they cannot be read."""
        ...


@dataclass(frozen=True)
class End:
    """One of the two numbers.

    Attributes:
        name: "loss", "val_loss".
        facts: What it measured.
        values, rows, penalties: (batches,) of each batch: its loss as shown, its rows, the penalties in it.
        sums: The loss without penalties in sums over rows, where rows are known one by one: its standard error is then
            that of rows, and not of batches.
    """

    name: str
    facts: Facts
    values: np.ndarray
    rows: np.ndarray
    penalties: np.ndarray
    sums: Tally | None = None

    def reading(self) -> Reading:
        """The number as it was shown."""
        average = BY_ROWS if self.facts.even else self.facts.average
        part = shares(average, self.rows)
        scale = float(len(self.values)) if self.facts.average == SUM else 1.0
        rows = _fold_one(part, self.values - self.penalties) if self.sums is None else self.sums
        parts = [Part("loss", rows, scale)]
        if "penalties" in self.facts.terms:
            parts.append(Part("penalties", _fold_one(part, self.penalties), scale, "penalty"))
        return Reading.of_parts(self.name, parts, self.facts)


def chosen_average(said: float | str | None, values: np.ndarray, rows: np.ndarray, name: str) -> tuple[str, str]:
    """The average by which a loop made its number, and what is to be told about it ("" mostly).

    Args:
        said: The number as printed, or the average's name; None for the mean of the batches.
        values, rows: Of each batch.
        name: The number's name.
    """
    if said is None or isinstance(said, str):
        return said or MEAN, ""
    if found := recognized(said, values, rows):
        return found, ""
    candidates = ", ".join(f"{c} {number(c, values, rows):.6g}" for c in (MEAN, "last batch"))
    return MEAN, f"The {name} {said:g} that was given is no usual average of what the batches came to ({candidates})."


@dataclass
class LoopProbe:
    """The ledger's Probe of a watched loop.

    Attributes:
        program: Runs batches again.
        training: The steps.
        start, end: The two numbers.
        advice: The name of a cause -> what a user of this framework does about it.
    """

    program: Program
    training: Epoch
    start: End
    end: End
    advice: Mapping[str, str] = field(default_factory=dict[str, str])
    _passes: dict[Facts, Batches] = field(default_factory=dict[Facts, Batches])
    _ran: dict[Facts, list[Measured]] = field(default_factory=dict[Facts, "list[Measured]"])

    def gap(self, notes: Sequence[str] = ()) -> Gap:
        """The gap between the two numbers."""
        return replace(explain_gap(self, "loss"), notes=tuple(notes), advice=self.advice)

    # ---- what the ledger asks ----------------------------------------------------------------------------------------

    def shown(self, name: str) -> tuple[Reading, Reading]:
        """The two numbers as they were shown."""
        return self.start.reading(), self.end.reading()

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        """The number made of folded sums."""
        even = facts.even
        scale = sums["of"] / sums["batches"] if facts.average == SUM and sums["batches"] else 1.0
        parts = [Part("loss", sums["rows"] if even else sums["shown"], 1.0 if even else scale)]
        if "penalties" in facts.terms:
            parts.append(Part("penalties", sums["penalty"], 1.0 if even else scale, "penalty"))
        return Reading.of_parts(name, parts, facts)

    def measure(self, facts: Facts) -> Batches | None:
        """The sums of a pass with these facts."""
        if facts not in self._passes:
            steps = self._steps(facts)
            if steps is None:
                return None
            found, detail = self._found(facts, steps)
            if not found:
                return None
            self._passes[facts] = self._batches(facts, found, detail)
        return self._passes[facts]

    # ---- how it is measured ------------------------------------------------------------------------------------------

    def _of_the_epoch(self, facts: Facts) -> bool:
        return facts.rows == self.start.facts.rows

    def _sample(self) -> list[Step]:
        return self.training.sample(latest=self.start.facts.average not in (MEAN, SUM, BY_ROWS, PLAIN_AVERAGE))

    def _steps(self, facts: Facts) -> Iterable[Step] | None:
        return self._sample() if self._of_the_epoch(facts) else self.program.batches(facts)

    def _found(self, facts: Facts, steps: Iterable[Step]) -> tuple[list[Measured], dict[str, Any]]:
        if self._of_the_epoch(facts) and facts.params == OWN:
            return self._own(facts), {}
        averages, detail = None, {}
        if any(m.state == "population" for m in facts.modes):
            averages, lag = self.program.population(facts, self._sample())
            detail = {"averages": list(lag)}
        return list(self.program.run(facts, steps, averages)), detail

    def _own(self, facts: Facts) -> list[Measured]:
        """What the sampled steps came to as they ran; their rows' weights are those of running them again."""
        values, penalties = self.training.values, self.training.penalties
        steps = self._sample()
        again: list[Measured] | None = None
        found: list[Measured] = []
        for i, step in enumerate(steps):
            if facts.objective in step.own:
                found.append(step.own[facts.objective])
                continue
            if again is None:
                again = list(self.program.run(facts.but(params=self.end.facts.params), steps, None))
            value, penalty = float(values[step.number]), float(penalties[step.number])
            like = again[i].sums
            scale = (value - penalty) / again[i].value if again[i].value else 1.0
            sums = Tally(
                like.sum * scale, like.weight, like.sumsq * scale**2, like.cross * scale, like.weightsq, like.rows
            )
            found.append(Measured(value - penalty, again[i].rows, sums, {"penalties": penalty}))
        return found

    def _batches(self, facts: Facts, found: Sequence[Measured], detail: Mapping[str, Any]) -> Batches:
        epoch = self._of_the_epoch(facts)
        of = self.training.steps if epoch else len(found)
        average = self.start.facts.average if epoch else self.end.facts.average
        average = BY_ROWS if facts.but(average=average).even else average
        if epoch:
            part = shares(average, self.training.rows)[[step.number for step in self._sample()]]
        else:
            part = shares(average, [m.rows for m in found])
        values = np.array([m.value for m in found])
        penalties = np.array([math.fsum(m.penalties.values()) for m in found])
        sums = {
            "rows": Tally(*(np.array([float(m.sums[i]) for m in found]) for i in range(len(Tally._fields)))),
            "shown": _by_batch(part, values),
            "penalty": _by_batch(part, penalties),
            "batches": np.ones(len(found)),
            "of": np.full(len(found), float(of)),
        }
        return Batches(sums, of, detail)


def _by_batch(part: np.ndarray, values: np.ndarray) -> Tally:
    v = part * values
    return Tally(v, part, v * v, v * part, part * part, (part != 0).astype(np.float64))


def _fold_one(part: np.ndarray, values: np.ndarray) -> Tally:
    return Tally(*(math.fsum(field.tolist()) for field in _by_batch(part, values)))

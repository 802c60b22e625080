"""The gap of a loop that Verax did not run: the ledger's questions, answered by running its batches again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from verax.errors import ChainError, UnknownNameError
from verax.ledger.chain import Gap
from verax.ledger.facts import Facts
from verax.ledger.probe import Batches, explain_gap
from verax.ledger.reading import Part, Reading
from verax.ledger.tally import Tally
from verax.watch.averages import BY_ROWS, LAST, MEAN, check, factor, number, of_the_end, recognized, shares
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
        sums: The loss of each batch in sums over rows, or of all of them (in an even number), where they are known: the
            number's error is then that of rows, and not of batches.
    """

    name: str
    facts: Facts
    values: np.ndarray
    rows: np.ndarray
    penalties: np.ndarray
    sums: Tally | Sequence[Tally] | None = None

    def reading(self) -> Reading:
        """The number as it was shown."""
        average = BY_ROWS if self.facts.even else self.facts.average
        part = shares(average, self.rows)
        times = factor(average, self.rows)
        data = self.values - self.penalties
        whole = self.sums if isinstance(self.sums, Tally) else _by_row(part, data, self.sums or ())
        parts = [Part("loss", whole or _fold_one(part, data), times)]
        if "penalties" in self.facts.terms:
            parts.append(Part("penalties", _fold_one(part, self.penalties), times, "penalty"))
        return Reading.of_parts(self.name, parts, self.facts)


def chosen_average(
    said: float | str | None, values: np.ndarray, rows: np.ndarray, name: str, usual: str = MEAN
) -> tuple[str, str]:
    """The average by which a loop made its number, and what is to be told about it ("" mostly).

    Args:
        said: The number as printed (a string keeps zeros at the end: "0.150"), or the average's name; None for the
            usual one.
        values, rows: Of each batch.
        name: The number's name.
        usual: What it is taken for where nothing else is known.

    Raises:
        InputError: No average has this name.
    """
    if said is None:
        return usual, ""
    if isinstance(said, str) and not _is_number(said):
        return check(said), ""
    if found := recognized(said, values, rows):
        return found, ""
    candidates = ", ".join(f"{c} {number(c, values, rows):.6g}" for c in (usual, LAST))
    given = f"The {name} {float(said):g} that was given is no usual average of what the batches came to"
    return usual, f"{given} ({candidates}): the {usual} is explained."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass
class LoopProbe:
    """The ledger's Probe of a watched loop.

    Attributes:
        program: Runs batches again.
        training: The steps.
        start, end: The two numbers.
        advice: The name of a cause -> what a user of this framework does about it.
        known: Facts -> what the batches of ``program.batches`` came to, where they were measured already: the
            validation rows as they were when the second number was made.
    """

    program: Program
    training: Epoch
    start: End
    end: End
    advice: Mapping[str, str] = field(default_factory=dict[str, str])
    known: Mapping[Facts, Sequence[Measured]] = field(default_factory=dict[Facts, "Sequence[Measured]"])
    _passes: dict[Facts, Batches] = field(default_factory=dict[Facts, Batches])
    _shown: list[Reading] = field(default_factory=list[Reading])

    def __post_init__(self) -> None:
        for facts, found in self.known.items():
            self._passes[_measurable(facts)] = self._batches(facts, found, {})

    def gap(self, notes: Sequence[str] = ()) -> Gap:
        """The gap between the two numbers."""
        return replace(explain_gap(self, "loss"), notes=tuple(notes), advice=self.advice)

    # ---- what the ledger asks ----------------------------------------------------------------------------------------

    def shown(self, name: str) -> tuple[Reading, Reading]:
        """The two numbers as they were shown."""
        if name != "loss":
            raise UnknownNameError.among("number of a watched loop", name, ["loss"])
        if not self._shown:
            start = replace(self.start, sums=self._sums_of_all()) if self.start.sums is None else self.start
            self._shown = [start.reading(), self.end.reading()]
        return self._shown[0], self._shown[1]

    def reading(self, name: str, sums: Mapping[str, Any], facts: Facts) -> Reading:
        """The number made of folded sums."""
        times = 1.0 if facts.even or not sums["batches"] else sums["factor"] / sums["batches"]
        parts = [Part("loss", sums["rows"] if facts.even else sums["shown"], times)]
        if "penalties" in facts.terms:
            parts.append(Part("penalties", sums["penalty"], times, "penalty"))
        return Reading.of_parts(name, parts, facts)

    def measure(self, facts: Facts) -> Batches | None:
        """The sums of a pass with these facts."""
        facts = _measurable(facts)
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

    def _sums_of_all(self) -> list[Tally]:
        """Every batch of the epoch in sums over rows, for the error of the number: of batches that were not kept the
        value is known, and their rows are taken to be spread about it as those of the kept ones are."""
        own = {
            step.number: one for step, one in zip(self._sample(), self._own(_measurable(self.start.facts)), strict=True)
        }
        data = self.training.values - self.training.penalties
        values, rows = data[list(own)], self.training.rows[list(own)].astype(np.float64)
        v, u, vv, vu, uu, n = (np.sum([float(one.sums[i]) for one in own.values()]) for i in range(len(Tally._fields)))
        signed = np.sum(values * rows)
        like = (
            v / signed if signed else 0.0, u / np.sum(rows), vv / (np.sum(values**2 * rows) or 1.0),
            vu / signed if signed else 0.0, uu / np.sum(rows), n / np.sum(rows),
        )  # fmt: skip
        return [
            own[i].sums if i in own else Tally(*np.multiply(like, (x * r, r, x * x * r, x * r, r, r)).tolist())
            for i, (x, r) in enumerate(zip(data, self.training.rows, strict=True))
        ]

    def _of_the_epoch(self, facts: Facts) -> bool:
        return facts.rows == self.start.facts.rows

    def _sample(self) -> list[Step]:
        return self.training.sample(latest=self._with_latest)

    @property
    def _with_latest(self) -> bool:
        return of_the_end(self.start.facts.average)

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
            if facts.objective != self.start.facts.objective:
                raise ChainError(
                    f"The {facts.objective} loss of each step was to be told.",
                    received=f"step {step.number}, of which only the {self.start.facts.objective} loss was kept",
                    because="the weights it had then are gone",
                    do="Keep that loss too as the step runs (Step.own).",
                )
            if again is None:
                again = list(self.program.run(facts.but(params=self.end.facts.params), steps, None))
            value, penalty = float(values[step.number]), float(penalties[step.number])
            found.append(_as_it_was(again[i], value - penalty, penalty))
        return found

    def _batches(self, facts: Facts, found: Sequence[Measured], detail: Mapping[str, Any]) -> Batches:
        epoch = self._of_the_epoch(facts)
        average = self.start.facts.average if epoch else self.end.facts.average
        average = BY_ROWS if facts.but(average=average).even else average
        if epoch:
            steps, rows = self._sample(), self.training.rows
            stands = self.training.stands_for(steps) if self._with_latest else np.ones(len(steps))
            part = shares(average, rows)[[step.number for step in steps]] * stands
        else:
            rows = np.array([m.rows for m in found])
            stands, part = np.ones(len(found)), shares(average, rows)
        values = np.array([m.value for m in found])
        penalties = np.array([math.fsum(m.penalties.values()) for m in found])
        sums = {
            "rows": _times(
                Tally(*(np.array([float(m.sums[i]) for m in found]) for i in range(len(Tally._fields)))), stands
            ),
            "shown": _by_batch(part, values),
            "penalty": _by_batch(part, penalties),
            "batches": np.ones(len(found)),
            "factor": np.full(len(found), factor(average, rows)),
        }
        return Batches(sums, self.training.steps if epoch else len(found), detail)


def _measurable(facts: Facts) -> Facts:
    """The facts on which a pass depends."""
    return facts.but(terms=("data",), average="", clipped=0)


def _as_it_was(again: Measured, value: float, penalty: float) -> Measured:
    """A batch as its step had it, whose rows are known only as they are now: alike, but for the mean."""
    penalties = {"penalties": penalty}
    like = again.sums
    if not again.value:
        return Measured.whole(value, again.rows, float(like.weight), penalties)
    r = value / again.value
    sums = Tally(like.sum * r, like.weight, like.sumsq * r * r, like.cross * r, like.weightsq, like.rows)
    return Measured(value, again.rows, sums, penalties)


def _times(tally: Tally, times: np.ndarray) -> Tally:
    """Sums in which a row stands for several."""
    v, u, vv, vu, uu, n = tally
    return Tally(v * times, u * times, vv * times**2, vu * times**2, uu * times**2, n)


def _by_batch(part: np.ndarray, values: np.ndarray) -> Tally:
    v = part * values
    return Tally(v, part, v * v, v * part, part * part, (part != 0).astype(np.float64))


def _fold_one(part: np.ndarray, values: np.ndarray) -> Tally:
    return Tally(*(math.fsum(field.tolist()) for field in _by_batch(part, values)))


def _by_row(part: np.ndarray, values: np.ndarray, sums: Sequence[Tally]) -> Tally | None:
    """The number by its rows: Σ part · value, of which each row has the share it has in its batch; None where the
    batches' values are not made of their rows' sums."""
    v, u, vv, vu, uu, n = (np.array([float(tally[i]) for tally in sums]) for i in range(len(Tally._fields)))
    if len(sums) != len(part) or not np.all((u > 0) & ((v != 0) | (values == 0))):
        return None
    r = np.divide(values * u, v, out=np.ones_like(v), where=v != 0)
    k = part / u
    rows = (part * values, part, vv * (r * k) ** 2, vu * r * k * k, uu * k * k, n * (part != 0))
    return Tally(*(math.fsum(field.tolist()) for field in rows))

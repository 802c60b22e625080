"""The recorder of a person's own training loop, whose loss is a pure function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from verax.errors import DataError, InputError, StateError
from verax.ledger.chain import Gap
from verax.ledger.facts import Facts, Rows
from verax.watch.averages import MEAN
from verax.watch.epoch import Epoch, Measured, Step
from verax.watch.function import FunctionProgram, LossFunction, penalties_of, steps_of
from verax.watch.probe import End, LoopProbe, chosen_average
from verax.watch.values import number_of, own_copy, rows_of

__all__ = ["ADVICE", "Loop"]

#: What is done about a cause in a loop of one's own.
ADVICE = {
    "PENALTIES": "compare the losses without them",
    "WEIGHTS_MOVED": "nothing is wrong; for the number at the end of the epoch, compute the loss of the training "
    "batches again, with training off",
    "AUGMENTATION": "nothing is wrong; to compare, compute the loss of the training batches without augmentation",
    "DROPOUT": "nothing is wrong; to compare, compute the loss of the training batches with dropout and noise off",
    "STOCHASTIC_DEPTH": "nothing is wrong; to compare, compute the loss of the training batches with every block on",
    "CUSTOM_MODE": "read the loss function: what does it do in training?",
    "BATCH_STATISTICS": "larger batches, or a normalization that does not mix rows (layer normalization)",
    "MOVING_AVERAGES": "set the moving averages to the mean over the training batches of each batch's statistics, at "
    "the present weights; or train with a smaller momentum",
    "ROW_WEIGHTS": "weight the validation rows by the same rule",
    "AVERAGE": "average both numbers over rows: add up the losses of all rows and divide once",
    "AVERAGED_WEIGHTS": "nothing is wrong; to compare, compute both numbers with the same weights",
    "SKIPPED_ROWS": "let the epoch see every training row",
}

_BOTH = ("loss", "val_loss")
#: A loss that is computed again in other precision, or by another program, differs by less.
_SAME = 0.02


class Loop:
    """Watches a training loop, and explains why its validation loss is not its training loss.

    The loss is ``loss(params, batch, ...)``, a pure function; it returns the loss of every row (rows,), or (losses,
    weights), or ``verax.watch.Losses``. Which causes can be told apart follows from the arguments it takes besides, by
    name:

    - ``key``: what its random draws come from;
    - ``dropout``, ``noise``, ``augmentation``, ``stochastic_depth``: true where the effect is on, as in training;
      ``training`` switches whatever depends on it in one piece;
    - ``statistics``: None where a normalization is to go by the batch (and Losses.statistics returns by what it went),
      else the statistics to go by.

    The loop reports every step and keeps nothing; a bounded sample of the batches is kept. Nothing of the loop is
    changed or drawn from.

    Args:
        loss: The function.
        effects: Argument -> effect, where it has another name: ``{"training": "dropout", "mixup": "augmentation"}``.
        moving: params -> the moving averages in them; needed with ``statistics``.
        momentum: The share of a moving average that is kept at an update, to tell whether it is too large.
        reduction: How a batch's losses become its number: "mean" (Σ w·l / Σ w), "mean over rows" (Σ w·l / rows) or
            "sum".
        penalty: params -> what is added to the loss that no row brings: a number, or name -> number.
        penalty_in: Which of "loss" and "val_loss" count it.
        weights_in: Which of them use the weights that the function returns.
        fresh: number -> a key; needed where the loop's keys are not given, or are of a kind that is not known.
        batches, memory: At most so many batches are kept, and so many bytes of them.

    Raises:
        InputError: An argument of the loss is not known, or one that was named is missing.

    >>> def loss(w, batch, *, dropout, key):
    ...     x, y = batch
    ...     kept = np.random.default_rng(key).random(x.shape) < 0.5 if dropout else 0.5
    ...     return (np.sum(x * kept * 2 * w, axis=-1) - y) ** 2
    >>> x = np.random.default_rng(0).normal(size=(256, 4))
    >>> batches = [(x[i : i + 16], x[i : i + 16] @ np.ones(4)) for i in range(0, 256, 16)]
    >>> loop = Loop(loss)
    >>> for i, batch in enumerate(batches):
    ...     loop.step(batch, loss(np.ones(4), batch, dropout=True, key=i).mean(), key=i)
    >>> gap = loop.explain(np.ones(4), batches)
    >>> print(gap.verdict.kind.value, max(gap.by_cause(), key=lambda cause: abs(gap.by_cause()[cause])).title)
    bookkeeping dropout and noise
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        *,
        effects: Mapping[str, str] | None = None,
        moving: Callable[[Any], Any] | None = None,
        momentum: float | None = None,
        reduction: str = "mean",
        penalty: Callable[[Any], Any] | None = None,
        penalty_in: Iterable[str] = _BOTH,
        weights_in: Iterable[str] = _BOTH,
        fresh: Callable[[int], Any] | None = None,
        batches: int = 64,
        memory: int = 256 << 20,
    ):
        self.loss = LossFunction(loss, effects, moving, reduction)
        self.momentum, self.penalty, self.fresh = momentum, penalty, fresh
        self.penalty_in = _ends("penalty_in", penalty_in) if penalty is not None else ()
        self.weights_in = _ends("weights_in", weights_in)
        self.epochs = 0
        self._bounds = batches, memory
        self._before = 0
        self._new()

    def _new(self) -> None:
        batches, memory = self._bounds
        self._record = Epoch(batches, memory, read=lambda numbers: [number_of(n, "A step's loss") for n in numbers])
        self._key: Any = None
        self._unkeyed = False

    def epoch(self) -> None:
        """Begin a new epoch; the one before is forgotten, and the last one is explained."""
        if self._record.steps:
            self._before += self._record.steps
            self.epochs += 1
            self._new()

    def step(
        self,
        batch: Any,
        value: Any,
        *,
        key: Any = None,
        params: Any = None,
        penalty: Any = None,
        rows: int | None = None,
    ) -> None:
        """Report a step: once for each batch, whether before or after the update.

        Args:
            batch: What the loss function took.
            value: The loss as the loop has it, at the weights before the update; read later, many at a time.
            key: The key that it drew from.
            params: The weights before the update. Not kept; they tell the penalty, and in the first step of an epoch
                whether the function computes what the loop did.
            penalty: The penalty in the value, where params are not given.
            rows: How many rows the batch has, where its first array does not tell.

        Raises:
            InputError: The value is no number, the rows cannot be counted, or the penalty in it is not known.
            DataError: The loss function gives another value for this batch.
        """
        shape = tuple(getattr(value, "shape", ()))
        if math.prod(shape) != 1:
            raise InputError(
                "A step's loss was to be told.", received=f"shape {shape}", do="Give the one number that the loop has."
            )
        count = rows if rows is not None else rows_of(batch)
        if count is None:
            raise InputError(
                "The rows of a batch were to be counted.",
                received=type(batch).__name__,
                because="no dict, list or tuple of arrays is in it",
                do="Give step(..., rows=how many).",
            )
        within = self._penalty(params, penalty) if "loss" in self.penalty_in else 0.0
        if self._record.steps == 0 and params is not None and (key is not None or not self.loss.keyed):
            self._check(params, batch, value, key, within, count)
        place = self._record.place()
        kept, size = own_copy(batch)
        self._unkeyed |= self.loss.keyed and key is None
        self._key = key if key is not None else self._key
        step = Step(self._record.steps, kept, key, size=size, rows=count)
        self._record.add(step, value, count, within, place=place)

    def _penalty(self, params: Any, penalty: Any) -> Any:
        if penalty is not None:
            return sum(penalty.values()) if isinstance(penalty, Mapping) else penalty
        if params is None:
            raise InputError(
                "The penalty in a step's loss was to be told.",
                received="neither params= nor penalty=",
                do="Give one of them to step, or say penalty_in=('val_loss',) if the training loss has none.",
            )
        return math.fsum(penalties_of(self.penalty, params).values())

    def _check(self, params: Any, batch: Any, value: Any, key: Any, penalty: Any, rows: int) -> None:
        """Whether the function computes what the loop did."""
        found = self.loss.measured(
            self.loss(params, batch, self.loss.modes(), key, None), rows, "loss" in self.weights_in
        )
        told, again = number_of(value, "A step's loss"), found.value + number_of(penalty, "A step's penalty")
        if math.isfinite(told) and abs(again - told) > _SAME * max(abs(again), abs(told)):
            raise DataError(
                "A step's loss was to be computed again by the loss function.",
                received=f"{told:.6g} from the loop; {again:.6g} from the function, of the same params, batch and key",
                because="they compute different things, and a gap explained by this function would not be the loop's",
                do="Give the function that the loop trains; mind reduction=, weights_in=, penalty_in=, and that "
                "params are those from before the update.",
            )

    def explain(
        self,
        params: Any,
        validation: Iterable[Any],
        *,
        loss: float | str | None = None,
        val_loss: float | str | None = None,
        every: Iterable[Any] | None = None,
        averaged: Any = None,
        on: Iterable[str] = (),
    ) -> Gap:
        """The gap between the last epoch's training loss and the validation loss, cause by cause.

        Args:
            params: The weights at the end of the epoch.
            validation: The validation batches. Read once; a list can be read again, which row weights need that are in
                one number only.
            loss, val_loss: The numbers as they were printed (0.153, or "0.150" where zeros count), from which it is
                seen how they were averaged; or the average's name ("last batch", "smoothed by 0.98"). The mean of the
                batches when None.
            every: All training batches, where the epoch saw only some of them.
            averaged: The weights that validation used, where they are averaged over steps.
            on: Arguments of the loss that were on in validation too.

        Raises:
            StateError: No step was reported.
            InputError: No validation batch, no key to draw anew from, or an average that does not exist.
            DataError: The loss is no pure function: it changes between two calls.
        """
        probe, notes = self._probe(params, validation, loss, val_loss, every, averaged, on)
        gap = probe.gap(notes)
        if self._unkeyed and probe.start.facts.draws == "fresh":
            why = "the steps' keys were not given, so fitted draws are in the amount of the weights that moved"
            gap = replace(gap, grade=f"not separated: {why}" if gap.grade == "full" else f"{gap.grade}; {why}")
        return gap

    def probe(self, params: Any, validation: Iterable[Any], **arguments: Any) -> LoopProbe:
        """What ``explain`` asks: the ledger's probe, to measure single facts or for ``verax.testing.check_probe``.

        Args:
            params, validation, **arguments: As for ``explain``.
        """
        given = {"loss": None, "val_loss": None, "every": None, "averaged": None, "on": ()} | arguments
        return self._probe(params, validation, **given)[0]

    def _probe(
        self,
        params: Any,
        validation: Iterable[Any],
        loss: float | str | None,
        val_loss: float | str | None,
        every: Iterable[Any] | None,
        averaged: Any,
        on: Iterable[str],
    ) -> tuple[LoopProbe, list[str]]:
        if not self._record.steps:
            raise StateError(
                "An epoch was to be explained.",
                because="no step was reported since it began",
                do="Call step in the loop.",
            )
        program = self._program(params, averaged, validation, every)
        start, said = self._start(loss, program)
        end, known, told = self._end(val_loss, program, tuple(on))
        self._is_pure(program, start.facts.but(params=end.facts.params))
        probe = LoopProbe(program, self._record, start, end, ADVICE, {end.facts: known})
        return probe, [note for note in (said, told) if note]

    def _program(self, params: Any, averaged: Any, validation: Iterable[Any], every: Any) -> FunctionProgram:
        if self.loss.keyed and self._key is None and self.fresh is None:
            raise InputError(
                "Fresh draws were to be made.",
                received="neither the steps' keys nor fresh=",
                because="the loss function takes a key",
                do="Give step(..., key=...) in the loop, or Loop(fresh=...) from a number to a key.",
            )
        return FunctionProgram(
            self.loss, params, averaged, self.penalty, validation=validation, every=every,
            key=self._key, fresh=self.fresh, momentum=self.momentum, updates=self._before + self._record.steps,
        )  # fmt: skip

    def _is_pure(self, program: FunctionProgram, facts: Facts) -> None:
        """Whether a batch comes to the same twice, and has the rows that were counted."""
        step = self._record.kept[0]
        first, again = (next(program.run(facts, [step], None)) for _ in range(2))
        asked = "A batch was to be measured again by the loss function."
        if math.isfinite(first.value) and abs(first.value - again.value) > _SAME * abs(first.value):
            raise DataError(
                asked,
                received=f"{first.value:.6g} and then {again.value:.6g}, of the same params, batch and key",
                because="it draws from elsewhere than its key, or keeps something between calls",
                do="Make it a pure function of its arguments.",
            )
        if first.rows != step.rows:
            raise DataError(
                asked,
                received=f"{first.rows} losses of a batch that was counted as {step.rows} rows",
                do="Return a loss for every row; give step(..., rows=) where a batch's first array does not begin with "
                "the rows.",
            )

    def _start(self, said: float | str | None, program: FunctionProgram) -> tuple[End, str]:
        record = self._record
        average, note = chosen_average(said, record.values, record.rows, "loss")
        seen = int(record.rows.sum())
        of = seen if program.every is None else max(seen, sum(rows_of(batch) or 0 for batch in program.every))
        modes = self.loss.modes()
        drawn = self.loss.draws(modes)
        facts = Facts(
            terms=("data", "penalties") if "loss" in self.penalty_in else ("data",),
            params="each step's own",
            draws=("fresh" if self._unkeyed else "as drawn") if drawn else "none",
            modes=modes,
            weights=program.weighted if "loss" in self.weights_in else "none",
            average=average,
            rows=Rows("training rows", seen, of),
        )
        return End("loss", facts, record.values, record.rows, record.penalties), note

    def _end(
        self, said: float | str | None, program: FunctionProgram, on: tuple[str, ...]
    ) -> tuple[End, list[Measured], str]:
        modes = self.loss.modes(on)
        facts = Facts(
            terms=("data", "penalties") if "val_loss" in self.penalty_in else ("data",),
            params=f"the end of epoch {self.epochs + 1}",
            draws="fresh" if self.loss.draws(modes) else "none",
            modes=modes,
            weights=program.weighted if "val_loss" in self.weights_in else "none",
            average=MEAN,
            averaged="raw" if program.averaged is None else "an average over steps",
            rows=Rows("validation rows"),
        )
        return self._made(said, facts, list(program.run(facts, steps_of(program.validation), None)))

    def _made(self, said: float | str | None, facts: Facts, found: list[Measured]) -> tuple[End, list[Measured], str]:
        if not found:
            raise InputError("Validation batches were to be measured.", received="none", do="Give at least one batch.")
        rows = np.array([one.rows for one in found])
        penalties = np.array([math.fsum(one.penalties.values()) for one in found]) * ("penalties" in facts.terms)
        values = np.array([one.value for one in found]) + penalties
        average, note = chosen_average(said, values, rows, "val_loss")
        n = int(rows.sum())
        facts = facts.but(average=average, rows=Rows("validation rows", n, n))
        return End("val_loss", facts, values, rows, penalties, [one.sums for one in found]), found, note


def _ends(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    """Which of the two numbers are meant."""
    given = (names,) if isinstance(names, str) else tuple(names)
    for name in given:
        if name not in _BOTH:
            raise InputError(
                f"{argument} tells which numbers are meant.",
                received=repr(name),
                do="Give some of ('loss', 'val_loss').",
            )
    return given

"""The ledger's questions to a watched loop: samples, averages of the end, errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from verax.errors import ChainError, UnknownNameError
from verax.ledger import Cause, Facts, Rows, Tally
from verax.watch import End, Epoch, LoopProbe, Measured, Step
from verax.watch.probe import OWN

ROWS = 8


@dataclass
class Known:
    """A program whose rows' losses are known: at the weights of now they are those of the step less ``moved``."""

    losses: np.ndarray
    other: np.ndarray
    moved: float = 0.5
    penalty: float = 0.0

    def run(self, facts: Facts, steps: Iterable[Step], averages: Any) -> Iterator[Measured]:
        for step in steps:
            training = facts.rows.label == "training rows"
            rows = self.losses[step.number] - self.moved if training else self.other[step.number]
            sums = Tally(*(float(one) for one in Tally.of(rows)))
            yield Measured(sums.mean, len(rows), sums, {"l2": self.penalty})

    def population(self, facts: Facts, steps: Iterable[Step]) -> Any:
        raise AssertionError

    def batches(self, facts: Facts) -> Iterable[Step] | None:
        return [Step(i, None) for i in range(len(self.other))]


def watched(
    program: Known, average: str = "mean of batches", kept: int = 64, penalties: bool = False, **end: Any
) -> LoopProbe:
    epoch = Epoch(kept)
    for i, rows in enumerate(program.losses):
        extra = 0.1 * i if penalties else 0.0
        epoch.add(Step(i, None), float(rows.mean()) + extra, len(rows), extra, place=epoch.place())
    n, m = program.losses.size, program.other.size
    terms = ("data", "penalties") if penalties else ("data",)
    start = Facts(terms=terms, params=OWN, average=average, rows=Rows("training rows", n, n))
    last = Facts(terms=terms, params="now", average=average, rows=Rows("validation rows", m, m))
    values = program.other.mean(axis=1) + program.penalty * penalties
    counts = np.full(len(values), ROWS)
    extra = np.full(len(values), program.penalty)
    return LoopProbe(
        program, epoch, End("loss", start, epoch.values, epoch.rows, epoch.penalties),
        End("val_loss", last, values, counts, extra, **end),
    )  # fmt: skip


def known(seed: int, steps: int = 200, **made: Any) -> Known:
    rng = np.random.default_rng(seed)
    trend = np.linspace(3.0, 1.0, steps)[:, None]
    return Known(trend + 0.3 * rng.normal(size=(steps, ROWS)), 2.0 + 0.3 * rng.normal(size=(20, ROWS)), **made)


AVERAGES = ["mean of batches", "last batch", "last 20 batches", "smoothed by 0.98", "sum of batches"]


@pytest.mark.parametrize("average", AVERAGES)
def test_all_batches_give_the_exact_amounts(average: str):
    program = known(0)
    probe = watched(program, average, kept=200)
    gap = probe.gap()
    amounts = gap.by_cause()
    times = 200 if average == "sum of batches" else 1
    assert amounts[Cause.WEIGHTS_MOVED] == pytest.approx(-0.5 * times)
    assert amounts[Cause.ROWS] == pytest.approx(program.other.mean() - (program.losses.mean() - 0.5))
    assert abs(gap.residual) < 1e-9 * times
    assert not gap.sample


@pytest.mark.parametrize("average", AVERAGES)
def test_a_samples_amounts_are_not_biased_towards_the_latest_batch(average: str):
    """The latest batch is kept on purpose, and stands for itself alone: it must not pull the mean over rows."""
    program = known(0)
    exact = watched(program, average, kept=200).gap().by_cause()
    found, errors = [], []
    for seed in range(150):
        probe = watched(known(0), average, kept=1)  # only to have the ends
        probe.training = Epoch(12)
        probe.training._random = np.random.default_rng(seed)
        for i, rows in enumerate(program.losses):
            probe.training.add(Step(i, None), float(rows.mean()), ROWS, place=probe.training.place())
        gap = probe.gap()
        found.append(gap.by_cause()[Cause.ROWS])
        errors.append(next(link.stderr for link in gap.links if link.cause is Cause.ROWS))
    spread = float(np.std(found, ddof=1))
    assert abs(np.mean(found) - exact[Cause.ROWS]) < 4 * spread / np.sqrt(150) + 1e-9
    assert np.mean(errors) >= 0.85 * spread  # the error of the row link knows that batches were sampled


def test_the_error_of_a_number_is_that_of_its_rows():
    program = known(1, moved=0.0)
    probe = watched(program, kept=200, sums=[Tally.of(rows) for rows in program.other])
    start, end = probe.shown("loss")
    for reading, rows in ((start, program.losses), (end, program.other)):
        assert reading.value == pytest.approx(rows.mean())
        assert reading.stderr == pytest.approx(rows.std(ddof=1) / np.sqrt(rows.size), rel=1e-6)
    sampled = watched(program, kept=20).shown("loss")[0]
    assert sampled.value == start.value
    assert sampled.stderr == pytest.approx(start.stderr, rel=0.1)


def test_the_last_batchs_error_is_that_of_its_rows():
    program = known(2, moved=0.0)
    probe = watched(program, "last batch", kept=200)
    last = program.losses[-1]
    assert probe.shown("loss")[0].stderr == pytest.approx(last.std(ddof=1) / np.sqrt(ROWS))


@pytest.mark.parametrize(
    "average", ["mean of batches", "sum of batches", "last batch", "sum of batches over their rows"]
)
def test_penalties_are_taken_off_as_they_were_counted(average: str):
    program = known(3, steps=10, penalty=0.7)
    probe = watched(program, average, penalties=True)
    start, end = probe.shown("loss")
    counted = 0.1 * np.arange(10)
    expected = {
        "mean of batches": (counted.mean(), 0.7), "sum of batches": (counted.sum(), 0.7 * 20),
        "last batch": (0.9, 0.7), "sum of batches over their rows": (counted.sum() / 80, 0.7 * 20 / 160),
    }[average]  # fmt: skip
    assert (start.penalties, end.penalties) == pytest.approx(expected)
    gap = probe.gap()
    assert gap.by_cause()[Cause.PENALTIES] == pytest.approx(expected[1] - expected[0])
    assert abs(gap.residual) < 1e-9


def test_losses_of_zero_at_the_end_keep_what_the_steps_had():
    """Weights that fit exactly: the rows of a step cannot be scaled from zero."""
    program = known(4, steps=6)
    program.losses = np.repeat(np.arange(1.0, 7.0)[:, None], ROWS, axis=1)
    program.run = lambda facts, steps, averages: (  # type: ignore[method-assign]
        Measured.whole(0.0, ROWS) if facts.rows.label == "training rows" else Measured.whole(2.0, ROWS) for _ in steps
    )
    gap = watched(program).gap()
    assert gap.by_cause()[Cause.WEIGHTS_MOVED] == pytest.approx(-3.5)


def test_an_objective_that_was_not_kept_is_not_made_up():
    probe = watched(known(5, steps=6))
    other = probe.start.facts.but(objective="label smoothing 0.1")
    probe.start = End("loss", other, probe.start.values, probe.start.rows, probe.start.penalties)
    with pytest.raises(ChainError, match="The plain loss of each step was to be told"):
        probe.gap()
    for step in probe.training.kept:
        rows = probe.program.losses[step.number]  # type: ignore[attr-defined]
        step.own["plain"] = Measured.whole(float(rows.mean()) - 0.25, ROWS)
    assert watched(known(5, steps=6)).gap().by_cause()[Cause.WEIGHTS_MOVED] == pytest.approx(-0.5)
    amounts = probe.gap().by_cause()
    assert amounts[Cause.OBJECTIVE] == pytest.approx(-0.25)
    assert amounts[Cause.WEIGHTS_MOVED] == pytest.approx(-0.25)


def test_a_number_that_it_has_not():
    with pytest.raises(UnknownNameError, match="accuracy"):
        watched(known(6, steps=4)).shown("accuracy")

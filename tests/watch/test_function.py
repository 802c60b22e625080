"""A planted cause carries the largest amount, with its sign, in loops of plain JAX and of numpy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tests.watch.scenarios import CONTROLS, SCENARIOS, SQUARES, TRUTH, Scenario, batches, dropped, epoch, rows
from verax.ledger import Cause
from verax.ledger.verdict import Kind

SEEDS = range(3)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_the_planted_cause_carries_the_largest_amount(scenario: Scenario):
    found = []
    for seed in SEEDS:
        gap = scenario.ask(np.random.default_rng(seed))
        amounts = gap.by_cause()
        largest = max(amounts, key=lambda cause: abs(amounts[cause]))
        assert largest is scenario.cause, amounts
        assert amounts[largest] * scenario.sign > 0
        assert abs(gap.residual) <= 1e-6 * max(abs(link.after.value) for link in gap.links)
        assert gap.grade == "full"
        assert not gap.notes
        assert "model.evaluate" not in str(gap)
        found.append(amounts[largest])
    if scenario.amount is not None:
        error = abs(scenario.amount) * scenario.spread / np.sqrt(256 * len(found))
        assert np.mean(found) == pytest.approx(scenario.amount, abs=4 * error, rel=1e-5)


def test_a_sample_of_the_batches_tells_the_same():
    held = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        loop, w = epoch(dropped, jnp.asarray(TRUTH), batches(rows(rng, 640)), rng, on={"dropout": True}, batches=12)
        gap = loop.explain(w, batches(rows(rng, 640)))
        assert gap.sample == "12 of 40 batches"
        assert abs(gap.residual) < 1e-6
        link = next(one for one in gap.links if one.cause is Cause.DROPOUT)
        assert abs(link.change) == max(abs(amount) for amount in gap.by_cause().values())
        held += link.interval[0] <= -SQUARES <= link.interval[1]
    assert held >= 4


def test_there_are_fifteen_causes_and_more():
    assert len(SCENARIOS) > 15
    never = {Cause.OBJECTIVE, Cause.PRECISION, Cause.NOT_SEPARATED}
    assert {s.cause for s in SCENARIOS} == set(Cause) - never


def test_overfitting_is_called_by_its_name():
    named = next(s for s in SCENARIOS if s.name == "overfitting")
    for seed in SEEDS:
        assert named.ask(np.random.default_rng(seed)).verdict.kind is Kind.OVERFITTING


@pytest.mark.parametrize("scenario", CONTROLS, ids=lambda s: s.name)
def test_no_gap_is_called_none(scenario: Scenario):
    verdicts = [scenario.ask(np.random.default_rng(seed)).verdict.kind for seed in range(5)]
    # One seed in twenty is outside of a 95 % interval, and one of five may be.
    assert sum(kind is Kind.NONE for kind in verdicts) >= 4, verdicts

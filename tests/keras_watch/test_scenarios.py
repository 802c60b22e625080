"""A planted cause in a Keras model carries the largest amount, with its sign; and what is no cause is not made one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.keras_watch.scenarios import SCENARIOS, TRUTH, Scenario
from tests.oracle import oracle
from verax.ledger import Cause, Gap
from verax.ledger.verdict import Kind

SEEDS = range(3)


def gaps(scenario: Scenario) -> list[Gap]:
    found = []
    with oracle() as keras:
        for seed in SEEDS:
            keras.utils.set_random_seed(seed)
            found.append(scenario.ask(keras, np.random.default_rng(seed)))
    return found


#: The expected loss a mode adds to a model that knows the truth: E(y - prediction)² in training less in inference.
SQUARES = float(np.sum(TRUTH.astype("float64") ** 2))
CLOSED = {
    "dropout": SQUARES,  # Σ w² p / (1 - p), p = 1/2
    "gaussian noise": SQUARES,  # Σ w² σ², σ = 1
    "gaussian dropout": SQUARES,  # Σ w² p / (1 - p)
    "stochastic depth": SQUARES / 2,  # half of the rows are predicted as 0
    "augmentation of one's own": SQUARES,  # half of the rows with half of the columns wrong by twice their value
    "block with layers inside": SQUARES,
    "dropout in a recurrent cell": 6 * SQUARES,  # the sum of six steps (one mask for all of them, at independent x)
}


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.cause is not None], ids=lambda s: s.name)
def test_the_planted_cause_carries_the_largest_amount(scenario: Scenario):
    for gap in gaps(scenario):
        amounts = gap.by_cause()
        largest = max(amounts, key=lambda cause: abs(amounts[cause]))
        assert largest is scenario.cause, amounts
        assert amounts[largest] * scenario.sign > 0
        assert abs(gap.residual) <= 1e-6 * max(abs(link.after.value) for link in gap.links)
        assert gap.grade == "full"
        assert str(gap)
        if scenario.name in CLOSED:
            link = next(one for one in gap.links if one.cause is scenario.cause)
            assert abs(-link.change - CLOSED[scenario.name]) <= 4 * link.stderr


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.cause is None], ids=lambda s: s.name)
def test_no_gap_is_called_none(scenario: Scenario):
    assert [gap.verdict.kind for gap in gaps(scenario)] == [Kind.NONE] * len(SEEDS)


def test_overfitting_is_called_by_its_name():
    for gap in gaps(next(s for s in SCENARIOS if s.name == "overfitting")):
        assert gap.verdict.kind is Kind.OVERFITTING
        assert gap.links[-1].interval[0] > 0


def test_the_table_has_the_causes_there_are():
    never = {Cause.OBJECTIVE, Cause.AVERAGE, Cause.PRECISION, Cause.FITTED_DRAWS, Cause.NOT_SEPARATED}
    assert set(Cause) - never <= {s.cause for s in SCENARIOS}

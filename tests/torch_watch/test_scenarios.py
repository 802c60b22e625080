"""A planted cause in a PyTorch loop carries the largest amount, with its sign; and what is no cause is not made one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.torch_watch.scenarios import SCENARIOS, TRUTH, Asked, Scenario, batches, fitted, linear, rows
from verax.ledger import Cause
from verax.ledger.verdict import Kind

SEEDS = range(3)


def asked(scenario: Scenario) -> list[Asked]:
    """What the scenario printed, and its gap, for each seed."""
    found: list[Asked] = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        found.append(scenario.ask())
    return found


def named(name: str) -> Scenario:
    return next(s for s in SCENARIOS if s.name == name)


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.cause is not None], ids=lambda s: s.name)
def test_the_planted_cause_carries_the_largest_amount(scenario: Scenario):
    for one in asked(scenario):
        gap = one.gap
        amounts = gap.by_cause()
        largest = max(amounts, key=lambda cause: abs(amounts[cause]))
        assert largest is scenario.cause, amounts
        assert amounts[largest] * scenario.sign > 0
        assert abs(gap.residual) <= 1e-6 * max(abs(link.after.value) for link in gap.links)
        assert gap.grade == "full"
        # Both numbers are those that the loop printed (some of them with four decimals).
        for reading, printed in ((gap.train, one.train), (gap.validation, one.validation)):
            assert printed is None or reading.value == pytest.approx(printed, rel=1e-5, abs=5.1e-5)
        assert "residual" in str(gap)
        assert largest.title in gap.to_html()


def test_the_table_has_every_cause_that_a_pytorch_loop_has():
    assert len(SCENARIOS) > 30
    never = {Cause.FITTED_DRAWS, Cause.AVERAGED_WEIGHTS, Cause.NOT_SEPARATED}
    assert set(Cause) - never <= {s.cause for s in SCENARIOS}


def test_no_gap_is_called_none():
    verdicts = [one.gap.verdict.kind for one in asked(named("no gap"))]
    assert sum(kind is Kind.NONE for kind in verdicts) >= 2, verdicts


def test_overfitting_is_called_by_its_name():
    for one in asked(named("overfitting")):
        assert one.gap.verdict.kind is Kind.OVERFITTING
        assert one.gap.links[-1].interval[0] > 0


#: The expected loss that a mode adds to a model that knows the truth: E(y - prediction)², training less evaluation.
SQUARES = float(TRUTH.square().sum())
CLOSED = {
    "dropout": SQUARES,  # Σ w² p / (1 - p), p = 1/2
    "functional dropout": SQUARES,
    "dropout under a loss of one's own": SQUARES,
    "gaussian noise": SQUARES,  # Σ w² σ², σ = 1
    "drop path": SQUARES / 2,  # half of the rows are predicted as 0
    "augmentation module": SQUARES,  # half of the rows with half of the columns wrong by twice their value
    "module that reads training": SQUARES,  # every prediction is off by itself
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_modes_amount_is_its_closed_form(name: str):
    scenario = named(name)
    for one in asked(scenario):
        link = next(link for link in one.gap.links if link.cause is scenario.cause)
        error = link.stderr or 2 * SQUARES / 16  # nothing is drawn: what is left is that of 256 rows, √(2/256)
        assert abs(-link.change - CLOSED[name]) <= 4 * error


def test_accumulated_gradients_hide_three_quarters():
    for one in asked(named("accumulated gradients")):
        assert one.gap.by_cause()[Cause.OBJECTIVE] == pytest.approx(3 * one.train, rel=1e-4)


def test_a_penalty_is_its_mean_over_the_steps():
    for one in asked(named("L2 added in training")):
        assert one.gap.by_cause()[Cause.PENALTIES] == pytest.approx(-0.1 * SQUARES, rel=1e-3)


def test_sums_of_batches_are_their_rows_times_too_large():
    for one in asked(named("sums of batches")):
        assert one.gap.by_cause()[Cause.AVERAGE] == pytest.approx(-one.train * 15 / 16, rel=1e-4)


# ---- what is in both numbers -----------------------------------------------------------------------------------------


def _classes() -> torch.utils.data.TensorDataset:
    return torch.utils.data.TensorDataset(torch.randn(80, 8), torch.randint(0, 3, (80,)))


def _outlier() -> torch.utils.data.TensorDataset:
    x, y = rows(33).tensors
    y[32] = 1000.0
    return torch.utils.data.TensorDataset(x, y)


@pytest.mark.parametrize(
    ("data", "loss"),
    [
        (_classes, nn.CrossEntropyLoss(label_smoothing=0.2)),
        (_classes, nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 25.0]))),
        (_classes, nn.CrossEntropyLoss(ignore_index=0)),
        (_outlier, nn.MSELoss()),
        (_outlier, nn.MSELoss(reduction="sum")),
        (_outlier, lambda output, y: (output - y).square().sum() / len(y)),
        (_outlier, lambda output, y: ((output - y) ** 2).mean() / 3),
    ],
    ids=[
        "label smoothing",
        "class weights",
        "ignored targets",
        "a short batch",
        "sums",
        "a sum by its rows",
        "a third",
    ],
)
def test_what_is_in_both_numbers_is_no_cause(data, loss):
    """The same rows in the same batches at weights that stand still: no gap at all."""
    torch.manual_seed(1)
    found = data()
    model = nn.Linear(8, found.tensors[1].shape[1] if found.tensors[1].ndim > 1 else 3)
    one = fitted(model, batches(found, shuffle=False), batches(found, shuffle=False), loss_fn=loss, rate=0.0)
    gap = one.gap
    assert abs(gap.total) <= 1e-6 * abs(gap.train.value)
    assert set(gap.by_cause()) <= {Cause.WEIGHTS_MOVED, Cause.AVERAGE, Cause.ROWS}
    assert all(abs(change) <= 1e-5 * abs(gap.train.value) for change in gap.by_cause().values()), gap.by_cause()
    assert gap.train.facts.objective == gap.validation.facts.objective
    assert gap.train.facts.weights == gap.validation.facts.weights


def test_frozen_dropout_has_no_gap():
    torch.manual_seed(0)
    data = rows()

    class Still(nn.Dropout):
        def train(self, mode: bool = True):
            return super().train(False)

    gap = fitted(linear(Still()), data, data, rate=0.0).gap
    assert abs(gap.total) <= 1e-6 * gap.train.value
    assert Cause.DROPOUT not in gap.by_cause()

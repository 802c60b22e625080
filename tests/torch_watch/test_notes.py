"""What is unusual in a PyTorch loop and no cause by itself is said in a sentence, with its amount."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.torch_watch.scenarios import TRUTH, batches, fitted, linear, rows, validated
from verax.ledger import Cause, Gap
from verax.torch import watch

SQUARES = float(TRUTH.square().sum())


def said(gap: Gap, words: str) -> str:
    """The one note that has these words."""
    found = [note for note in gap.notes if words in note]
    assert len(found) == 1, gap.notes
    assert words in " ".join(str(gap).split())
    return found[0]


def one_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, train, validation, before=lambda: None) -> Gap:
    mse = nn.MSELoss()
    with watch(model, mse, optimizer) as ledger:
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = mse(model(x), y)
            loss.backward()
            optimizer.step()
        before()
        with torch.no_grad():
            for x, y in validation:
                mse(model(x), y).item()
    return ledger.explain()


def sgd(model: nn.Module, **more) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-4, **more)


def test_validation_without_eval_and_what_it_would_be():
    model, validation = linear(nn.Dropout(0.5)), batches(rows(), shuffle=False)
    gap = one_epoch(model, sgd(model), batches(rows()), validation)
    note = said(gap, "model.eval() was not called")
    assert Cause.DROPOUT not in gap.by_cause()
    then = float(re.search(r"In evaluation mode it is ([\d.]+)", note)[1])
    assert then == pytest.approx(validated(model, F.mse_loss, validation), abs=1e-4)
    assert f"not {gap.validation.value:.4f}" in note


@pytest.mark.parametrize("grad", [False, True])
def test_validation_without_eval_and_without_no_grad_is_validation_all_the_same(grad: bool):
    model, mse = linear(nn.Dropout(0.5)), nn.MSELoss()
    optimizer, train, validation = sgd(model), batches(rows(2000)), batches(rows(2000))
    printed = []
    with watch(model, mse, optimizer) as ledger:
        for _ in range(2):
            for x, y in train:
                optimizer.zero_grad()
                loss = mse(model(x), y)
                loss.backward()
                optimizer.step()
            with torch.set_grad_enabled(grad):
                printed = [mse(model(x), y).item() for x, y in validation]
    gap = ledger.explain()
    assert gap.validation.value == pytest.approx(sum(printed) / len(printed), rel=1e-6)
    assert gap.validation.facts.rows.count == 2000
    said(gap, "model.eval() was not called")


class Always(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


def test_functional_dropout_that_is_left_on():
    gap = fitted(linear(Always()), rows(), rows()).gap
    assert "0 (Always)" in said(gap, "calls dropout without training=self.training")
    assert Cause.DROPOUT not in gap.by_cause()


class Stuck(nn.Dropout):
    def train(self, mode: bool = True):
        return super().train(True)


def test_a_module_that_stays_in_training_mode():
    gap = fitted(linear(Stuck(0.5)), rows(), rows()).gap
    note = said(gap, "although model.eval() was called")
    assert "0 (Stuck)" in note
    assert float(re.search(r"In evaluation mode it is ([\d.]+)", note)[1]) == pytest.approx(0.09, rel=0.3)


def test_frozen_batch_normalization_whose_averages_move():
    norm = nn.BatchNorm1d(8)
    norm.requires_grad_(False)
    assert "0 (BatchNorm1d)" in said(fitted(linear(norm), rows(), rows()).gap, "its running mean and variance moved")
    quiet = fitted(linear(nn.BatchNorm1d(8)), rows(), rows()).gap
    assert not [note for note in quiet.notes if "running mean" in note]

    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True):
            return super().train(False)

    still = Frozen(8)
    still.requires_grad_(False)
    gap = fitted(linear(still), rows(), rows()).gap
    assert not gap.notes
    assert Cause.BATCH_STATISTICS not in gap.by_cause()


def test_batch_normalization_counts_the_updates_of_the_loop_alone():
    gap = fitted(linear(nn.BatchNorm1d(8, momentum=0.01)), rows(shift=5.0), rows(shift=5.0)).gap
    assert "16 updates seen" in str(gap)


def test_the_loss_of_the_last_batch_alone():
    model = linear()
    mse, optimizer = nn.MSELoss(), sgd(model)
    with watch(model, mse, optimizer) as ledger:
        for x, y in batches(rows(250)):
            optimizer.zero_grad()
            loss = mse(model(x), y)
            loss.backward()
            optimizer.step()
    gap = ledger.explain(batches(rows()), train=loss.item())
    assert "10 of 250 rows" in said(gap, "last batch alone")
    assert gap.train.value == pytest.approx(loss.item())


def test_a_number_that_no_average_makes_is_said():
    model = linear()
    gap = one_epoch(model, sgd(model), batches(rows()), batches(rows()))
    ledger = watch(model, nn.MSELoss())
    ledger.close()
    assert not gap.notes
    gap = fitted(linear(), rows(), rows(), said=(123.4, None)).gap
    said(gap, "123.4 that was given is no usual average")


def test_a_mean_of_batch_means():
    gap = fitted(linear(), batches(rows(65)), rows(64)).gap
    assert "the batch of 1 counts 16 times" in said(gap, "mean of batch means")


def test_a_sum_over_the_rows_of_a_batch():
    loss = nn.MSELoss(reduction="sum")
    gap = fitted(linear(), rows(), rows(), loss_fn=loss, rate=0.0, said=("mean of batches", "mean of batches")).gap
    assert len([note for note in gap.notes if "grows with the batch size" in note]) == 2


def test_weight_decay_that_is_coupled_is_told_as_the_penalty_it_would_be():
    model = linear()
    gap = one_epoch(model, sgd(model, weight_decay=0.01), batches(rows()), batches(rows()))
    amount = 0.5 * 0.01 * sum(float(p.detach().square().sum()) for p in model.parameters())
    assert f"{amount:.4f}" in said(gap, "Weight decay (0.01)")
    assert amount == pytest.approx(0.005 * SQUARES, rel=1e-2)
    assert Cause.PENALTIES not in gap.by_cause()


@pytest.mark.parametrize("made", [torch.optim.AdamW, torch.optim.NAdam, torch.optim.Adam])
def test_weight_decay_in_its_own_words(made: type):
    model = linear()
    more = {"decoupled_weight_decay": True} if made is torch.optim.NAdam else {}
    optimizer = made(model.parameters(), lr=1e-5, weight_decay=0.05, **more)
    note = said(one_epoch(model, optimizer, batches(rows()), batches(rows())), "Weight decay (0.05)")
    assert ("shrinks the weights at each step" in note) == (made is not torch.optim.Adam)


def test_only_groups_that_decay_are_counted():
    head, body = nn.Linear(8, 1), linear()
    model = nn.Sequential(*body)
    optimizer = torch.optim.SGD(
        [{"params": [model[0].weight], "weight_decay": 0.1}, {"params": [model[0].bias]}], lr=1e-4
    )
    del head
    gap = one_epoch(model, optimizer, batches(rows()), batches(rows()))
    assert f"{0.05 * float(model[0].weight.detach().square().sum()):.4f}" in said(gap, "Weight decay (0.1)")


def test_an_ordinary_loop_has_no_notes():
    assert fitted(linear(nn.Dropout(0.5)), rows(), rows()).gap.notes == ()

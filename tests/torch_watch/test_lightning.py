"""Lightning's loops: planted causes, what Lightning logs, and that nothing of a training changes."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from verax.errors import InputError
from verax.ledger import Cause, Gap
from verax.ledger.verdict import Kind
from verax.torch import LightningExplain

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)

TRUTH = torch.linspace(-1.5, 1.5, 8)[:, None]


class Regression(pl.LightningModule):
    """A linear model that knows the truth, with what is planted before it."""

    def __init__(self, *before: nn.Module, rate: float = 1e-4, parts: bool = False, penalty: float = 0.0):
        super().__init__()
        self.net = nn.Sequential(*before, nn.Linear(8, 1))
        self.criterion = nn.MSELoss()
        self.rate, self.parts, self.penalty = rate, parts, penalty
        with torch.no_grad():
            self.net[-1].weight.copy_(TRUTH.T)
            self.net[-1].bias.zero_()

    def forward(self, x: Any) -> Any:
        return self.net(x)

    def _loss(self, batch: Any) -> Any:
        x, y = batch
        return self.criterion(self.net(x) if self.parts else self(x), y)

    def training_step(self, batch: Any, index: int) -> Any:
        loss = self._loss(batch)
        if self.penalty:
            loss = loss + self.penalty * sum(p.square().sum() for p in self.net[-1].parameters())
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.rate)


def rows(n: int = 256, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=generator)
    return TensorDataset(x, x @ TRUTH + 0.3 * torch.randn(n, 1, generator=generator))


def loaders(seed: int, size: int = 16, n: int = 256) -> tuple[DataLoader, DataLoader]:
    shuffled = torch.Generator().manual_seed(seed)
    train = DataLoader(rows(n, 2 * seed), batch_size=size, shuffle=True, generator=shuffled)
    return train, DataLoader(rows(n, 2 * seed + 1), batch_size=50)


def trained(model: Any, callback: Any, seed: int = 0, given: Any = None, **trainer: Any) -> Any:
    callbacks = [] if callback is None else [callback]
    asked = {"max_epochs": 1, "accelerator": "cpu", **trainer}
    made = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=callbacks, **asked,
    )  # fmt: skip
    made.fit(model, *(given or loaders(seed)))
    return made


def explained(model: Any, seed: int = 0, given: Any = None, **trainer: Any) -> Gap:
    callback = LightningExplain(print=None)
    trained(model, callback, seed, given, **trainer)
    assert callback.gap is not None
    return callback.gap


def largest(gap: Gap) -> tuple[Cause, float]:
    return max(gap.by_cause().items(), key=lambda item: abs(item[1]))


def no_truth(model: Regression) -> Regression:
    with torch.no_grad():
        model.net[-1].weight.zero_()
    return model


PLANTED: dict[str, tuple[Callable[[], Any], dict[str, Any], Cause, int]] = {
    "dropout": (lambda: Regression(nn.Dropout(0.5)), {}, Cause.DROPOUT, -1),
    "dropout, parts called": (lambda: Regression(nn.Dropout(0.5), parts=True), {}, Cause.DROPOUT, -1),
    "dropout, accumulated": (lambda: Regression(nn.Dropout(0.5)), {"accumulate_grad_batches": 3}, Cause.DROPOUT, -1),
    "dropout, bf16": (lambda: Regression(nn.Dropout(0.5)), {"precision": "bf16-mixed"}, Cause.DROPOUT, -1),
    "dropout, two validations": (lambda: Regression(nn.Dropout(0.5)), {"val_check_interval": 0.5}, Cause.DROPOUT, -1),
    "weights moved": (lambda: no_truth(Regression(rate=0.05)), {}, Cause.WEIGHTS_MOVED, -1),
    "penalty": (lambda: Regression(penalty=0.1), {}, Cause.PENALTIES, -1),
    "averages that lag": (lambda: Regression(nn.BatchNorm1d(8, momentum=1e-4)), {}, Cause.MOVING_AVERAGES, -1),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_cause_is_found(name: str, seed: int):
    make, trainer, cause, sign = PLANTED[name]
    given = loaders(seed)
    if cause is Cause.MOVING_AVERAGES:  # the averages begin at 0 and 1
        given = tuple(DataLoader(TensorDataset(*(3.0 * t for t in each.dataset.tensors)), 16) for each in given)
    gap = explained(make(), seed, given, **trainer)
    found, amount = largest(gap)
    assert found is cause
    assert np.sign(amount) == sign
    assert abs(gap.residual) < 1e-9


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_nothing_is_planted_there_is_no_gap(seed: int):
    assert explained(Regression(), seed).verdict.kind is Kind.NONE


@pytest.mark.parametrize("trainer", [{}, {"accumulate_grad_batches": 3}, {"val_check_interval": 0.5}])
@pytest.mark.parametrize("parts", [False, True])
def test_the_numbers_are_those_that_lightning_logged(trainer: dict[str, Any], parts: bool):
    callback = LightningExplain(print=None, train="train_loss_epoch", validation="val_loss")
    given = loaders(0, size=20, n=236)  # twelve batches, the last of 16 rows of 20
    made = trained(Regression(nn.Dropout(0.5), parts=parts), callback, given=given, max_epochs=2, **trainer)
    gap = callback.gap
    assert gap is not None
    assert len(callback.gaps) == 2
    assert gap.train.value == pytest.approx(float(made.callback_metrics["train_loss_epoch"]), rel=1e-5)
    assert gap.validation.value == pytest.approx(float(made.callback_metrics["val_loss"]), rel=1e-5)
    assert gap.train.facts.average in ("mean over rows", "mean of batches by their rows")
    assert gap.train.facts.rows.count == 236
    assert gap.validation.facts.params == "the end of epoch 2"
    assert not [note for note in gap.notes if "no usual average" in note]


def test_a_number_that_is_logged_before_others_is_the_one():
    class Several(Regression):
        def training_step(self, batch: Any, index: int) -> Any:
            loss = self._loss(batch)
            norm = self.net[-1].weight.square().sum()
            total = loss + norm
            self.log_dict({"norm": norm, "train_loss": total}, on_epoch=True)
            return total

    callback = LightningExplain(print=None)
    made = trained(Several(), callback)
    assert callback.gap is not None
    assert callback.gap.train.value == pytest.approx(float(made.callback_metrics["train_loss"]), rel=1e-5)


def test_the_sanity_check_counts_for_nothing():
    class Counts(Regression):
        validated = 0

        def validation_step(self, batch: Any, index: int) -> None:
            self.validated += 1
            super().validation_step(batch, index)

    model = Counts()
    gap = explained(model, num_sanity_val_steps=2)
    assert model.validated == 2 + 6
    assert gap.validation.facts.rows.count == 256


def test_explained_once_at_the_end():
    callback, lines = LightningExplain("end", print=None), []
    callback._print = lines.append
    trained(Regression(nn.Dropout(0.5)), callback, max_epochs=3)
    assert len(callback.gaps) == len(lines) == 1
    assert lines[0].startswith("val_loss - loss = ")
    assert callback.gaps[0].validation.facts.params == "the end of epoch 3"


def test_an_epoch_without_validation_has_no_gap():
    callback = LightningExplain(print=None)
    trained(Regression(), callback, max_epochs=4, check_val_every_n_epoch=2)
    assert [gap.validation.facts.params for gap in callback.gaps] == ["the end of epoch 2", "the end of epoch 4"]


def test_steps_after_the_last_validation_of_an_epoch():
    gap = explained(Regression(), val_check_interval=10, max_epochs=1)  # 16 batches
    assert any("measured anew" in note for note in gap.notes)
    assert gap.train.facts.rows.count == 256


def test_a_part_of_the_validation_rows():
    gap = explained(Regression(), limit_val_batches=2)
    assert gap.validation.facts.rows.count == 100


def test_one_process_of_many():
    gap = explained(Regression(nn.Dropout(0.5)), strategy="ddp", devices=1)
    assert largest(gap)[0] is Cause.DROPOUT


# ---- nothing changes -------------------------------------------------------------------------------------------------


def states(made: Any, model: Any, given: Any) -> list[Any]:
    metrics = {name: float(value) for name, value in made.callback_metrics.items()}
    numbers = np.random.get_state()  # noqa: NPY002
    tensors = [*model.state_dict().values(), torch.get_rng_state(), given[0].generator.get_state()]
    return [metrics, [t.tolist() for t in tensors], numbers[1].tolist(), numbers[2], random.getstate()]


@pytest.mark.parametrize("trainer", [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
@pytest.mark.parametrize("explain", ["epoch", "end"])
def test_a_training_is_bit_for_bit_the_same(explain: str, trainer: dict[str, Any]):
    found = []
    for callback in (None, LightningExplain(explain, print=None)):
        pl.seed_everything(7, verbose=False)
        model, given = Regression(nn.BatchNorm1d(8), nn.Dropout(0.3), rate=0.01), loaders(1)
        made = trained(model, callback, given=given, max_epochs=2, **trainer)
        found.append(states(made, model, given))
    assert found[0] == found[1]


def left_behind(model: nn.Module) -> list[Any]:
    hooks = [h for m in model.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    modes = [torch.overrides._get_current_function_mode()]
    patched = [f for f in (DataLoader.__iter__,) if f.__module__ != "torch.utils.data.dataloader"]
    return [*hooks, *(m for m in modes if m is not None), *patched]


@pytest.mark.parametrize("where", ["training_step", "validation_step", "forward", "on_train_epoch_end"])
def test_nothing_is_left_behind_by_an_exception(where: str):
    def fail(self: Any, *args: Any) -> Any:
        if self.trainer.sanity_checking:
            return Regression.validation_step(self, *args) if where == "validation_step" else self.net(*args)
        raise KeyError("not now")

    model = Regression()
    setattr(model, where, types.MethodType(fail, model))
    flags = [m.training for m in model.modules()]
    with pytest.raises(KeyError, match="not now"):
        trained(model, LightningExplain(print=None))
    assert not left_behind(model)
    assert flags == [m.training for m in model.modules()] or where == "validation_step"


def test_nothing_is_left_behind():
    model = Regression(nn.Dropout(0.5))
    trained(model, LightningExplain(print=None))
    assert not left_behind(model)


# ---- what is asked wrongly -------------------------------------------------------------------------------------------


def test_a_name_that_nobody_logged():
    with pytest.raises(InputError, match=r"no number has this name; logged are train_loss, .*val_loss"):
        trained(Regression(), LightningExplain(print=None, validation="valid"))


def test_a_time_that_is_none():
    with pytest.raises(InputError, match=r"""Give explain="epoch" """):
        LightningExplain("step")


def test_importing_verax_torch_imports_no_lightning():
    code = "import sys, verax.torch; print({'torch', 'lightning', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_the_lightning_that_the_person_imported():
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import pytorch_lightning, verax.torch\n"
        "print(issubclass(verax.torch.LightningExplain, pytorch_lightning.Callback))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "True"

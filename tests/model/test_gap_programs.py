"""The six programs in examples/, explained: each question has its cause, and its amount is the gap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import verax
from tests.programs import run
from verax import layers
from verax.errors import ChainError
from verax.ledger import Cause, Gap, Reading


def amounts(gap: Gap) -> dict[Cause, float]:
    assert abs(gap.residual) <= 1e-6 * max(abs(gap.train.value), abs(gap.validation.value))
    return gap.by_cause()


# ---- 1 and 2: the weights move ---------------------------------------------------------------------------------------


def test_program1_weights_moved_is_the_whole_gap():
    gap = run("program1").names["history"].gap()
    assert amounts(gap) == {Cause.WEIGHTS_MOVED: gap.total, Cause.ROWS: 0.0}
    assert gap.total < 0


@pytest.mark.parametrize("number", ["loss", "acc"])
def test_program2_weights_moved_is_the_whole_gap(number: str):
    gap = run("program2").names["history"].gap(number)
    found = amounts(gap)
    assert found[Cause.WEIGHTS_MOVED] == pytest.approx(gap.total, abs=1e-7)
    assert found[Cause.ROWS] == pytest.approx(0.0, abs=1e-7)


# ---- 3: who is in which mode -----------------------------------------------------------------------------------------


def test_program3_both_forms_have_the_same_causes():
    """Layers that nobody told about training are explained, and named, whether they stand in a block or not."""
    gap = run("program3").names["history"].gap()
    found = {link.cause: link for link in gap.links}
    assert list(found) == [
        Cause.WEIGHTS_MOVED, Cause.FITTED_DRAWS, Cause.DROPOUT, Cause.BATCH_STATISTICS, Cause.MOVING_AVERAGES,
        Cause.ROWS,
    ]  # fmt: skip
    assert all(path.startswith("conv2d_layer") for path in found[Cause.DROPOUT].fact.paths)
    assert not gap.notes


class Forced(verax.Model):
    """The author says training=True, so validation too is measured with the batch's own statistics."""

    def __init__(self):
        super().__init__()
        self.norm = layers.BatchNormalization(name="norm")
        self.block = verax.Sequential([layers.Dropout(0.5, name="drop"), layers.Dense(8)], name="block")
        self.out = layers.Dense(1, name="out")

    def call(self, x):
        return self.out(self.block(self.norm(x, training=True), training=True))


def test_a_layer_that_forces_training_mode_is_named():
    model = Forced()
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(2.0, 3.0, (64, 4)), rng.normal(size=(64, 1))
    gap = model.fit(x, y, validation_data=(x, y), verbose=0).gap()
    assert [note.split(" runs ")[0] for note in gap.notes] == ["block/drop", "norm"]
    assert all("training=True" in note for note in gap.notes)
    assert not {Cause.DROPOUT, Cause.BATCH_STATISTICS, Cause.MOVING_AVERAGES} & set(amounts(gap))
    assert "training=True" in str(gap)
    assert "forced by a call: norm" in str(gap.validation)


def test_a_forced_layer_in_a_functional_model_is_named():
    entry = verax.Input((4,))
    normal = layers.BatchNormalization(name="norm")(entry, training=True)
    model = verax.Model(entry, layers.Dense(1)(normal))
    model.compile("sgd", "mse")
    x, y = np.random.default_rng(0).normal(size=(32, 4)), np.ones((32, 1))
    gap = model.fit(x, y, validation_data=(x, y), verbose=0).gap()
    assert gap.notes == ("norm runs in training mode in validation too: a call in its model says training=True.",)


# ---- 4: one image ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> Any:
    names = run("program4").names
    model = names["model"]
    model.compile(optimizer=verax.optimizers.SGD(0.01), loss="sparse_categorical_crossentropy")
    return model, names["x"], names["y"], names["start"]


def _fit(image: Any, **arguments: Any) -> Gap:
    model, x, y, start = image
    model.set_weights(start)
    return model.fit(x, y, validation_data=(x, y), verbose=0, **arguments).gap()


def test_program4_batch_statistics_are_the_gap(image: Any):
    """One image is its own population, so all of the normalization's part is averages that have hardly moved."""
    image[0].trainable = True
    gap = _fit(image)
    found = amounts(gap)
    normal = found[Cause.BATCH_STATISTICS] + found[Cause.MOVING_AVERAGES]
    assert abs(normal) > 0.5 * sum(map(abs, found.values()))
    assert normal == pytest.approx(gap.total - found[Cause.WEIGHTS_MOVED], abs=1e-6)
    assert found[Cause.BATCH_STATISTICS] == pytest.approx(0.0, abs=1e-5)


def test_program4_frozen_the_gap_is_0(image: Any):
    image[0].trainable = False
    gap = _fit(image)
    image[0].trainable = True
    assert gap.total == 0.0
    assert set(amounts(gap).values()) <= {0.0}


def test_program4_in_inference_mode_only_the_weights_move(image: Any):
    gap = _fit(image, mode="infer")
    found = amounts(gap)
    assert found[Cause.WEIGHTS_MOVED] == pytest.approx(gap.total, abs=1e-6)
    assert set(found) == {Cause.WEIGHTS_MOVED, Cause.ROWS}


# ---- 5: weights ------------------------------------------------------------------------------------------------------


def test_program5_weights_are_the_gap():
    names = run("program5").names
    model, x, targets = names["model"], names["x"], [names["price"], names["kind"]]
    gap = model.explain(x, targets, sample_weight=names["weight"], validation_data=(x, targets))
    found = amounts(gap)
    assert found[Cause.ROW_WEIGHTS] == pytest.approx(gap.total, abs=1e-5)
    assert gap.total == pytest.approx(model.measure(x, targets)["loss"].value - names["weighted"].value, abs=1e-5)
    assert set(gap.columns) == {"price", "kind"}


def test_program5_weighted_or_not_is_one_fact():
    names = run("program5").names
    plain = names["model"].measure(names["x"], [names["price"], names["kind"]])["loss"]
    gap = verax.explain(names["weighted"], plain)
    assert amounts(gap) == {Cause.ROW_WEIGHTS: plain.value - names["weighted"].value}


# ---- 6: a loop of one's own ------------------------------------------------------------------------------------------


def test_program6_two_readings_are_explained_without_a_fit():
    """The loss that the loop fetched was measured before its update: as a reading with that fact, it is explained."""
    names = run("program6").names
    now = names["model"].measure(names["x"], names["y"])["loss"]
    facts = now.facts.but(params="before the last update")
    gap = verax.explain(Reading("fetched", names["with_verax"][-1], float("nan"), facts), now)
    assert amounts(gap) == {Cause.WEIGHTS_MOVED: gap.total}
    assert gap.total < 0


def test_readings_that_differ_in_two_facts_are_refused():
    names = run("program6").names
    one = names["model"].measure(names["x"], names["y"])["loss"]
    half = names["model"].measure(names["x"][:32], names["y"][:32], sample_weight=np.ones(32))["loss"]
    with pytest.raises(ChainError) as refused:
        verax.explain(one, half)
    assert "weights: none -> sample weights" in str(refused.value)
    assert "rows" in str(refused.value)
    with pytest.raises(ChainError, match="no changed fact"):
        verax.explain(one, one)

"""A planted cause carries the largest amount, with its sign; and what is no cause is not made one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import verax
from tests.model.scenarios import SCENARIOS, TRUTH, Scenario, fitted, knows, linear, rows, sequence_net
from tests.oracle import oracle
from verax import layers, optimizers, regularizers
from verax.ledger import Cause, Gap
from verax.ledger.verdict import Kind

SEEDS = range(5)


def gaps(scenario: Scenario, seeds: Sequence[int] = SEEDS) -> list[Gap]:
    """The scenario's gap for each seed; one model, so that its programs are compiled once."""
    verax.utils.set_random_seed(0)
    model, found = scenario.make(), []
    for seed in seeds:
        verax.utils.set_random_seed(seed)
        found.append(scenario.ask(model, np.random.default_rng(seed)))
    return found


def named(name: str) -> Scenario:
    return next(s for s in SCENARIOS if s.name == name)


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


def test_the_table_has_twenty_causes_and_more():
    assert len(SCENARIOS) > 20
    causes = {s.cause for s in SCENARIOS}
    never = {Cause.OBJECTIVE, Cause.AVERAGE, Cause.PRECISION, Cause.FITTED_DRAWS, Cause.NOT_SEPARATED}
    assert set(Cause) - never <= causes


def test_no_gap_is_called_none():
    verdicts = [gap.verdict.kind for gap in gaps(named("no gap"))]
    # One seed in twenty is outside of a 95 % interval, and one of five may be.
    assert sum(kind is Kind.NONE for kind in verdicts) >= 4, verdicts


def test_overfitting_is_called_by_its_name():
    for gap in gaps(named("overfitting")):
        assert gap.verdict.kind is Kind.OVERFITTING
        rows_link = gap.links[-1]
        assert rows_link.interval[0] > 0


#: The expected loss a mode adds to a model that knows the truth: E(y - prediction)² in training less in inference.
SQUARES = float(np.sum(TRUTH.astype("float64") ** 2))
CLOSED = {
    "dropout": SQUARES,  # Σ w² p / (1 - p), p = 1/2
    "gaussian noise": SQUARES,  # Σ w² σ², σ = 1
    "stochastic depth": SQUARES / 2,  # half of the rows are predicted as 0
    "augmentation layer": SQUARES,  # half of the rows with half of the columns wrong by twice their value
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_modes_amount_is_its_closed_form(name: str):
    scenario = named(name)
    for gap in gaps(scenario):
        link = next(one for one in gap.links if one.cause is scenario.cause)
        assert abs(-link.change - CLOSED[name]) <= 4 * link.stderr


def test_weights_of_zero_take_their_rows_share():
    for gap in gaps(named("zero sample weights")):
        # Σ w·v / N with three rows of four at 0 is a quarter of the plain loss 4 (noise 2), give or take the rows.
        assert gap.by_cause()[Cause.ROW_WEIGHTS] == pytest.approx(3.0, rel=0.35)


# ---- what is no cause ------------------------------------------------------------------------------------------------


def test_the_l2_penalty_is_in_both_numbers_as_in_keras():
    """Popular belief: the training loss is higher because it has the penalty. The validation loss has it too."""
    model = linear(layers.Dense(16, "relu", kernel_regularizer="l2", name="body"), rate=0.01)
    rng = np.random.default_rng(0)
    train, validation = rows(rng), rows(rng)
    gap = fitted(model, train, validation, epochs=20)
    penalties = [r.penalties for r in (gap.train, gap.validation)]
    assert min(penalties) > 0.1  # much of the numbers,
    assert abs(gap.by_cause()[Cause.PENALTIES]) < 0.02 * min(penalties)  # and none of their difference
    assert "The penalty is in both numbers" in str(gap)
    assert "penalties" in gap.validation.facts.terms
    with oracle() as keras:
        body = keras.layers.Dense(16, "relu", kernel_regularizer="l2")
        twin = keras.Sequential([keras.Input((8,)), body, keras.layers.Dense(1)])
        twin.compile(loss="mse")
        twin.set_weights(model.get_weights())
        assert twin.evaluate(*validation, verbose=0) == pytest.approx(gap.validation.value, rel=1e-5)


def _smoothed() -> Any:
    loss = verax.losses.CategoricalCrossentropy(label_smoothing=0.2)
    model = verax.Sequential([verax.Input((8,)), layers.Dense(3, activation="softmax")])
    model.compile(optimizers.SGD(0.0), loss)
    return model


def _half() -> Any:
    model = verax.Sequential([verax.Input((8,)), layers.Dense(8, dtype="mixed_bfloat16"), layers.Dense(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    return model


def _sequences() -> Any:
    model = sequence_net()
    model.optimizer.learning_rate = 0.0
    return model


def _classes(rng: np.random.Generator) -> Any:
    return rng.normal(size=(40, 8)), np.eye(3)[rng.integers(0, 3, 40)]


def _outlier(rng: np.random.Generator) -> Any:
    x, y = rows(rng, 33)
    y[32] = 1000.0  # alone in the last batch: an average of batch means would count it 16 times
    return x, y


def _unequal(rng: np.random.Generator) -> Any:
    words = rng.integers(1, 20, (40, 12))
    words[np.arange(12) >= rng.choice([1, 12], 40)[:, None]] = 0
    return words, np.broadcast_to(np.arange(12.0)[:, None], (40, 12, 1))


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (_smoothed, _classes),
        (_half, rows),
        (lambda: linear(rate=0.0), _outlier),
        (_sequences, _unequal),
        (lambda: linear(layers.Dense(8, kernel_regularizer="l2"), rate=0.0), rows),
    ],
    ids=["label smoothing", "mixed precision", "a short last batch", "masks of unequal lengths", "L2"],
)
def test_what_is_in_both_numbers_is_no_cause(make: Any, data: Any):
    """The same rows at weights that stand still, in batches of 16 in another order: no gap at all."""
    found = data(np.random.default_rng(1))
    gap = fitted(make(), found, found)
    assert abs(gap.total) <= 1e-6 * abs(gap.train.value)
    assert set(gap.by_cause()) <= {Cause.PENALTIES, Cause.WEIGHTS_MOVED, Cause.ROWS}
    assert gap.train.facts.objective == gap.validation.facts.objective
    assert gap.train.facts.average == gap.validation.facts.average
    assert gap.train.facts.dtype == gap.validation.facts.dtype


def test_frozen_normalization_has_no_gap():
    model = linear(layers.BatchNormalization(name="norm"), layers.Dropout(0.5, name="drop"))
    model.trainable = False
    x, y = rows(np.random.default_rng(0))
    gap = fitted(model, (x, y), (x, y), mode={"dropout": "infer"})
    assert abs(gap.total) <= 1e-6 * gap.train.value
    assert {m.why for m in gap.train.facts.modes if m.effect == "batch_statistics"} == {"frozen"}


def test_weights_by_the_same_rule_are_no_cause_and_stay_in_the_row_link():
    """Both numbers say "sample weights": the chain keeps them on, and compares weighted rows with weighted rows."""
    rng = np.random.default_rng(2)
    (x, y), weight = rows(rng, noise=2), rng.uniform(0, 2, 256)
    gap = fitted(knows(linear()), (x, y), (x, y, weight), sample_weight=weight)
    assert Cause.ROW_WEIGHTS not in gap.by_cause()
    assert gap.by_cause()[Cause.ROWS] == pytest.approx(0, abs=1e-5)


# ---- several outputs and metrics -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_outputs() -> Any:
    verax.utils.set_random_seed(0)
    entry = verax.Input((8,))
    body = layers.Dropout(0.3)(layers.Dense(8, "relu", kernel_regularizer=regularizers.L2(0.01))(entry))
    model = verax.Model(
        entry, {"price": layers.Dense(1, name="price")(body), "kind": layers.Dense(1, name="kind")(body)}
    )
    losses, scales = {"price": "mse", "kind": "mae"}, {"price": 0.5, "kind": 3.0}
    model.compile(optimizers.SGD(0.01), losses, loss_weights=scales, metrics={"kind": ["mae"]})
    rng = np.random.default_rng(0)
    (x, y), (xv, yv) = rows(rng), rows(rng)
    return model.fit(
        x, {"price": y, "kind": y}, validation_data=(xv, {"price": yv, "kind": yv}), batch_size=16, verbose=0
    )  # fmt: skip


def test_columns_add_up_to_the_total(two_outputs: Any):
    gap = two_outputs.gap()
    assert set(gap.columns) == {"price", "kind"}
    for cause, change in gap.by_cause().items():
        if cause is not Cause.PENALTIES:
            parts = 0.5 * gap.columns["price"].by_cause()[cause] + 3.0 * gap.columns["kind"].by_cause()[cause]
            assert change == pytest.approx(parts, abs=1e-6)
    for name, column in gap.columns.items():
        assert Cause.PENALTIES not in column.by_cause()
        assert abs(column.residual) <= 1e-6 * column.train.value
        assert column.total == pytest.approx(
            two_outputs.history[f"val_{name}_loss"][0] - two_outputs.history[f"{name}_loss"][0]
        )


def test_an_outputs_loss_and_metric_have_gaps_of_their_own(two_outputs: Any):
    assert two_outputs.gap("kind_loss").by_cause() == two_outputs.gap().columns["kind"].by_cause()
    metric = two_outputs.gap("kind_mae")
    assert metric.total == two_outputs.history["val_kind_mae"][0] - two_outputs.history["kind_mae"][0]
    # The loss of this output is the same number as its metric, and so are the causes.
    for cause, change in metric.by_cause().items():
        assert change == pytest.approx(two_outputs.gap("kind_loss").by_cause()[cause], abs=1e-5)


def test_accuracy_has_errors_and_auc_an_error_where_draws_are_fresh():
    by_name = {name: gaps(named(f"{name} under dropout"), [0])[0] for name in ("accuracy", "AUC")}
    for gap in by_name.values():
        links = {link.cause: link.stderr for link in gap.links}
        assert links[Cause.WEIGHTS_MOVED] == 0
        assert links[Cause.DROPOUT] > 0
    assert by_name["accuracy"].links[-1].stderr > 0
    assert np.isnan(by_name["AUC"].links[-1].stderr)  # counts have no error over rows: it is not known, and not 0

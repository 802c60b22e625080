"""What every explained gap keeps: it adds up, it changes nothing, and what it says of averages is so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import verax
from tests.model import twins
from tests.model.scenarios import RandomFlip, SkipInTraining, TwiceInTraining, fitted, linear, rows
from verax import layers, optimizers, regularizers
from verax.errors import InputError, StateError, UnknownNameError
from verax.ledger import Cause, Gap

TRAIN, VALIDATION = rows(np.random.default_rng(0)), rows(np.random.default_rng(1), 128)
SHORT = TRAIN[0][:250], TRAIN[1][:250]  # the last batch is short

STACKS = {
    "plain": lambda: [layers.Dense(8, "relu")],
    "all": lambda: [
        RandomFlip(),
        layers.GaussianNoise(0.3),
        layers.Dense(8, "relu", kernel_regularizer="l2"),
        layers.BatchNormalization(momentum=0.9),
        layers.Dropout(0.4),
        SkipInTraining(),
        TwiceInTraining(),
    ],
    "two norms": lambda: [
        layers.Dense(8),
        layers.BatchNormalization(name="slow"),
        layers.Dense(8, "tanh"),
        layers.BatchNormalization(momentum=0.5, name="fast"),
    ],
    "penalties": lambda: [
        layers.Dense(8, kernel_regularizer=regularizers.L1(0.1), activity_regularizer="l2"),
        layers.Dropout(0.2),
    ],
    "some": lambda: [layers.BatchNormalization(), layers.Dropout(0.4)],
    "norms that do not mix rows": lambda: [layers.LayerNormalization(), layers.Dropout(0.1)],
}


def weighted(train: Any) -> Any:
    return np.linspace(0.0, 2.0, len(train[0]))


@pytest.mark.parametrize("stack", STACKS)
def test_a_chain_adds_up(stack: str):
    model = linear(*STACKS[stack](), rate=0.01, metrics=["mae"])
    history = model.fit(*SHORT, validation_data=VALIDATION, sample_weight=weighted(SHORT), verbose=0)
    found = [history.gap(m, rows=n) for m in ("loss", "mae") for n in (None, 100)]
    found += [model.explain(*SHORT, validation_data=VALIDATION, metric=m) for m in ("loss", "mae")]
    for gap in found:
        scale = max(abs(r.value) for link in gap.links for r in (link.before, link.after))
        assert abs(gap.residual) <= 1e-6 * scale
        assert gap.total == gap.validation.value - gap.train.value
        for link in gap.links:
            assert len(link.before.facts.differences(link.after.facts)) == 1
            assert math.isfinite(link.change)
            assert link.stderr >= 0


def test_the_causes_of_a_full_stack_are_all_named():
    gap = fitted(linear(*STACKS["all"](), rate=0.01), TRAIN, VALIDATION, sample_weight=weighted(TRAIN))
    assert [link.cause for link in gap.links] == [
        Cause.PENALTIES, Cause.WEIGHTS_MOVED, Cause.FITTED_DRAWS, Cause.AUGMENTATION, Cause.DROPOUT, Cause.DROPOUT,
        Cause.STOCHASTIC_DEPTH, Cause.CUSTOM_MODE, Cause.BATCH_STATISTICS, Cause.MOVING_AVERAGES, Cause.ROW_WEIGHTS,
        Cause.ROWS, Cause.PENALTIES,
    ]  # fmt: skip
    assert [link.fact.fact for link in gap.links if link.cause is Cause.DROPOUT] == ["mode:dropout", "mode:noise"]


def test_the_reading_before_the_rows_is_what_evaluate_measures():
    model = linear(*STACKS["all"](), rate=0.01)
    gap = fitted(model, TRAIN, VALIDATION)
    before = next(link.before for link in gap.links if link.cause is Cause.ROWS)
    assert before.value == pytest.approx(model.measure(*TRAIN)["loss"].data, rel=1e-6)
    assert before.stderr == pytest.approx(model.measure(*TRAIN)["loss"].stderr, rel=1e-4)


def test_modes_by_layer_are_explained_by_layer():
    """One norm is asked for inference, so it is no cause; of the effects both ends share nothing is said."""
    model = linear(*STACKS["two norms"](), layers.Dropout(0.5, name="drop"), rate=0.01)
    for modes in ({"slow": "infer"}, {"slow": "train", "fast": "infer", "drop": "train"}):
        gap = fitted(model, TRAIN, VALIDATION, mode=modes)
        before = next(link.before for link in gap.links if link.cause is Cause.ROWS)
        assert before.value == pytest.approx(model.measure(*TRAIN)["loss"].value, rel=1e-5)
        assert Cause.MOVING_AVERAGES in gap.by_cause()
    gap = fitted(model, TRAIN, VALIDATION, mode={"drop": "infer", "batch_statistics": "infer"})
    assert set(gap.by_cause()) == {Cause.WEIGHTS_MOVED, Cause.ROWS}


def test_without_training_the_same_rows_differ_by_the_modes_alone():
    model = linear(*STACKS["all"]())
    gap = model.explain(*TRAIN, validation_data=TRAIN)
    assert gap.by_cause()[Cause.ROWS] == pytest.approx(0.0, abs=1e-5)
    assert {Cause.WEIGHTS_MOVED, Cause.FITTED_DRAWS}.isdisjoint(gap.by_cause())


# ---- it changes nothing ----------------------------------------------------------------------------------------------


def outcome(explain: str, verbose: int, asked: bool) -> tuple[Any, ...]:
    """All that is left after two fits, between which somebody may have asked."""
    verax.utils.set_random_seed(5)
    model = linear(*STACKS["some"](), kernel_regularizer="l2")
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"])
    fit = {"validation_data": VALIDATION, "batch_size": 32}
    first = model.fit(*TRAIN, epochs=2, explain=explain, verbose=verbose, **fit)
    if asked:
        first.gap()
        first.gap("mae", rows=64)
        model.explain(*TRAIN, validation_data=VALIDATION)
    between = [w.tobytes() for w in model.get_weights()]
    later = model.fit(*TRAIN, epochs=1, explain="off", verbose=0, **fit)
    return (
        between,
        [w.tobytes() for w in model.get_weights()],
        first.history,
        later.history,
        layers.Dense(2)(np.ones((1, 2), "float32")).tolist(),  # new weights come from the global seed
        np.random.random(),  # noqa: NPY002
    )


@pytest.fixture(scope="module")
def untouched() -> tuple[Any, ...]:
    return outcome("off", 0, False)


@pytest.mark.parametrize(
    ("explain", "verbose", "asked"),
    [("end", 0, False), ("end", 0, True), ("end", 1, False), ("epoch", 0, False), ("epoch", 2, True)],
)
def test_explaining_changes_nothing(untouched: Any, explain: str, verbose: int, asked: bool, capsys: Any):
    assert outcome(explain, verbose, asked) == untouched
    assert ("val_loss" in capsys.readouterr().out) == bool(verbose)


def test_a_gap_asked_for_later_is_that_of_its_epoch():
    def asked(later: bool) -> Gap:
        verax.utils.set_random_seed(6)
        model = linear(*STACKS["some"](), rate=0.01)
        history = model.fit(*TRAIN, validation_data=VALIDATION, verbose=0)
        if later:
            model.fit(*TRAIN, epochs=2, verbose=0)
            model.recalibrate(TRAIN[0])
        return history.gap()

    at_once, later = asked(False), asked(True)
    assert [(a.cause, a.change, a.stderr) for a in at_once.links] == [
        (a.cause, a.change, a.stderr) for a in later.links
    ]


# ---- samples ---------------------------------------------------------------------------------------------------------


def test_a_samples_intervals_hold_the_full_amounts():
    verax.utils.set_random_seed(7)
    model = linear(*STACKS["some"](), rate=0.01)
    history = model.fit(*rows(np.random.default_rng(3), 1024), batch_size=16, validation_data=VALIDATION, verbose=0)
    full, part = history.gap(), history.gap(rows=256)
    assert part.sample == "16 of 64 batches"
    assert (part.train, part.validation) == (full.train, full.validation)
    for whole, some in zip(full.links, part.links, strict=True):
        assert abs(whole.change - some.change) <= 4 * some.stderr + 1e-6
    # Population statistics are of all 64 batches in both: of the 16 alone they would fit these too well.
    assert part.by_cause()[Cause.MOVING_AVERAGES] == pytest.approx(full.by_cause()[Cause.MOVING_AVERAGES], rel=0.3)


def test_at_least_two_batches_are_measured():
    history = linear(rate=0.01).fit(*TRAIN, validation_data=VALIDATION, verbose=0)
    assert history.gap(rows=1).sample == "2 of 8 batches"
    with pytest.raises(InputError, match="rows"):
        history.gap(rows=0)


# ---- moving averages -------------------------------------------------------------------------------------------------


def closed_form(x: np.ndarray[Any, Any], size: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Σ rows · (the batch's mean, its biased variance) / Σ rows."""
    batches = [x[i : i + size].astype("float64") for i in range(0, len(x), size)]
    n = [len(b) for b in batches]
    return np.average([b.mean(0) for b in batches], 0, n), np.average([b.var(0) for b in batches], 0, n)


@pytest.mark.parametrize("size", [32, 250])
def test_recalibrate_sets_the_closed_form_and_nothing_else(size: int):
    model = linear(layers.BatchNormalization(name="norm"), layers.Dropout(0.5))
    x = 3 * SHORT[0] + 5
    model.fit(x, SHORT[1], verbose=0)
    before = {v.path: v.numpy() for v in model.weights}
    model.recalibrate(x, batch_size=size)
    after = {v.path: v.numpy() for v in model.weights}
    mean, variance = closed_form(x, size)
    np.testing.assert_allclose(after.pop("norm/moving_mean"), mean, rtol=1e-5)
    np.testing.assert_allclose(after.pop("norm/moving_variance"), variance, rtol=1e-5)
    for path, value in after.items():
        np.testing.assert_array_equal(value, before[path])


def test_recalibrate_is_the_cure_of_averages_that_lag():
    model = linear(*STACKS["two norms"](), rate=0.01)
    fit = {"validation_data": TRAIN, "batch_size": 32}
    lagging = fitted(model, TRAIN, TRAIN).by_cause()[Cause.MOVING_AVERAGES]
    assert abs(lagging) > 1e-3
    model.recalibrate(TRAIN[0], batch_size=32)
    gap = model.explain(*TRAIN, **fit)
    assert gap.by_cause()[Cause.MOVING_AVERAGES] == pytest.approx(0.0, abs=1e-6)
    link = next(one for one in gap.links if one.cause is Cause.MOVING_AVERAGES)
    assert max(one["off"] for one in link.detail["averages"]) < 1e-5


def test_the_layers_that_lag_most_are_named_with_what_they_need():
    model = linear(*STACKS["two norms"](), rate=0.01)
    gap = fitted(model, TRAIN, VALIDATION)
    link = next(one for one in gap.links if one.cause is Cause.MOVING_AVERAGES)
    named = link.detail["averages"]
    assert [one["off"] for one in named] == sorted((one["off"] for one in named), reverse=True)
    by_path = {one["path"]: one for one in named}
    slow, fast = by_path["slow/moving_variance"], by_path["fast/moving_variance"]
    assert slow["off"] > fast["off"]
    assert (slow["momentum"], fast["momentum"]) == (0.99, 0.5)
    assert {one["updates"] for one in named} == {16}
    # After n updates momentum ** n of the start is left: 1 % after 459, after 7.
    assert (slow["needed"], fast["needed"]) == (459, 7)
    assert 0.99**459 < 0.01 < 0.99**458
    assert 0.5**7 < 0.01 < 0.5**6


def test_the_lag_is_that_of_the_closed_form():
    """One norm on the inputs: the population is the rows', the averages are what 16 updates made of 0 and 1."""
    model = linear(layers.BatchNormalization(name="norm"), rate=0.0)
    x = TRAIN[0] + 3
    gap = fitted(model, (x, TRAIN[1]), (x, TRAIN[1]), shuffle=False)
    link = next(one for one in gap.links if one.cause is Cause.MOVING_AVERAGES)
    off = {one["path"]: one["off"] for one in link.detail["averages"]}
    mean, _ = closed_form(x, 16)
    moved = np.zeros(8)
    for i in range(0, 256, 16):
        moved = 0.99 * moved + 0.01 * x[i : i + 16].mean(0)
    wanted = np.sqrt(np.mean((moved - mean) ** 2) / np.mean(mean**2))
    assert off["norm/moving_mean"] == pytest.approx(wanted, rel=1e-4)


# ---- what cannot be asked --------------------------------------------------------------------------------------------


def test_every_epoch_is_kept_when_asked_for():
    model = linear(*STACKS["plain"](), rate=0.01, metrics=["mae"])
    history = model.fit(*TRAIN, epochs=3, validation_data=VALIDATION, explain="epoch", verbose=0)
    assert list(history.gaps) == [0, 1, 2]
    for epoch in range(3):
        for name in ("loss", "mae"):
            gap = history.gap(name, epoch)
            assert gap.train.value == history.history[name][epoch]
            assert gap.validation.value == history.history[f"val_{name}"][epoch]
            assert abs(gap.residual) <= 1e-6 * gap.train.value


def test_an_earlier_epoch_is_gone():
    history = linear(rate=0.01).fit(*TRAIN, epochs=2, validation_data=VALIDATION, verbose=0)
    with pytest.raises(StateError, match="explain='epoch'"):
        history.gap("loss", 0)
    assert history.gap("loss", -1) is history.gap("loss", 1)


def test_an_epoch_without_validation_has_no_gap():
    model = linear(rate=0.01)
    with pytest.raises(StateError, match="validation_data"):
        model.fit(*TRAIN, verbose=0).gap()
    history = model.fit(*TRAIN, epochs=4, validation_data=VALIDATION, validation_freq=2, explain="epoch", verbose=0)
    assert sorted(history.gaps) == [1, 3]
    with pytest.raises(StateError, match="no validation numbers"):
        history.gap("loss", 0)
    assert history.gap("loss", 1).validation.value == history.history["val_loss"][0]


def test_a_fit_that_keeps_nothing_explains_nothing():
    with pytest.raises(StateError):
        linear(rate=0.01).fit(*TRAIN, validation_data=VALIDATION, explain="off", verbose=0).gap()
    with pytest.raises(UnknownNameError, match="'end'"):
        linear(rate=0.01).fit(*TRAIN, explain="ende", verbose=0)


def test_an_unknown_number_is_answered_with_the_nearest():
    model = linear(rate=0.01, metrics=["mae"])
    history = model.fit(*TRAIN, validation_data=VALIDATION, verbose=0)
    with pytest.raises(UnknownNameError, match="'loss'"):
        history.gap("los")
    with pytest.raises(UnknownNameError, match="'mae'"):
        model.explain(*TRAIN, validation_data=VALIDATION, metric="mea")


def test_a_fit_after_unfreezing_says_what_its_layers_did():
    model = linear(layers.BatchNormalization(name="norm"), layers.Dense(4))
    for trainable in (True, False, True):
        model.get_layer("norm").trainable = trainable
        history = model.fit(*TRAIN, verbose=0)
        (norm,) = history.readings["loss"][0].facts.modes
        assert norm.state == ("train" if trainable else "infer")


def test_layers_frozen_since_are_told():
    model = linear(layers.Dropout(0.5), layers.Dense(4, name="body"), rate=0.01)
    history = model.fit(*TRAIN, validation_data=VALIDATION, verbose=0)
    model.get_layer("body").trainable = False
    with pytest.raises(StateError, match="frozen or unfrozen"):
        history.gap()
    model.get_layer("body").trainable = True
    assert abs(history.gap().residual) <= 1e-6


def test_the_reverse_order_has_the_same_ends_and_sum():
    verax.utils.set_random_seed(2)
    x, y = twins.rows(64), twins.rows(64, 1, seed=1)
    stack = [layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(1)]
    model = verax.Sequential([verax.Input((4,)), *stack])
    model.compile("adam", "mse")
    history = model.fit(x, y, validation_data=(twins.rows(32, seed=2), twins.rows(32, 1, seed=3)), verbose=0)
    forward, back = history.gap(), history.gap(reverse=True)
    assert (back.train.value, back.validation.value) == (forward.train.value, forward.validation.value)
    assert abs(back.residual) <= 1e-6 * abs(back.train.value)
    modes = ["DROPOUT", "BATCH_STATISTICS", "MOVING_AVERAGES"]
    assert [link.cause.name for link in forward.links if link.cause.name in modes] == modes
    assert [link.cause.name for link in back.links if link.cause.name in modes] == [*modes[1:], modes[0]]
    assert history.gap() is forward  # what was asked in reverse does not stand in for it

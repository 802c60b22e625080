"""What the six programs in examples/ claim, and the exact forms of it that a program need not show."""

from __future__ import annotations

import numpy as np
import pytest

import verax
from tests.programs import run
from verax import layers
from verax.errors import UnknownNameError

# ---- 1 and 2: the weights move while the loss is averaged ------------------------------------------------------------


def test_program1_printed_loss_differs_from_evaluate_and_val_loss_equals_it():
    names, printed = run("program1")
    history = names["history"].history
    assert history["loss"][0] != names["loss"]
    assert history["val_loss"][0] == names["loss"]
    assert "differs in params: each step's own -> the end of epoch 1" in printed


def test_program2_validation_is_the_next_training_number_exactly():
    history = run("program2").names["history"].history
    assert len(history["loss"]) == 10
    assert history["val_loss"][:-1] == history["loss"][1:]
    assert history["val_acc"][:-1] == history["acc"][1:]
    assert history["loss"][-1] < history["loss"][0]


# ---- 3: nobody told the layer about training -------------------------------------------------------------------------


def test_program3_both_forms_train_and_are_measured_alike():
    names, printed = run("program3")
    scores = names["scores"]
    assert scores["plain"] == scores["nested"]
    assert scores["plain"][1] > 0.9
    assert "training mode (each batch's own statistics, dropout on)" in printed
    assert "inference mode (moving averages, dropout off)" in printed


@pytest.fixture(scope="module")
def forms():
    """Program 3's plain and nested network, without dropping: nothing is drawn, so all numbers can be compared."""
    network = run("program3").names["network"]
    plain, nested = network(False, 0.0), network(True, 0.0)
    nested.set_weights(plain.get_weights())
    rng = np.random.default_rng(3)
    x, y = rng.uniform(size=(24, 8, 8, 1)), rng.integers(0, 10, 24)
    histories = [
        m.fit(x, y, batch_size=8, epochs=2, shuffle=False, validation_data=(x, y), verbose=0) for m in (plain, nested)
    ]
    return plain, nested, histories, x, y


def test_program3_same_weights_give_the_same_history_and_weights(forms):
    plain, nested, (first, second), _, _ = forms
    assert first.history == second.history
    for a, b in zip(plain.get_weights(), nested.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("form", [0, 1], ids=["plain", "nested"])
def test_program3_each_mode_is_right(forms, form):
    model, x = forms[form], forms[3]
    gamma, beta, mean, variance = _norm_weights(model)
    params, state = verax.values(model)
    conv = np.asarray(_conv_output(model, x))

    def after_norm(m, v):
        flat = ((conv - m) / np.sqrt(v + 1e-3) * gamma + beta).reshape(len(x), -1)
        logits = flat @ model.layers[-1].get_weights()[0] + model.layers[-1].get_weights()[1]
        e = np.exp(logits - logits.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    x32 = x.astype("float32")
    infer, _ = verax.pure(model)(params, state, x32, mode="infer")
    np.testing.assert_allclose(infer, after_norm(mean, variance), atol=1e-5)
    train, after = verax.pure(model)(params, state, x32, mode="train")
    np.testing.assert_allclose(train, after_norm(conv.mean((0, 1, 2)), conv.var((0, 1, 2))), atol=1e-5)
    moved = next(v for path, v in after.items() if path.endswith("moving_mean"))
    np.testing.assert_allclose(moved, 0.99 * mean + 0.01 * conv.mean((0, 1, 2)), atol=1e-6)


def _norm_weights(model):
    named = {v.path.rsplit("/", 1)[1]: np.asarray(v.numpy()) for v in model.weights if "norm" in v.path}
    return named["gamma"], named["beta"], named["moving_mean"], named["moving_variance"]


def _conv_output(model, x):
    first = model.layers[0]
    return (first.conv if hasattr(first, "conv") else first)(x.astype("float32"))


# ---- 4: batch normalization and one image ----------------------------------------------------------------------------


def test_program4_one_image():
    names, printed = run("program4")
    before, fitted, after = names["moving"]
    assert fitted != before  # the statistics of one image are not the moving averages
    assert after != before
    before, fitted, after = names["frozen"]
    assert fitted == before == after
    before, fitted, after = names["inference"]
    assert fitted == before  # inference mode in every layer, and yet
    assert after < before  # the weights trained
    assert "inference mode (moving averages (frozen))" in printed


def test_inference_mode_can_be_asked_for_one_effect_only():
    model = verax.Sequential([verax.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    x, y = np.ones((8, 4)), np.ones(8)
    history = model.fit(x, y, mode={"dropout": "infer"}, verbose=0)
    states = {m.effect: m.state for m in history.readings["loss"][0].facts.modes}
    assert states == {"dropout": "infer", "batch_statistics": "train"}
    with pytest.raises(UnknownNameError, match="dropout"):
        model.fit(x, y, mode={"dropuot": "infer"}, verbose=0)


# ---- 5: per-row means ------------------------------------------------------------------------------------------------


def test_program5_evaluate_does_not_depend_on_the_batch_size():
    sizes = run("program5").names["sizes"]
    assert sizes[32].keys() == {"loss", "price_loss", "kind_loss", "kind_accuracy"}
    for name in sizes[32]:
        assert sizes[32][name] == pytest.approx(sizes[64][name], rel=1e-6)


def test_program5_total_is_the_weighted_sum_of_readable_parts():
    names = run("program5").names
    total, single = names["total"], names["sizes"][32]
    parts = total.parts
    assert set(parts) == {"price", "kind", "hidden/kernel"}
    assert (parts["price"].coefficient, parts["kind"].coefficient) == (0.2, 2.0)
    assert parts["price"].value == pytest.approx(single["price_loss"], rel=1e-6)
    kernel = names["model"].get_layer("hidden").get_weights()[0]
    assert total.penalties == pytest.approx(0.01 * np.sum(kernel.astype("float64") ** 2), rel=1e-6)
    assert total.value == pytest.approx(
        0.2 * parts["price"].value + 2.0 * parts["kind"].value + total.penalties, rel=1e-12
    )


def test_program5_weights_and_masks():
    names, printed = run("program5")
    model, x, price, kind, weight = (names[n] for n in ("model", "x", "price", "kind", "weight"))
    predicted_price, predicted_kind = model.predict(x, verbose=0)
    squares = (predicted_price - price)[:, 0] ** 2
    entropy = -np.log(predicted_kind[np.arange(len(x)), kind])
    parts = names["weighted"].parts
    assert parts["price"].value == pytest.approx(np.mean(weight * squares), rel=1e-5)
    assert parts["kind"].value == pytest.approx(np.mean(weight * entropy), rel=1e-5)
    assert "rows weighted by sample weights" in printed
    assert "rows weighted by class weights" in printed
    short, long = names["padded"]
    assert short == pytest.approx(long, rel=1e-6)


def test_fit_losses_are_per_row_means_with_a_short_last_batch():
    x, y = np.arange(10.0)[:, None], np.zeros(10)
    losses = {}
    for size in (3, 4, 10):
        model = verax.Sequential([verax.Input((1,)), layers.Dense(1, kernel_initializer="ones")])
        model.compile(optimizer=verax.optimizers.SGD(0.0), loss="mse")
        losses[size] = model.fit(x, y, batch_size=size, shuffle=False, verbose=0).history["loss"][0]
    assert losses == dict.fromkeys((3, 4, 10), np.mean(np.arange(10.0) ** 2))


# ---- 6: a loop of one's own ------------------------------------------------------------------------------------------


def test_program6_momentum_by_hand():
    names = run("program6").names
    x, y = np.asarray(names["x"], "float64"), np.asarray(names["y"], "float64")
    kernel, bias, v_kernel, v_bias = np.zeros((3, 1)), np.zeros(1), np.zeros((3, 1)), np.zeros(1)
    losses = []
    for _ in range(20):
        error = x @ kernel + bias - y
        losses.append(np.mean(error**2))
        v_kernel, v_bias = 0.9 * v_kernel + 2 * x.T @ error / len(x), 0.9 * v_bias + 2 * error.mean(0)
        kernel, bias = kernel - 0.05 * v_kernel, bias - 0.05 * v_bias
    np.testing.assert_allclose(names["with_optax"], losses, rtol=1e-4)
    np.testing.assert_allclose(names["with_verax"], losses, rtol=1e-4)
    np.testing.assert_allclose(names["model"].get_weights()[0], kernel, rtol=1e-4)

"""Where a trained model differs from Keras on purpose: one test each, with both numbers."""

from __future__ import annotations

import numpy as np
import pytest

import verax
from tests.model.twins import fit_both, rows, twins
from tests.oracle import oracle
from verax.errors import DataError, ShapeError


def test_a_model_whose_call_forgets_training_trains_in_training_mode():
    """Keras' ``fit`` passes ``training`` only to a ``call`` that has the parameter: layers below then infer."""

    def build(lib):
        class Net(lib.Model):
            def __init__(self):
                super().__init__()
                self.norm = lib.layers.BatchNormalization()
                self.head = lib.layers.Dense(1)

            def call(self, x):
                return self.head(self.norm(x))

        model = Net()
        model.compile(lib.optimizers.SGD(0.1), "mse")
        return model

    models = twins(build, shape=(1, 4))
    theirs, ours = models
    start = ours.get_weights()
    x, y = rows(20) * 3 + 5, rows(20, 1, seed=2)
    expected, found = fit_both(models, x, y, epochs=2)
    assert found["loss"][0] < 0.6 * expected["loss"][0]
    assert not np.array_equal(ours.get_weights()[2], np.zeros(4))  # the moving mean moved
    np.testing.assert_array_equal(theirs.get_weights()[2], np.zeros(4))
    ours.set_weights(start)
    ours.compile(verax.optimizers.SGD(0.1), "mse")
    inference = ours.fit(x, y, epochs=2, shuffle=False, verbose=0, mode="infer")
    np.testing.assert_allclose(inference.history["loss"], expected["loss"], rtol=1e-4)


TOKENS = np.array([[1, 2, 3, 4, 5], [4, 0, 0, 0, 0], [3, 2, 0, 0, 0], [2, 0, 0, 0, 0]])


@pytest.fixture(scope="module")
def readers():
    def build(lib):
        layers = lib.layers
        model = lib.Sequential(
            [lib.Input((5,), dtype="int32"), layers.Embedding(7, 3, mask_zero=True), layers.Dense(1)]
        )
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    return twins(build)


def test_evaluate_of_masked_tokens_does_not_depend_on_the_batch_size(readers):
    theirs, ours = readers
    y = rows(4, 5)[..., None] * 3
    with oracle():
        expected = [theirs.evaluate(TOKENS, y, batch_size=size, verbose=0)[0] for size in (1, 2, 4)]
    found = [ours.evaluate(TOKENS, y, batch_size=size, verbose=0)[0] for size in (1, 2, 4)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)
    assert found[2] == pytest.approx(expected[2], rel=1e-5)  # one batch: the same mean over tokens
    assert abs(expected[0] - expected[2]) > 0.1


def test_metrics_of_a_fit_count_real_tokens_only(readers):
    """On JAX, Keras loses the mask on its way out of the gradient: a fit's metrics count padding, evaluate's do not."""
    theirs, ours = readers
    y = np.where(TOKENS == 0, 100.0, 1.0)[..., None].astype("float32")  # nonsense under the mask
    with oracle():
        measured = theirs.evaluate(TOKENS, y, verbose=0)[1]
    assert ours.evaluate(TOKENS, y, verbose=0)[1] == pytest.approx(measured, rel=1e-5)
    expected, found = fit_both(readers, TOKENS, y, batch_size=4)
    assert found["mae"][0] == pytest.approx(measured, rel=1e-5)
    assert expected["mae"][0] > 10 * measured


def saturated(last, loss):
    def build(lib):
        model = lib.Sequential([lib.Input((2,)), lib.layers.Dense(2 if last == "softmax" else 1, activation=last)])
        model.compile("sgd", loss)
        return model

    return twins(build)


@pytest.mark.parametrize(
    ("last", "loss"), [("softmax", "sparse_categorical_crossentropy"), ("sigmoid", "binary_crossentropy")]
)
def test_a_saturated_loss_is_the_true_one(last, loss):
    theirs, ours = saturated(last, loss)
    kernel = np.array([[100.0, 0.0], [0, 0]]) if last == "softmax" else np.array([[100.0], [0]])
    weights = [kernel.astype("float32"), np.zeros(kernel.shape[1], "float32")]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    x, y = np.ones((3, 2), "float32"), np.array([1, 1, 1] if last == "softmax" else [0, 0, 0])
    with oracle():
        expected = theirs.evaluate(x, y, verbose=0)
        theirs.fit(x, y, verbose=0)
    assert ours.evaluate(x, y, verbose=0) == pytest.approx(100.0)
    assert expected == pytest.approx(-np.log(1e-7), rel=0.02)
    ours.fit(x, y, verbose=0)
    np.testing.assert_array_equal(theirs.get_weights()[0], kernel)  # no gradient through the clip: it never learns
    assert ours.get_weights()[0][0, 0] < 100


def small(lib, units=1, loss="mse", **compiled):
    model = lib.Sequential([lib.Input((4,)), lib.layers.Dense(units)])
    model.compile("sgd", loss, **compiled)
    return model


def test_names_stand_in_the_order_they_were_asked_for():
    models = twins(lambda lib: small(lib, metrics=["mse", "mae"]))
    expected, found = fit_both(models, rows(6), rows(6, 1), validation_data=(rows(6), rows(6, 1)))
    assert list(found) == ["loss", "mse", "mae", "val_loss", "val_mse", "val_mae"]
    assert list(expected) == ["loss", "mae", "mse", "val_loss", "val_mae", "val_mse"]


def test_targets_are_not_broadcast():
    theirs, ours = twins(lambda lib: small(lib, units=3))
    x, y = rows(6), rows(6, 1)
    with oracle():
        assert theirs.evaluate(x, y, verbose=0) > 0  # a number, of (6, 1) against (6, 3)
    with pytest.raises(ShapeError, match=r"\(6, 1\)"):
        ours.evaluate(x, y, verbose=0)


def test_labels_out_of_range_are_refused():
    theirs, ours = twins(
        lambda lib: small(lib, units=3, loss=lib.losses.SparseCategoricalCrossentropy(from_logits=True))
    )
    x, y = rows(6), np.array([0, 1, 2, 3, 1, 0])
    with oracle():
        assert np.isfinite(theirs.evaluate(x, y, verbose=0))  # a label that names no class counts as loss 0
    with pytest.raises(DataError, match="3"):
        ours.evaluate(x, y, verbose=0)


def test_sample_weight_and_class_weight_go_together():
    theirs, ours = twins(
        lambda lib: small(lib, units=2, loss=lib.losses.SparseCategoricalCrossentropy(from_logits=True))
    )
    x, y, weight = rows(6), np.arange(6) % 2, np.linspace(1, 2, 6)
    with oracle(), pytest.raises(ValueError, match="class_weight"):
        theirs.fit(x, y, sample_weight=weight, class_weight={0: 3.0}, verbose=0)
    both = ours.fit(x, y, sample_weight=weight, class_weight={0: 3.0}, epochs=1, verbose=0)
    assert both.readings["loss"][0].facts.weights == "sample weights and class weights"

"""Crossentropies: true values from logits, where they were clipped, and what their checks say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit, log_softmax

from verax import losses
from verax.errors import DataError, ShapeError

Z = np.array([[-200.0, 0.0], [-20.0, 0.0], [-1.0, 1.0], [0.0, 0.0], [20.0, 0.0], [200.0, 0.0]])
T = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
LINKED = ["binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"]


def linked(name):
    """The loss, its targets, the activation before it, and its values in float64."""
    if name.startswith("binary"):
        true = -np.mean(T * log_expit(Z) + (1 - T) * log_expit(-Z), axis=-1)
        return losses.get(name), T, jax.nn.sigmoid, true
    true = -np.sum(T * log_softmax(Z, axis=-1), axis=-1)
    return losses.get(name), T.argmax(-1) if name.startswith("sparse") else T, jax.nn.softmax, true


@pytest.mark.parametrize("name", LINKED)
def test_from_logits_the_value_is_true_however_saturated(name):
    loss, t, _, true = linked(name)
    np.testing.assert_allclose(loss.from_link(t, Z.astype("float32")), true, rtol=2e-6)
    assert true.max() > 99


@pytest.mark.parametrize("name", LINKED)
def test_from_logits_the_gradient_is_true_where_the_clip_has_none(name):
    loss, t, activation, _ = linked(name)
    z = jnp.asarray(Z, "float32")
    through = jax.grad(lambda z: loss.call(t, activation(z)).sum())(z)
    linked_ = jax.grad(lambda z: loss.from_link(t, z).sum())(z)
    true = activation(z) - T
    np.testing.assert_allclose(linked_, true / 2 if loss.link == "sigmoid" else true, atol=1e-6)
    assert float(jnp.abs(through[0, 0])) < 1e-6 < float(jnp.abs(linked_[0, 0]))


@pytest.mark.parametrize("name", LINKED)
def test_clipped_rows_are_found(name):
    loss, t, activation, true = linked(name)
    p = activation(jnp.asarray(Z, "float32"))
    clipped = loss.clipped(t, p)
    assert clipped.tolist() == [True, True, False, False, True, True]
    np.testing.assert_allclose(loss.call(t, p)[~clipped], true[~np.asarray(clipped)], rtol=1e-5)
    assert float(loss.call(t, p).max()) < 16.2


@pytest.mark.parametrize("name", LINKED)
def test_a_right_saturated_prediction_is_not_called_clipped(name):
    loss, t, activation, _ = linked(name)
    right = activation(jnp.asarray(400.0 * T - 200.0, "float32"))
    assert not loss.clipped(t, right).any()


def test_the_link_is_there_only_for_probabilities_on_the_last_axis():
    assert [losses.get(name).link for name in LINKED] == ["sigmoid", "softmax", "softmax"]
    assert losses.BinaryCrossentropy(from_logits=True).link is None
    assert losses.BinaryCrossentropy(from_logits=True).clipped(T, Z) is None
    assert losses.CategoricalCrossentropy(axis=1).link is None
    assert losses.MeanSquaredError().link is None


@pytest.mark.parametrize(
    "loss",
    [
        losses.BinaryCrossentropy(label_smoothing=0.1),
        losses.CategoricalCrossentropy(label_smoothing=0.1),
        losses.BinaryFocalCrossentropy(apply_class_balancing=True),
        losses.CategoricalFocalCrossentropy(alpha=[0.3, 0.7]),
    ],
    ids=lambda loss: loss.name,
)
def test_from_link_is_call_where_nothing_is_saturated(loss):
    z = jnp.asarray(Z / 100, "float32")
    p = jax.nn.sigmoid(z) if loss.link == "sigmoid" else jax.nn.softmax(z)
    np.testing.assert_allclose(loss.from_link(T, z), loss.call(T, p), rtol=1e-4)


def test_rows_of_one_probability():
    t, z = np.array([1.0, 0.0]), np.array([-100.0, -1.0], "float32")
    loss = losses.BinaryCrossentropy()
    np.testing.assert_allclose(loss.from_link(t, z), [100.0, np.log1p(np.exp(-1))], rtol=1e-6)
    assert loss.clipped(t, jax.nn.sigmoid(z)).tolist() == [True, False]


def test_masked_classes_cost_nothing():
    z = np.array([[0.0, -np.inf]], "float32")
    assert float(losses.CategoricalCrossentropy(from_logits=True)([[1.0, 0.0]], z)) == 0.0
    assert float(losses.SparseCategoricalCrossentropy(from_logits=True)([0], z)) == 0.0


def test_a_label_that_is_no_class_is_nan_not_zero():
    loss = losses.SparseCategoricalCrossentropy(reduction="none")
    assert np.isnan(loss([-1, 0, 2], np.full((3, 2), 0.5))).tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_an_ignored_class_does_not_count(shape):
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    p = np.array([[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]], "float32")
    t = np.array([-1, 1, 0]).reshape(shape)
    expected = -np.log([0.75, 0.5]).mean()
    assert float(loss(t, p)) == pytest.approx(expected)
    assert float(loss(t, p, mask=[True, True, False])) == pytest.approx(-np.log(0.75))


def test_sparse_classes_on_another_axis():
    p = np.random.default_rng(0).dirichlet(np.ones(3), (2, 4)).astype("float32")
    t = np.random.default_rng(1).integers(0, 3, (2, 4))
    expected = losses.sparse_categorical_crossentropy(t, p)
    np.testing.assert_allclose(losses.sparse_categorical_crossentropy(t, p.swapaxes(1, 2), axis=1), expected, rtol=1e-6)


class TestCheck:
    sparse = losses.SparseCategoricalCrossentropy()

    @pytest.mark.parametrize("labels", [np.arange(10), np.arange(10.0)[:, None], np.zeros((4, 1), "uint8")])
    def test_labels_that_fit_pass(self, labels):
        self.sparse.check(labels, (None, 10))
        losses.SparseCategoricalCrossentropy(ignore_class=255).check(np.array([0, 255, 9]), (None, 10))

    @pytest.mark.parametrize(
        ("labels", "received", "because", "do"),
        [
            ([0, 3, 12, 10], "label 12 in row 2; 2 of 4 labels", "have 10 classes", "the last layer 13 units"),
            (range(1, 11), "label 10 in row 9", "labels start at 0, and these start at 1", "Subtract 1"),
            ([0, -1, 5], "label -1 in row 1", "labels start at 0", "ignore_class=-1"),
            ([0.0, 2.5], "label 2.5 in row 1", "a whole number", "a regression loss"),
        ],
    )
    def test_labels_that_are_no_class_are_named(self, labels, received, because, do):
        with pytest.raises(DataError) as error:
            self.sparse.check(np.array(labels), (None, 10))
        for part in ("from 0 to 9 (10 classes)", received, because, do):
            assert part in str(error.value)

    def test_nan_labels_are_named(self):
        with pytest.raises(DataError, match="nan in row 1"):
            self.sparse.check(np.array([0, np.nan]), (None, 10))

    def test_one_hot_targets_are_sent_to_the_dense_loss(self):
        with pytest.raises(ShapeError, match="Use categorical_crossentropy for one-hot targets"):
            self.sparse.check(np.eye(10), (None, 10))

    @pytest.mark.parametrize("shape", [(7,), (7, 1)])
    def test_labels_are_sent_to_the_sparse_loss(self, shape):
        with pytest.raises(ShapeError, match="Use sparse_categorical_crossentropy for integer labels"):
            losses.CategoricalCrossentropy().check(np.zeros(shape, int), (None, 10))

    def test_a_softmax_over_one_class_is_refused(self):
        with pytest.raises(ShapeError, match="binary_crossentropy with one sigmoid unit"):
            losses.CategoricalCrossentropy().check(np.zeros((7, 1)), (None, 1))

    def test_soft_binary_targets_pass(self):
        losses.BinaryCrossentropy().check(np.array([0.1, 1.2]), (None, 1))

    def test_token_labels(self):
        self.sparse.check(np.zeros((3, 5), int), (None, None, 10))
        with pytest.raises(ShapeError, match=r"labels for these predictions have shape \(batch, 6\)"):
            self.sparse.check(np.zeros((3, 5), int), (None, 6, 10))

"""Parts of one model in another: a layer's input and output, as in Keras."""

from __future__ import annotations

import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import NotCalledError


def base(k):
    x = inputs = k.Input((8, 8, 3))
    for i, filters in enumerate((4, 6)):
        x = k.layers.Conv2D(filters, 3, activation="relu", name=f"conv{i}")(x)
    return k.Model(inputs, k.layers.GlobalAveragePooling2D(name="pool")(x), name="base")


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_layer_of_a_model_is_the_output_of_another(kind):
    def build(k):
        if kind == "functional":
            return base(k)
        made = [k.layers.Conv2D(4, 3, activation="relu", name=f"conv{i}") for i in range(2)]
        return k.Sequential([k.Input((8, 8, 3)), *made, k.layers.GlobalAveragePooling2D()])

    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    ours = build(verax)
    with oracle() as keras:
        theirs = build(keras)
        theirs.set_weights(ours.get_weights())
        features = keras.Model(theirs.inputs, theirs.get_layer("conv0").output)
        expected = [np.asarray(features(x)), np.asarray(keras.Model(theirs.inputs, theirs.layers[-1].input)(x))]
        shape = theirs.get_layer("conv1").output.shape
    assert ours.get_layer("conv1").output.shape == shape
    found = [
        verax.Model(ours.inputs, ours.get_layer("conv0").output)(x),
        verax.Model(ours.inputs, ours.layers[-1].input)(x),
    ]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_parts_are_connected_whatever_the_model_has_done(tmp_path):
    x = np.ones((2, 8, 8, 3), "float32")
    model = verax.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, np.ones((2, 1)), validation_data=(x, np.ones((2, 1))), verbose=0)
    model.save(tmp_path / "m.keras")
    for each in (model, verax.saving.load_model(tmp_path / "m.keras")):
        each.evaluate(x, np.ones((2, 1)), verbose=0)
        features = verax.Model(each.inputs, each.layers[0].output)
        np.testing.assert_array_equal(features(x), each.layers[0](x))
        assert verax.Model(each.input, each.output)(x).shape == (2, 1)


def test_a_new_head_on_a_frozen_base():
    source = base(verax)
    source.trainable = False
    outputs = layers.Dense(2, name="head")(layers.Flatten()(source.get_layer("conv1").output))
    model = verax.Model(source.input, outputs)
    model.compile("adam", "mse")
    before = [w.copy() for w in source.get_weights()]
    model.fit(np.ones((4, 8, 8, 3)), np.ones((4, 2)), verbose=0)
    for a, b in zip(before, source.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [v.path for v in model.trainable_variables] == ["head/kernel", "head/bias"]


def test_several_inputs_and_none():
    a, b = layers.Input((3,)), layers.Input((3,))
    add = layers.Add()
    total = add([a, b])
    assert [t is s for t, s in zip(add.input, [a, b], strict=True)] == [True, True]
    assert add.output is total
    add([b, b])
    assert add.output is total  # its first call's
    with pytest.raises(NotCalledError, match=r"'alone'\.output"):
        _ = layers.Dense(3, name="alone").output
    assert not hasattr(layers.Dense(3), "input")


def test_a_layer_may_have_an_output_of_its_own():
    class Mine(layers.Layer):
        def __init__(self):
            super().__init__()
            self.output = layers.Dense(2)

        def call(self, x):
            return self.output(x)

    model = verax.Sequential([layers.Input((3,)), Mine()])
    assert model.layers[0].output.units == 2
    assert model(np.ones((1, 3))).shape == (1, 2)

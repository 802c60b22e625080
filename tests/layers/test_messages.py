"""What layers say when they cannot be made or called."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

from verax import layers
from verax.errors import InputError, ShapeError, UnknownNameError, VeraxError

WRONG_ARGUMENTS = [
    (lambda: layers.Dense(0), InputError, "positive integer"),
    (lambda: layers.Dense(2.5), InputError, "positive integer"),
    (lambda: layers.Dense(2, activation="rely"), UnknownNameError, "relu"),
    (lambda: layers.Conv2D(4, (3, 3, 3)), InputError, "kernel_size"),
    (lambda: layers.Conv2D(4, 0), InputError, "kernel_size"),
    (lambda: layers.Conv2D(5, 3, groups=2), InputError, "groups=2"),
    (lambda: layers.Conv2D(4, 3, padding="smae"), UnknownNameError, "same"),
    (lambda: layers.Conv2D(4, 3, padding="causal"), UnknownNameError, "padding"),
    (lambda: layers.Conv2D(4, 3, data_format="channel_last"), UnknownNameError, "channels_last"),
    (lambda: layers.MaxPooling2D(padding="full"), UnknownNameError, "padding"),
    (lambda: layers.Reshape((-1, -1)), InputError, "-1"),
    (lambda: layers.Permute((0, 1)), InputError, "counted from 1"),
    (lambda: layers.RepeatVector(0), InputError, "positive"),
    (lambda: layers.ZeroPadding2D((1, 2, 3)), InputError, "padding"),
    (lambda: layers.UpSampling2D(interpolation="linear"), UnknownNameError, "bilinear"),
    (lambda: layers.LSTM(3, dropout=2.0), InputError, "dropout"),
    (lambda: layers.GaussianNoise(-1.0), InputError, "stddev"),
    (lambda: layers.Dropout(0.5, seed="x"), InputError, "seed"),
    (lambda: layers.ReLU(max_value=-1.0), InputError, "max_value"),
    (lambda: layers.get("Dens"), UnknownNameError, "Dense"),
]


@pytest.mark.parametrize(("make", "kind", "told"), WRONG_ARGUMENTS)
def test_wrong_arguments(make, kind, told):
    with pytest.raises(kind, match=told):
        make()


WRONG_INPUTS = [
    (layers.Dense(2), (4,), "missing axis"),
    (layers.Conv2D(4, 3), (2, 8, 8), "one channel"),
    (layers.Conv2D(4, 3), (2, 8, 8, 8, 3), "Reshape the input"),
    (layers.Conv2D(4, 3), (2, 2, 8, 3), "does not fit"),
    (layers.Conv2D(4, 3, groups=2), (2, 8, 8, 3), "multiple of 2"),
    (layers.MaxPooling2D(3), (2, 2, 8, 3), "does not fit"),
    (layers.MaxPooling2D(), (2, 8, 8), "4 axes"),
    (layers.LSTM(3), (2, 8), "3 axes"),
    (layers.Reshape((5,)), (2, 8), "does not hold"),
    (layers.Permute((2, 1)), (2, 8), "3 axes"),
    (layers.Cropping2D(4), (2, 8, 9, 1), "leaves nothing"),
    (layers.Lambda(lambda x: x, output_shape=(3,)), (2, 8), "output_shape"),
]


@pytest.mark.parametrize(("layer", "shape", "told"), WRONG_INPUTS)
def test_wrong_inputs_leave_the_layer_as_it_was(layer, shape, told):
    with pytest.raises(ShapeError, match=told) as caught:
        layer(np.ones(shape, "float32"))
    assert str(layer.name) in str(caught.value)
    assert not layer.weights
    with pytest.raises(ShapeError, match=told):
        layer(layers.Input(shape[1:]))
    assert not layer.weights


def test_another_number_of_features():
    layer = layers.Dense(2)
    layer(np.ones((1, 3)))
    with pytest.raises(ShapeError, match="built for 3 features on axis -1"):
        layer(np.ones((1, 4)))
    conv = layers.Conv2D(2, 1, data_format="channels_first")
    conv(np.ones((1, 3, 5, 5)))
    with pytest.raises(ShapeError, match="built for 3 features on axis 1"):
        conv(np.ones((1, 5, 5, 3)))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(2), (None,)),
        (layers.Conv2D(2, 3), (8, 8, None)),
        (layers.LSTM(2), (8, None)),
        (layers.BatchNormalization(), (8, None)),
        (layers.PReLU(), (None, 3)),
    ],
)
def test_a_weight_cannot_depend_on_an_unknown_size(layer, shape):
    with pytest.raises(ShapeError, match="unknown size"):
        layer(layers.Input(shape))
    assert not layer.weights


@pytest.mark.parametrize(
    ("layer", "inputs", "told"),
    [
        (layers.Add(), np.ones((2, 3)), "a list of arrays"),
        (layers.Add(), [np.ones((2, 3)), np.ones((2, 4))], "axis 1"),
        (layers.Subtract(), [np.ones((2, 3))] * 3, "exactly two"),
        (layers.Concatenate(), [np.ones((2, 3)), np.ones((3, 3))], "must agree"),
        (layers.Concatenate(axis=3), [np.ones((2, 3)), np.ones((2, 3))], "must agree"),
        (layers.Dot(1), [np.ones((2, 3)), np.ones((2, 4))], "one size"),
        (layers.Dot(0), [np.ones((2, 3)), np.ones((2, 3))], "batch axis"),
    ],
)
def test_wrong_inputs_of_merging_layers(layer, inputs, told):
    with pytest.raises(VeraxError, match=told):
        layer(inputs)


def test_configuration_freezes_when_the_layer_is_built():
    layer = layers.Dropout(0.5)
    layer.rate = 0.3
    layer(np.ones((1, 2)))
    with pytest.raises(AttributeError, match="Make a new layer"):
        layer.rate = 0.1


def test_names():
    public = set(layers.__all__)
    for name in sorted(public & set(dir(keras.layers))):
        ours, theirs = getattr(layers, name), getattr(keras.layers, name)
        assert callable(ours) == callable(theirs)
    assert public - set(dir(keras.layers)) <= {"get"}
    assert all(hasattr(layers, name) for name in public)


SAID_ELSEWHERE = {"Input", "InputSpec", "Layer", "InputLayer"}
LEFT_OUT = {"lora_rank", "lora_alpha", "quantization_config", "synchronized", "weights"} | {
    "gptq_unpacked_column_size",
    "renorm",
    "renorm_clipping",
    "renorm_momentum",
}


@pytest.mark.parametrize("name", sorted({n for n in layers.__all__ if n[0].isupper()} - SAID_ELSEWHERE))
def test_arguments_are_those_of_keras_in_the_same_order(name):
    def parameters(cls):
        found = inspect.signature(cls.__init__).parameters.values()
        return {
            p.name: plain(p.default)
            for p in found
            if p.kind is not p.VAR_KEYWORD and p.name not in LEFT_OUT | {"self", "name", "dtype"}
        }

    def plain(default):  # 2 stands for (2, 2)
        while isinstance(default, tuple) and len(set(default)) == 1:
            default = default[0]
        return default

    ours, theirs = parameters(getattr(layers, name)), parameters(getattr(keras.layers, name))
    assert list(ours)[: len(theirs)] == list(theirs)
    for argument, default in theirs.items():
        if argument not in ("pool_size", "cropping"):  # Keras has defaults for some ranks only
            assert ours[argument] == default

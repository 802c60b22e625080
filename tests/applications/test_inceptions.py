"""Inception v3, Xception, Inception-ResNet v2, NASNet and ConvNeXt beside real Keras."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.applications.side_by_side import near, predictions, trained, undrawn
from tests.kernels import kernels
from verax import applications
from verax.applications import convnext, inception_v3, nasnet
from verax.errors import InputError, ShapeError
from verax.layers.residual import CustomScaleLayer, LayerScale, StochasticDepth

#: name -> the height and width of its images, and its further arguments; the last two are of functions that make
#: networks of any size, which Keras has inside.
NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "InceptionV3": (75, {}),
    "Xception": (71, {}),
    "InceptionResNetV2": (75, {}),
    "NASNet": (40, {"penultimate_filters": 96, "num_blocks": 1, "stem_block_filters": 8}),
    "ConvNeXt": (32, {"depths": (1, 1, 1, 1), "projection_dims": (4, 8, 12, 16)}),
}
#: Where the large ones are cut for training: what follows are layers of the same kinds.
CUT = {
    "InceptionV3": "mixed0",
    "Xception": "add",
    "InceptionResNetV2": "block35_1_ac",
    "NASNet": "reduction_concat_stem_2",
}


@pytest.fixture(autouse=True)
def _plain_kernels() -> Iterator[None]:
    """The forms of convolutions are compared elsewhere; plain ones compile sooner."""
    with kernels(False):
        yield


def pair(keras: Any, name: str, **arguments: Any) -> tuple[Any, Any]:
    """The same network of Keras and of ours."""
    from keras.src.applications.convnext import ConvNeXt
    from keras.src.applications.nasnet import NASNet

    size, further = NETWORKS[name]
    inner = {"NASNet": (NASNet, nasnet.NASNet), "ConvNeXt": (ConvNeXt, convnext.ConvNeXt)}
    functions = inner.get(name) or (getattr(keras.applications, name), getattr(applications, name))
    every = {"weights": None, "input_shape": (size, size, 3), **further, **arguments}
    for library in (keras, verax):
        library.utils.clear_session(free_memory=False)
    return functions[0](**every), functions[1](**every)


def patches(rows: int, size: int) -> np.ndarray:
    """Images of three by three colors, and noise: what makes them differ is large enough for every layer."""
    rng = np.random.default_rng(1)
    each = np.arange(size) * 3 // size
    colors = rng.uniform(-1, 1, (rows, 3, 3, 3))[:, each][:, :, each]
    return (colors + rng.normal(scale=0.3, size=colors.shape)).astype("float32")


def result_of(model: Any, layer: str) -> Any:
    """What a layer returned when the network was made."""
    stack = list(model.outputs)
    while stack[-1].name != layer:
        stack.extend(stack.pop().node.inputs())
    return stack[-1]


def cut(library: Any, model: Any, layer: str) -> Any:
    """The network up to a layer, with a head of its own."""
    features = result_of(model, layer) if library is verax else model.get_layer(layer).output
    x = library.layers.GlobalAveragePooling2D(name="pool")(features)
    return library.Model(model.inputs, library.layers.Dense(5, "softmax", name="scores")(x))


def plain(model: Any) -> dict[str, Any]:
    """name -> the configuration of a layer of Keras and its calls. The axes -1 and 3 are the same."""
    text = json.dumps(model.get_config()).replace('"axis": -1', '"axis": 3')
    text = re.sub(r'"input_layer_\d+"', '"input_layer"', text)  # a Sequential numbers its own
    return {layer["name"]: layer for layer in json.loads(text)["layers"]}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_predicts_is_described_and_trains_as_in_keras(name: str):
    size, y = NETWORKS[name][0], np.array([0, 1, 2, 3])
    with undrawn() as keras:
        theirs, ours = pair(keras, name, classes=5, classifier_activation=None)
        predictions(theirs, ours, patches(2, size))
        loss, targets = "mean_squared_error", np.eye(5, dtype="float32")[y]
        if name in CUT:
            theirs, ours = (cut(library, model, CUT[name]) for library, model in ((keras, theirs), (verax, ours)))
            loss, targets = "sparse_categorical_crossentropy", y
        here = verax.models.model_from_json(theirs.to_json())
        for model in (ours, here):
            assert plain(keras.models.model_from_json(model.to_json())) == plain(theirs)
        trained(keras, theirs, ours, patches(4, size), targets, loss)


@pytest.mark.parametrize("name", ["NASNet", "ConvNeXt"])
@pytest.mark.parametrize("pooling", [None, "avg", "max"])
def test_features_without_the_head(name: str, pooling: str | None):
    with undrawn() as keras:
        theirs, ours = pair(keras, name, include_top=False, pooling=pooling)
        assert ours.output_shape == theirs.output_shape
        assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
        if pooling == "max":
            predictions(theirs, ours, patches(2, NETWORKS[name][0]))


# ---- ConvNeXt's options and layers -----------------------------------------------------------------------------------

TINY = {"depths": (1, 1, 1, 2), "projection_dims": (4, 8, 12, 16), "include_top": False, "weights": None}


def test_preprocessing_is_a_part_of_convnext_for_three_channels():
    def first(**arguments: Any) -> Any:
        return convnext.ConvNeXt(**TINY, **arguments).layers[1]

    layer = first()
    assert layer.name == "convnext_prestem_normalization"
    color = np.array([[[[123.675, 116.28, 103.53 + 57.375]]]], "float32")
    near(layer(color).reshape(3), [0, 0, 1], 1e-6)
    assert first(include_preprocessing=False).name == first(input_shape=(32, 32, 1)).name == "convnext_stem"
    assert first(input_tensor=verax.Input((32, 32, 1))).name == "convnext_stem"
    x = np.ones((1, 2, 2, 3))
    assert convnext.preprocess_input(x) is x


def test_stochastic_depth_grows_with_the_depth_and_is_written_as_keras_writes_it():
    arguments = {**TINY, "drop_path_rate": 0.8, "layer_scale_init_value": None, "input_shape": (32, 32, 3)}
    with undrawn() as keras:
        from keras.src.applications.convnext import ConvNeXt

        theirs, ours = ConvNeXt(**arguments), convnext.ConvNeXt(**arguments)
        assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
        keras.utils.clear_session(free_memory=False)
        assert plain(keras.models.model_from_json(ours.to_json())) == plain(theirs)
        rates = [one.drop_path_rate for one in ours.layers if isinstance(one, StochasticDepth)]
        near(rates, [0.2, 0.4, 0.6, 0.8], 1e-12)
        predictions(theirs, ours, patches(2, 32))  # in inference everything is kept


def test_stochastic_depth_drops_rows_and_keeps_the_mean():
    layer, x = StochasticDepth(0.25), jnp.ones((4000, 2, 3))
    y = np.asarray(layer(x, training=True))
    kept = y[:, 0, 0] > 0
    np.testing.assert_allclose(y, np.where(kept[:, None, None], 1 / 0.75, 0) * np.ones((1, 2, 3)), rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)
    assert (layer(x) == x).all()
    assert not np.asarray(StochasticDepth(1.0)(x, training=True)).any()  # Keras: NaN
    assert (StochasticDepth(0.0)(x, training=True) == x).all()


def test_facts_name_stochastic_depth():
    model = verax.Sequential([verax.Input((3,)), StochasticDepth(0.5), verax.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(np.ones((8, 3)), np.ones(8), verbose=0)
    assert "stochastic depth on" in str(history.readings["loss"][0])


@pytest.mark.parametrize(
    ("module", "layer", "x"),
    [
        ("convnext", LayerScale(0.5, 3), np.ones((2, 3), "float32")),
        ("convnext", StochasticDepth(0.1), np.ones((2, 3), "float32")),
        ("inception_resnet_v2", CustomScaleLayer(0.2), [np.ones((2, 3), "float32")] * 2),
    ],
)
def test_a_layer_of_an_application_is_read_and_written_as_in_keras(module: str, layer: Any, x: Any):
    with undrawn() as keras:
        described = verax.saving.serialize_keras_object(layer)
        theirs = keras.saving.deserialize_keras_object(described)
        assert type(theirs).__module__ == f"keras.src.applications.{module}"
        assert type(theirs).__name__ == type(layer).__name__
        near(layer(x), theirs(x))
        again = verax.saving.deserialize_keras_object(keras.saving.serialize_keras_object(theirs))
        assert type(again) is type(layer)
        assert layer.get_config().items() <= again.get_config().items()
    verax.testing.check_layer(layer, x)


def test_layers_compute_in_half_precision():
    half = {"dtype": "mixed_bfloat16"}
    x = jnp.ones((2, 3), "bfloat16")
    for layer, inputs in ((LayerScale(0.5, 3, **half), x), (StochasticDepth(0.5, **half), x),
                          (CustomScaleLayer(0.2, **half), [x, x])):  # fmt: skip
        assert layer(inputs, training=True).dtype == jnp.bfloat16


# ---- what does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: applications.InceptionV3(weights=None, input_shape=(74, 80, 3)), ShapeError, "at least 75"),
        (lambda: applications.Xception(weights=None, input_shape=(70, 71, 3)), ShapeError, "at least 71"),
        (lambda: applications.InceptionResNetV2(weights=None, input_shape=(75, 74, 3)), ShapeError, "at least 75"),
        (lambda: applications.NASNetMobile(weights=None, input_shape=(31, 32, 3)), ShapeError, "at least 32"),
        (lambda: applications.ConvNeXtTiny(weights=None, input_shape=(31, 32, 3)), ShapeError, "at least 32"),
        (lambda: applications.Xception(weights="nowhere.h5"), InputError, "no such file"),
        (lambda: applications.ConvNeXtTiny(classes=10), InputError, "1000 classes"),
        (lambda: nasnet.NASNet(weights=None, penultimate_filters=100), InputError, "multiple of 96"),
        (lambda: nasnet.NASNet(default_size=100), InputError, "224 .NASNetMobile. and 331"),
        (
            lambda: applications.NASNetLarge(include_top=False, weights=None, input_shape=(None, None, 3)),
            ShapeError,
            "depends on the height and the width",
        ),
        (lambda: convnext.ConvNeXt((1, 1, 1), (4, 4, 4, 4)), InputError, "depths=.* four stages"),
        (lambda: convnext.ConvNeXt((1, 1, 1, 1), (4, 4, 0, 4)), InputError, "projection_dims=.* four stages"),
        (lambda: convnext.ConvNeXt((1, 1, 1, 1), (4, 4, 4, 4), weights="imagenet"), InputError, "ConvNeXtTiny"),
        (lambda: convnext.ConvNeXt((1, 1, 1, 1), (4, 4, 4, 4), 1.5), InputError, "drop_path_rate"),
        (lambda: StochasticDepth(-0.1), InputError, "drop_path_rate"),
    ],
)
def test_a_wrong_argument_is_named(make: Any, error: type[Exception], text: str):
    with pytest.raises(error, match=f"(?s){text}"):
        make()


@pytest.mark.parametrize("make", [applications.NASNetMobile, applications.ConvNeXtTiny])
def test_some_networks_are_for_channels_last(make: Any):
    verax.config.set_image_data_format("channels_first")
    with pytest.raises(InputError, match="channels last only"):
        make(weights=None)


def test_channels_first_gives_the_same_numbers():
    def predicted(x: np.ndarray, weights: Any = None) -> tuple[Any, Any]:
        image = verax.Input(x.shape[1:])
        features = inception_v3.along(image, [(4, 3, 2, "valid"), "max"])
        parts = [(4, 1)], ["average", (3, (1, 3))], [(2, 1), (2, 3)]
        model = verax.Model(image, inception_v3.mixed(features, parts))
        model.set_weights(weights or model.get_weights())
        return model.predict(x, verbose=0), model.get_weights()

    x = patches(2, 20)
    expected, weights = predicted(x)
    verax.config.set_image_data_format("channels_first")
    found, _ = predicted(np.moveaxis(x, -1, 1), weights)
    near(np.moveaxis(found, 1, -1), expected)


def test_every_size_of_convnext_has_keras_arguments_and_says_what_it_is():
    for size in ("Tiny", "Small", "Base", "Large", "XLarge"):
        function = getattr(applications, f"ConvNeXt{size}")
        assert inspect.signature(function).parameters["name"].default == f"convnext_{size.lower()}"
        assert f"ConvNeXt{size}" in function.__doc__


def test_a_layer_made_with_the_name_none_is_described_by_the_name_it_got():
    assert verax.layers.Dense(2, name=None).get_config() == {"name": "dense", "units": 2}

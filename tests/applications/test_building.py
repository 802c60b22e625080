"""What the networks share: their arguments, their image, their files of weights."""

from __future__ import annotations

import hashlib
import inspect
import pickle

import numpy as np
import pytest

import verax
from tests.applications import side_by_side, table
from tests.oracle import oracle
from tests.servers import serving
from verax import applications
from verax.applications import building
from verax.errors import DownloadError, InputError, ShapeError, UnknownNameError, VeraxWarning

TABLE = table.rows()
THERE = [name for name in TABLE if hasattr(applications, name)]
VGG16, ResNet50, DenseNet121 = applications.VGG16, applications.ResNet50, applications.DenseNet121


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"weights": "imagnet"}, InputError, "weights='imagnet'"),
        ({"weights": 3}, InputError, "weights=3"),
        ({"weights": "imagenet", "classes": 10}, InputError, "classes=10"),
        ({"weights": "imagenet", "classifier_activation": "relu"}, InputError, "softmax"),
        ({"weights": "imagenet", "input_shape": (200, 200, 3)}, ShapeError, r"\(224, 224, 3\)"),
        ({"weights": "imagenet", "include_top": False, "input_shape": (64, 64, 1)}, ShapeError, "3 channels"),
        ({"input_shape": (31, 64, 3)}, ShapeError, "at least 32"),
        ({"input_shape": (1, 64, 64, 3)}, ShapeError, "without the batch"),
        ({"input_shape": ("64", 64, 3)}, ShapeError, "without the batch"),
        ({"input_shape": (None, 64, 3)}, ShapeError, "include_top=True"),
        ({"pooling": "mean"}, UnknownNameError, "'max'"),
        ({"classes": 0}, InputError, "classes=0"),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, InputError, "symbolic"),
    ],
)
def test_wrong_arguments(arguments, error, text):
    with pytest.raises(error, match=text) as caught:
        ResNet50(**{"weights": None, **arguments})
    assert "ResNet50" in str(caught.value) or error is UnknownNameError


def test_a_number_of_channels_that_is_seldom_meant():
    with pytest.warns(VeraxWarning, match="5") as caught:
        net = VGG16(include_top=False, weights=None, input_shape=(32, 32, 5))
    assert caught[0].filename == __file__
    assert net.output_shape == (None, 1, 1, 512)


def test_channels_first():
    verax.config.set_image_data_format("channels_first")
    with pytest.raises(InputError, match="channels_last"):
        DenseNet121(weights=None)
    net = VGG16(include_top=False, weights=None)
    assert net.input_shape == (None, 3, None, None)
    assert net.output_shape == (None, 512, None, None)
    with side_by_side.undrawn() as keras:
        keras.config.set_image_data_format("channels_first")
        try:
            theirs = keras.applications.ResNet50V2(include_top=False, weights=None, input_shape=(3, 40, 32))
        finally:
            keras.config.set_image_data_format("channels_last")
        net = applications.ResNet50V2(include_top=False, weights=None, input_shape=(3, 40, 32))
    assert net.output_shape == theirs.output_shape
    assert [tuple(w.shape) for w in net.weights] == [tuple(w.shape) for w in theirs.weights]


def test_a_network_on_top_of_other_layers():
    image = verax.Input((40, 40, 1))
    colored = verax.layers.Concatenate()([image, image, image])
    net = VGG16(include_top=False, weights=None, input_tensor=colored, pooling="avg", name="mine")
    with oracle() as keras:
        theirs = keras.Input((40, 40, 1))
        theirs = keras.applications.VGG16(
            include_top=False, weights=None, input_tensor=keras.layers.Concatenate()([theirs] * 3), pooling="avg"
        )
    assert [layer.name for layer in net.layers] == [layer.name for layer in theirs.layers]
    assert net.name == "mine"
    assert net.predict(np.zeros((2, 40, 40, 1)), verbose=0).shape == (2, 512)
    assert len(net.inputs) == 1


def test_weights_of_a_file(tmp_path):
    arguments = {"include_top": False, "input_shape": (32, 32, 3)}
    one = VGG16(weights=None, **arguments)
    one.save_weights(tmp_path / "one.npz")
    for path in (tmp_path / "one.npz", str(tmp_path / "one.npz")):
        for ours, theirs in zip(VGG16(weights=path, **arguments).get_weights(), one.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def _homes(tmp_path, monkeypatch):
    monkeypatch.setenv("VERAX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    verax.utils.disable_interactive_logging()
    yield
    verax.utils.enable_interactive_logging()


@pytest.mark.usefixtures("_homes")
def test_weights_trained_on_imagenet_are_fetched_checked_and_kept(tmp_path, monkeypatch):
    shape = (32, 32, 3)
    one = VGG16(include_top=False, weights=None, input_shape=shape)
    one.save_weights(tmp_path / "one.npz")
    held = (tmp_path / "one.npz").read_bytes()

    def files(store: str, digest: str | None) -> building.WeightFiles:
        return building.weight_files("", "small", (None, digest), ends=(".npz", "_notop.npz"), store=store)

    def make(found: building.WeightFiles) -> verax.Model:
        body = inspect.getclosurevars(VGG16).nonlocals["body"]
        return building.application("small", found)(body)(include_top=False, input_shape=shape)

    digest = hashlib.md5(held).hexdigest()
    with serving({"/small_notop.npz": held}) as seen:
        for _ in range(2):
            found = make(files(f"{seen.address}/", digest))
        assert len(seen) == 1
    for ours, theirs in zip(found.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    kept = tmp_path / "home/models/small_notop.npz"
    theirs = tmp_path / "keras/models/small_notop.npz"
    theirs.parent.mkdir(parents=True)
    kept.rename(theirs)
    for known in (digest, None):  # what Keras has fetched is used where it is
        make(files("http://127.0.0.1:9/", known))
    theirs.unlink()
    with pytest.raises(DownloadError, match=rf"put it at {kept}.*{digest}"):
        make(files("http://127.0.0.1:9/", digest))


@pytest.mark.usefixtures("_homes")
@pytest.mark.parametrize("name", THERE)
def test_files_of_weights_are_those_of_keras(name: str, monkeypatch):
    function = getattr(applications, name)
    found = [table.asked_for(monkeypatch, building, function, include_top=top) for top in (True, False)]
    assert found == TABLE[name]["files"]


@pytest.mark.parametrize("name", THERE)
def test_layers_with_weights_trained_on_imagenet(name: str, monkeypatch):
    if "pretrained" not in TABLE[name]:
        return  # the same as without, in Keras
    monkeypatch.setattr(building, "get_file", lambda *args, **kwargs: "")
    monkeypatch.setattr(verax.Model, "load_weights", lambda *args, **kwargs: None)
    with side_by_side.undrawn():
        assert table.short(table.digits(getattr(applications, name)())) == TABLE[name]["pretrained"]


@pytest.mark.parametrize("name", THERE)
def test_a_function_says_what_it_is(name: str):
    function = getattr(applications, name)
    assert function.__name__ == name
    assert "Args:" in (function.__doc__ or "")
    assert pickle.loads(pickle.dumps(function)) is function

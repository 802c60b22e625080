"""MobileNet, of its three versions, beside Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import verax
from tests.applications.beside_keras import (
    assert_predicts_alike,
    assert_reads_alike,
    assert_trains_alike,
    compiled_fast,
    images,
    pair,
)
from tests.applications.side_by_side import undrawn
from verax import applications
from verax.applications.building import WeightFile
from verax.errors import InputError, ShapeError, UnknownNameError, VeraxWarning

__all__ = ["compiled_fast"]

SIDE = 32
X = images(24, SIDE)
Y = np.random.default_rng(1).integers(0, 7, 24)
HEADED = {"weights": None, "input_shape": (SIDE, SIDE, 3), "classes": 7}
LOGITS = {**HEADED, "classifier_activation": None}
BARE = {"weights": None, "input_shape": (SIDE, SIDE, 3), "include_top": False}


class _AskedError(Exception):
    """A file would have been fetched."""


def fetches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str | None]]:
    """The files that would be fetched: (name, address, hash)."""
    asked: list[tuple[str, str, str | None]] = []

    def fetched(file: WeightFile) -> str:
        asked.append((file.name, file.address, file.file_hash))
        raise _AskedError

    monkeypatch.setattr(WeightFile, "fetched", fetched)
    return asked


def test_mobilenet_trains_as_in_keras():
    assert_trains_alike(*pair("MobileNet", gain=1.0, **HEADED, alpha=0.25), X, Y)


def test_mobilenet_v2_trains_as_in_keras():
    # Its gradients are so large at random weights that longer steps make rounding visible.
    shape = {**HEADED, "input_shape": (64, 64, 3)}
    assert_trains_alike(*pair("MobileNetV2", **shape, alpha=0.35), images(24, 64), Y, learning_rate=1e-6)


def test_mobilenet_v3_trains_as_in_keras():
    assert_trains_alike(*pair("MobileNetV3Small", **HEADED, alpha=0.25, include_preprocessing=False), X, Y)


@pytest.mark.parametrize(
    ("name", "further"),
    [
        ("MobileNet", {"alpha": 0.5, "depth_multiplier": 2, "pooling": "max"}),
        ("MobileNetV3Large", {"alpha": 0.25, "pooling": None, "include_preprocessing": False}),
    ],
)
def test_features_are_those_of_keras(name: str, further: dict[str, Any]):
    assert_predicts_alike(*pair(name, **BARE, **further), X[:2])


def test_a_minimalistic_network_predicts_as_in_keras():
    ours, theirs = pair("MobileNetV3Small", **LOGITS, minimalistic=True, alpha=1.5, dropout_rate=0)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert_predicts_alike(ours, theirs, X[:2] * 127.5 + 127.5)


@pytest.mark.parametrize(("name", "alpha"), [("MobileNet", 0.35), ("MobileNetV2", 1.3), ("MobileNetV3Small", 0.35)])
def test_a_configuration_goes_both_ways(name: str, alpha: float):
    x = X[:2] if name == "MobileNetV3Small" else None  # it has sums and products between its layers
    assert_reads_alike(*pair(name, gain=3.0, **LOGITS, alpha=alpha), x)


def test_names_say_the_width_and_the_size():
    with undrawn():
        assert applications.MobileNet(weights=None, alpha=0.25, input_shape=(64, 48, 3)).name == "mobilenet_0.25_64"
        assert applications.MobileNet(weights=None, include_top=False).name == "mobilenet_1.00_None"
        assert applications.MobileNetV2(weights=None, input_tensor=verax.Input((96, 96, 3))).name == (
            "mobilenetv2_1.00_96"
        )
        assert applications.MobileNetV2(weights=None, alpha=0.35, name="mine").name == "mine"


def test_a_network_begins_at_a_tensor():
    image = verax.Input((SIDE, SIDE, 3), name="image")
    scaled = verax.layers.Rescaling(2.0)(image)
    with undrawn():
        model = applications.MobileNetV3Small(weights=None, alpha=0.25, include_top=False, input_tensor=scaled)
    assert [tensor.name for tensor in model.inputs] == ["image"]


def test_version_3_takes_images_of_any_size():
    with undrawn():
        model = applications.MobileNetV3Small(weights=None, alpha=0.25, classes=3)
    assert model.input_shape == (None, None, None, 3)
    assert model.compute_output_shape((None, 48, 32, 3)) == (None, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("MobileNet", {"alpha": 0.3}, InputError, "alpha=0.25 or 0.5 or 0.75 or 1.0 only"),
        ("MobileNet", {"alpha": 0, "weights": None}, InputError, "alpha=0"),
        ("MobileNet", {"depth_multiplier": 2}, InputError, "there are such weights for 1 only"),
        ("MobileNet", {"input_shape": (100, 100, 3)}, ShapeError, r"\(224, 224, 3\)"),
        ("MobileNet", {"weights": None, "input_shape": (31, 32, 3)}, ShapeError, "at least 32"),
        ("MobileNetV2", {"alpha": 0.25}, InputError, "1.3 or 1.4 only"),
        ("MobileNetV2", {"weights": None, "input_shape": (None, None, 3)}, ShapeError, "size that is known"),
        ("MobileNetV2", {"weights": None, "pooling": "mean"}, UnknownNameError, "pooling"),
        ("MobileNetV3Small", {"alpha": 0.5}, InputError, "0.75 or 1.0 only"),
        ("MobileNetV3Large", {"alpha": 0.75, "minimalistic": True}, InputError, "alpha=1.0 only"),
        ("MobileNetV3Large", {"weights": None, "input_shape": (224, 16, 3)}, ShapeError, "at least 32"),
        ("MobileNetV3Large", {"classes": 10}, InputError, "1000 classes"),
        ("MobileNetV3Large", {"weights": "nowhere.h5"}, InputError, "no such file"),
    ],
)
def test_a_wrong_argument_is_named(name: str, arguments: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        getattr(applications, name)(**arguments)


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small"])
def test_a_tensor_and_a_shape_that_differ_are_refused(name: str):
    with pytest.raises(ShapeError, match="different things of an image"):
        getattr(applications, name)(weights=None, input_tensor=verax.Input((64, 64, 3)), input_shape=(64, 96, 3))


@pytest.mark.parametrize(
    ("name", "arguments", "address", "file_hash"),
    [
        ("MobileNet", {"alpha": 0.5, "input_shape": (160, 160, 3)}, "mobilenet/mobilenet_5_0_160_tf.h5", None),
        ("MobileNet", {"include_top": False}, "mobilenet/mobilenet_1_0_224_tf_no_top.h5", None),
        (
            "MobileNetV2",
            {"alpha": 1, "input_shape": (96, 96, 3)},
            "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96.h5",
            None,
        ),
        (
            "MobileNetV3Small",
            {"minimalistic": True, "include_top": False},
            "mobilenet_v3/weights_mobilenet_v3_small_minimalistic_224_1.0_float_no_top_v2.h5",
            "cde8136e733e811080d9fcd8a252f7e4",
        ),
    ],
)
def test_weights_are_asked_for_where_keras_keeps_them(monkeypatch, name, arguments, address, file_hash):
    asked = fetches(monkeypatch)
    with pytest.raises(_AskedError):
        getattr(applications, name)(**arguments)
    store = "https://storage.googleapis.com/tensorflow/keras-applications/"
    assert asked == [(address.rpartition("/")[2], store + address, file_hash)]


def test_a_size_without_weights_of_its_own_is_told(monkeypatch):
    fetches(monkeypatch)
    with pytest.warns(VeraxWarning, match="224 x 224, and these are 100 x 100"), pytest.raises(_AskedError):
        applications.MobileNetV2(include_top=False, input_shape=(100, 100, 3))

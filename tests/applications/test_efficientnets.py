"""EfficientNet and EfficientNetV2 beside Keras."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import verax
from tests.applications.beside_keras import (
    assert_predicts_alike,
    assert_reads_alike,
    assert_trains_alike,
    both,
    compiled_fast,
    images,
    pair,
)
from tests.applications.side_by_side import undrawn
from verax import applications
from verax.applications import building, efficientnet, efficientnet_v2
from verax.errors import ShapeError

__all__ = ["compiled_fast"]

SIDE = 32
X = images(24, SIDE) * 127.5 + 127.5
Y = np.random.default_rng(1).integers(0, 7, 24)
HEADED = {"weights": None, "input_shape": (SIDE, SIDE, 3), "classes": 7}
BARE = {"weights": None, "input_shape": (SIDE, SIDE, 3), "include_top": False}
WIDTH, DEPTH = 0.25, 0.26


def small(library: ModuleType) -> Any:
    """An EfficientNet of fewer and narrower blocks than any that has a name."""
    if library is verax:
        files = building.weight_files("", "small", (None, None))
        make = building.application("small", files, default_size=SIDE)(
            lambda net: efficientnet._network(net, WIDTH, DEPTH, 0.2)
        )
        return make(**HEADED)
    from keras.src.applications import efficientnet as theirs

    return theirs.EfficientNet(WIDTH, DEPTH, SIDE, 0.2, name="small", **HEADED)


def small_v2(library: ModuleType) -> Any:
    """An EfficientNetV2 of fewer and narrower blocks than any that has a name."""
    if library is verax:
        return efficientnet_v2._sized("B0", efficientnet_v2._B, SIDE, width=WIDTH, depth=DEPTH)(**HEADED)
    from keras.src.applications import efficientnet_v2 as theirs

    return theirs.EfficientNetV2(WIDTH, DEPTH, SIDE, name="efficientnetv2-b0", **HEADED)


@pytest.mark.parametrize("make", [small, small_v2])
def test_trains_as_in_keras(make: Any):
    ours, theirs = both(make)
    rates = [layer.rate for layer in ours.layers if isinstance(layer, verax.layers.Dropout)]
    assert rates == pytest.approx([layer.rate for layer in theirs.layers if type(layer).__name__ == "Dropout"])
    assert_trains_alike(ours, theirs, X, Y)


def test_features_are_those_of_keras():
    assert_predicts_alike(*pair("EfficientNetB0", gain=3.0, **BARE, pooling="max"), X[:2])


@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetV2B0"])
def test_a_configuration_goes_both_ways(name: str):
    assert_reads_alike(*pair(name, **HEADED))


@pytest.mark.parametrize("make", [applications.EfficientNetV2B0, applications.EfficientNetV2S])
def test_pixels_are_made_ready_as_keras_does(make: Any):
    name = make.__name__

    def first(library: ModuleType) -> Any:
        model = getattr(library.applications, name)(**BARE)
        end = [layer.name for layer in model.layers].index("stem_conv")
        return library.Sequential([library.Input((SIDE, SIDE, 3)), *model.layers[1:end]])

    with undrawn() as keras:
        expected = np.asarray(first(keras)(X[:2]))
        np.testing.assert_allclose(first(verax)(X[:2]), expected, rtol=1e-5, atol=1e-6)


def test_a_network_of_version_2_may_have_any_name_and_number_of_channels():
    with undrawn():
        model = applications.EfficientNetV2B0(weights=None, input_shape=(32, 32, 1), include_top=False, name="mine")
    assert model.name == "mine"
    assert model.output_shape == (None, 1, 1, 1280)


def test_imagenets_weights_come_with_a_division_by_the_spread(monkeypatch):
    monkeypatch.setattr(building.WeightFile, "fetched", lambda file: file.name)
    loaded: list[str] = []
    monkeypatch.setattr(verax.Model, "load_weights", lambda self, path: loaded.append(path))
    with undrawn():
        model = applications.EfficientNetB0(include_top=False)
    last = model.get_layer("rescaling_1")
    np.testing.assert_allclose(last.scale, [1 / math.sqrt(s) for s in (0.229, 0.224, 0.225)])
    assert loaded == ["efficientnetb0_notop.h5"]


def test_a_size_that_is_not_the_weights_own_is_refused():
    with pytest.raises(ShapeError, match=r"ImageNet's weights are for \(260, 260, 3\)"):
        applications.EfficientNetB2(input_shape=(224, 224, 3))
    with pytest.raises(ShapeError, match="at least 32"):
        applications.EfficientNetV2S(weights=None, input_shape=(16, 16, 3))

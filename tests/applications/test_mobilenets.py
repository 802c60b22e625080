"""MobileNet, of its three versions, beside Keras."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import verax
from tests.applications.beside_keras import assert_predicts_alike, compiled_fast, assert_trains_alike, both, undrawn
from verax import applications
from verax.errors import InputError, ShapeError, VeraxWarning

SIDE = 32
X = np.random.default_rng(0).uniform(-1, 1, (24, SIDE, SIDE, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 7, 24)
HEADED = {"weights": None, "input_shape": (SIDE, SIDE, 3), "classes": 7}
BARE = {"weights": None, "input_shape": (SIDE, SIDE, 3), "include_top": False}


def pair(name: str, **arguments: Any) -> tuple[Any, Any]:
    return both(lambda library: getattr(library.applications, name)(**arguments))


@pytest.mark.parametrize(
    ("name", "further"),
    [
        ("MobileNet", {"alpha": 0.25}),
        ("MobileNetV2", {"alpha": 0.35}),
        ("MobileNetV3Small", {"alpha": 0.25, "include_preprocessing": False}),
    ],
)
def test_predicts_and_trains_as_in_keras(name: str, further: dict[str, Any]):
    ours, theirs = pair(name, **HEADED, **further)
    assert_predicts_alike(ours, theirs, X[:4])
    assert_trains_alike(ours, theirs, X, Y)


@pytest.mark.parametrize(
    ("name", "further"),
    [
        ("MobileNet", {"alpha": 0.5, "depth_multiplier": 2, "pooling": "max"}),
        ("MobileNetV2", {"alpha": 1.3, "pooling": "avg"}),
        ("MobileNetV3Small", {"minimalistic": True, "alpha": 0.5, "pooling": "max"}),
        ("MobileNetV3Large", {"alpha": 0.25, "pooling": None}),
    ],
)
def test_features_are_those_of_keras(name: str, further: dict[str, Any]):
    ours, theirs = pair(name, **BARE, **further)
    assert_predicts_alike(ours, theirs, X[:2])

"""Inception v3, Xception, Inception-ResNet v2 and NASNet beside real Keras: predictions, training, configurations."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import verax
from tests.applications.side_by_side import images, near, predictions, trained, undrawn
from verax import applications
from verax.applications import nasnet
from verax.errors import InputError, ShapeError

#: name -> (the least size of an image, where it is cut for training: the rest is of the same layers).
NETWORKS = {
    "InceptionV3": (75, "mixed4"),
    "Xception": (71, "add_3"),
    "InceptionResNetV2": (75, "block35_2_ac"),
}
SMALL_NASNET = {"penultimate_filters": 96, "num_blocks": 1, "stem_block_filters": 8, "weights": None}


def pair(keras: Any, name: str, **arguments: Any) -> tuple[Any, Any]:
    """A network of Keras and ours."""
    found: list[Any] = []
    for library in (keras, verax):
        library.utils.clear_session(free_memory=False)
        if name == "NASNet":
            from keras.src.applications.nasnet import NASNet

            function, arguments = NASNet if library is keras else nasnet.NASNet, {**SMALL_NASNET, **arguments}
        else:
            function = getattr(library.applications, name)
        found.append(function(**{"weights": None, **arguments}))
    return found[0], found[1]


def found_in(model: Any, layer: str) -> Any:
    """What a layer returned in a network of ours."""
    stack = list(model.outputs)
    while stack[-1].name != layer:
        stack.extend(stack.pop().node.inputs())
    return stack[-1]


def cut(library: Any, model: Any, layer: str) -> Any:
    """The network up to a layer, with a head of its own."""
    output = model.get_layer(layer).output if library is not verax else found_in(model, layer)
    x = library.layers.GlobalAveragePooling2D(name="pool")(output)
    return library.Model(model.inputs, library.layers.Dense(5, "softmax", name="scores")(x))


@pytest.mark.parametrize("name", [*NETWORKS, "NASNet"])
def test_a_network_predicts_what_keras_predicts(name: str):
    size = NETWORKS[name][0] if name in NETWORKS else 40
    with undrawn() as keras:
        theirs, ours = pair(keras, name, input_shape=(size, size, 3), classes=5, classifier_activation=None)
        predictions(keras, theirs, ours, images(2, size, size))


@pytest.mark.parametrize("name", [*NETWORKS, "NASNet"])
def test_training_changes_what_it_changes_in_keras(name: str):
    size, layer = NETWORKS.get(name, (40, ""))
    with undrawn() as keras:
        theirs, ours = pair(keras, name, input_shape=(size, size, 3), classes=5)
        if layer:
            theirs, ours = cut(keras, theirs, layer), cut(verax, ours, layer)
        x = images(6, size, size)
        predictions(keras, theirs, ours, x)
        trained(keras, theirs, ours, x, np.array([0, 1, 2, 3, 4, 0]), 1e-3)

"""VGG, ResNet and DenseNet against real Keras: predictions of whole networks, training of short ones, and heads."""

from __future__ import annotations

import numpy as np
import pytest

from tests.applications.side_by_side import images, predictions, trained, undrawn
from verax import applications
from verax.applications import densenet, resnet, resnet_v2
from verax.applications.building import Network

SMALL = {"weights": None, "input_shape": (32, 32, 3), "classes": 5}


@pytest.mark.parametrize("name", ["VGG16", "ResNet50"])
def test_a_whole_network_predicts_what_keras_predicts(name: str):
    with undrawn() as keras:
        theirs = getattr(keras.applications, name)(**SMALL)
        ours = getattr(applications, name)(**SMALL)
        predictions(theirs, ours, images(3, 32, 32))


def short(keras, family: str, **arguments):
    """(Keras', ours): a network with two blocks in a stage, which compiles in seconds."""
    from keras.src.applications import densenet as their_densenet
    from keras.src.applications import resnet as theirs

    every = {"input_tensor": None, "classifier_activation": "softmax", "name": "short", "pooling": None, **arguments}
    blocks = (2, 2)
    if family == "DenseNet":
        blocks = (1, 2, 1, 1)
        made, body = their_densenet.DenseNet(list(blocks), **every), densenet._densenet
    elif family == "ResNet":

        def stages(x):
            x = theirs.stack_residual_blocks_v1(x, 64, 2, stride1=1, name="conv2")
            return theirs.stack_residual_blocks_v1(x, 128, 2, name="conv3")

        made, body = theirs.ResNet(stages, False, True, **every), resnet._resnet
    elif family == "ResNetV2":

        def stages(x):
            x = theirs.stack_residual_blocks_v2(x, 64, 2, name="conv2")
            return theirs.stack_residual_blocks_v2(x, 128, 2, name="conv3")

        made, body = theirs.ResNet(stages, True, True, **every), resnet_v2._resnet
    else:
        return keras.applications.VGG16(**every), applications.VGG16(**every)
    net = Network(family, **every)
    return made, net.finish(body(net, blocks))


@pytest.mark.parametrize("family", ["ResNet", "ResNetV2", "DenseNet"])
def test_training_changes_what_it_changes_in_keras(family: str):
    with undrawn() as keras:
        theirs, ours = short(keras, family, include_top=True, **SMALL)
        y = np.array([0, 1, 2, 3, 4, 0])
        trained(keras, theirs, ours, images(6, 32, 32), y, "sparse_categorical_crossentropy")


def test_training_vgg_changes_what_it_changes_in_keras():
    with undrawn() as keras:  # without the head, whose weights are most of the work
        theirs, ours = short(keras, "VGG", include_top=False, **{**SMALL, "pooling": "avg"})
        trained(keras, theirs, ours, images(6, 32, 32), np.zeros((6, 512), "float32"), "mean_squared_error")


@pytest.mark.parametrize("family", ["VGG", "ResNet", "ResNetV2", "DenseNet"])
def test_features_without_the_head(family: str):
    with undrawn() as keras:
        theirs, ours = short(keras, family, include_top=False, pooling="max", **SMALL)
        assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
        predictions(theirs, ours, images(3, 32, 32))

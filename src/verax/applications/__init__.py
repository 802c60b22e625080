"""Networks for images, by Keras' names: ``verax.applications.ResNet50(weights="imagenet")``.

Each is a function that makes a functional model with Keras' layers, in Keras' order and by Keras' names, so that the
weights Keras publishes fit. They are fetched when they are first asked for, checked by their hash, and kept in
``$VERAX_HOME/models`` or ``~/.verax/models``; a file that Keras has fetched already is used. The module of a family has
its ``preprocess_input``, which makes images ready, and ``decode_predictions``, which names what was predicted.
"""

from __future__ import annotations

from verax.applications import (
    imagenet_utils,
    vgg16,
    vgg19,
)
from verax.applications.vgg import VGG16, VGG19

__all__ = [
    "VGG16",
    "VGG19",
    "imagenet_utils",
    "vgg16",
    "vgg19",
]

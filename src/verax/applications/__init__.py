"""Networks for images, by Keras' names: ``verax.applications.ResNet50(weights="imagenet")``.

Each is a function that makes a functional model with Keras' layers, in Keras' order and by Keras' names, so that the
weights Keras publishes fit. They are fetched when they are first asked for, checked by their hash, and kept in
``$VERAX_HOME/models`` or ``~/.verax/models``; a file that Keras has fetched already is used. The module of a family has
its ``preprocess_input``, which makes images ready, and ``decode_predictions``, which names what was predicted.
"""

from __future__ import annotations

from verax.applications import (
    densenet,
    efficientnet,
    efficientnet_v2,
    imagenet_utils,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    resnet50,
    resnet_v2,
    vgg16,
    vgg19,
)
from verax.applications.densenet import DenseNet121, DenseNet169, DenseNet201
from verax.applications.efficientnet import (
    EfficientNetB0,
    EfficientNetB1,
    EfficientNetB2,
    EfficientNetB3,
    EfficientNetB4,
    EfficientNetB5,
    EfficientNetB6,
    EfficientNetB7,
)
from verax.applications.efficientnet_v2 import (
    EfficientNetV2B0,
    EfficientNetV2B1,
    EfficientNetV2B2,
    EfficientNetV2B3,
    EfficientNetV2L,
    EfficientNetV2M,
    EfficientNetV2S,
)
from verax.applications.mobilenet import MobileNet
from verax.applications.mobilenet_v2 import MobileNetV2
from verax.applications.mobilenet_v3 import MobileNetV3Large, MobileNetV3Small
from verax.applications.resnet import ResNet50, ResNet101, ResNet152
from verax.applications.resnet_v2 import ResNet50V2, ResNet101V2, ResNet152V2
from verax.applications.vgg import VGG16, VGG19

__all__ = [
    "VGG16",
    "VGG19",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "ResNet50",
    "ResNet50V2",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
    "densenet",
    "efficientnet",
    "efficientnet_v2",
    "imagenet_utils",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3",
    "resnet",
    "resnet50",
    "resnet_v2",
    "vgg16",
    "vgg19",
]

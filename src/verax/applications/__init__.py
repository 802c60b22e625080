"""Networks for images, by Keras' names: ``verax.applications.ResNet50(weights="imagenet")``.

Each is a function that makes a functional model with Keras' layers, in Keras' order and by Keras' names, so that the
weights Keras publishes fit. They are fetched when they are first asked for, checked by their hash, and kept in
``$VERAX_HOME/models`` or ``~/.verax/models``; a file that Keras has fetched already is used. The module of a family has
its ``preprocess_input``, which makes images ready, and ``decode_predictions``, which names what was predicted.
"""

from __future__ import annotations

from verax.applications import (
    convnext,
    densenet,
    efficientnet,
    efficientnet_v2,
    imagenet_utils,
    inception_resnet_v2,
    inception_v3,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    nasnet,
    resnet,
    resnet50,
    resnet_v2,
    vgg16,
    vgg19,
    xception,
)
from verax.applications.convnext import ConvNeXtBase, ConvNeXtLarge, ConvNeXtSmall, ConvNeXtTiny, ConvNeXtXLarge
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
from verax.applications.inception_resnet_v2 import InceptionResNetV2
from verax.applications.inception_v3 import InceptionV3
from verax.applications.mobilenet import MobileNet
from verax.applications.mobilenet_v2 import MobileNetV2
from verax.applications.mobilenet_v3 import MobileNetV3Large, MobileNetV3Small
from verax.applications.nasnet import NASNetLarge, NASNetMobile
from verax.applications.resnet import ResNet50, ResNet101, ResNet152
from verax.applications.resnet_v2 import ResNet50V2, ResNet101V2, ResNet152V2
from verax.applications.vgg import VGG16, VGG19
from verax.applications.xception import Xception

__all__ = [
    "VGG16",
    "VGG19",
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
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
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet50",
    "ResNet50V2",
    "ResNet101",
    "ResNet101V2",
    "ResNet152",
    "ResNet152V2",
    "Xception",
    "convnext",
    "densenet",
    "efficientnet",
    "efficientnet_v2",
    "imagenet_utils",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3",
    "nasnet",
    "resnet",
    "resnet50",
    "resnet_v2",
    "vgg16",
    "vgg19",
    "xception",
]

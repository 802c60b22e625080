"""VGG: stages of 3 x 3 convolutions, each ended by a maximum over 2 x 2, and three dense layers."""

from __future__ import annotations

from typing import Any

from verax import layers
from verax.applications.building import Network, application, preprocessing, weight_files
from verax.applications.imagenet_utils import decode_predictions

__all__ = ["VGG16", "VGG19", "decode_predictions", "preprocess_input"]

_FILTERS = (64, 128, 256, 512, 512)

preprocess_input = preprocessing("caffe")


def _vgg(net: Network, depths: tuple[int, ...]) -> Any:
    x = net.image
    for stage, (filters, depth) in enumerate(zip(_FILTERS, depths, strict=True), 1):
        for i in range(1, depth + 1):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{stage}_conv{i}")(x)
        x = layers.MaxPooling2D(2, strides=2, name=f"block{stage}_pool")(x)
    if not net.include_top:
        return net.pooled(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(4096, activation="relu", name=name)(x)
    return net.classified(x)


@application(
    "vgg16",
    weight_files("vgg16", "vgg16", ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc")),
)
def VGG16(net: Network) -> Any:
    """VGG with 16 layers that have weights: stages of 2, 2, 3, 3 and 3 convolutions.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015, table 1, D.
    """
    return _vgg(net, (2, 2, 3, 3, 3))


@application(
    "vgg19",
    weight_files("vgg19", "vgg19", ("cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6")),
)
def VGG19(net: Network) -> Any:
    """VGG with 19 layers that have weights: stages of 2, 2, 4, 4 and 4 convolutions.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015, table 1, E.
    """
    return _vgg(net, (2, 2, 4, 4, 4))

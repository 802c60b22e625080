"""Xception (Chollet, 2017): separable convolutions with residual connections."""

from __future__ import annotations

from typing import Any

from verax import layers
from verax.applications.building import Network, application, channel_axis, preprocessing, weight_files
from verax.applications.imagenet_utils import decode_predictions

__all__ = ["Xception", "decode_predictions", "preprocess_input"]

#: The filters of the separable convolutions of each residual block, from block 2 on (figure 5 of the paper).
_WIDTHS = ((128, 128), (256, 256), (728, 728), *((728, 728, 728),) * 8, (728, 1024))


def _normalized(x: Any, name: str | None = None) -> Any:
    return layers.BatchNormalization(channel_axis(), name=name)(x)


def _activated(x: Any, name: str) -> Any:
    return layers.Activation("relu", name=f"{name}_act")(x)


def _separable(x: Any, filters: int, name: str) -> Any:
    return _normalized(layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x), f"{name}_bn")


def _residual(x: Any, block: int, widths: tuple[int, ...]) -> Any:
    """A block and what it is added to: its input, or where the block halves the image, a convolution of that."""
    halved, shortcut = len(widths) == 2, x
    if halved:
        shortcut = layers.Conv2D(widths[-1], 1, strides=2, padding="same", use_bias=False)(x)
        shortcut = _normalized(shortcut)
    for number, filters in enumerate(widths, 1):
        name = f"block{block}_sepconv{number}"
        if (block, number) != (2, 1):  # what enters block 2 was just activated
            x = _activated(x, name)
        x = _separable(x, filters, name)
    if halved:
        x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"block{block}_pool")(x)
    return layers.add([x, shortcut])


_FILES = weight_files("xception", "xception", ("0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"))


@application("xception", _FILES, default_size=299, min_size=71)
def Xception(net: Network) -> Any:
    """Xception (Chollet, 2017, https://arxiv.org/abs/1610.02357): separable convolutions, and residual connections."""
    x = net.image
    for name, filters, strides in (("block1_conv1", 32, 2), ("block1_conv2", 64, 1)):
        x = layers.Conv2D(filters, 3, strides, use_bias=False, name=name)(x)
        x = _activated(_normalized(x, f"{name}_bn"), name)
    for block, widths in enumerate(_WIDTHS, 2):
        x = _residual(x, block, widths)
    for name, filters in (("block14_sepconv1", 1536), ("block14_sepconv2", 2048)):
        x = _activated(_separable(x, filters, name), name)
    return net.head(x)


preprocess_input = preprocessing("tf")

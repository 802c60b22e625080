"""DenseNet: each block sees everything the blocks before it in its stage have made, and adds 32 channels to it."""

from __future__ import annotations

from typing import Any

from verax import layers
from verax.applications.building import Network, application, preprocessing, weight_files
from verax.applications.imagenet_utils import decode_predictions
from verax.applications.resnet import normalized

__all__ = ["DenseNet121", "DenseNet169", "DenseNet201", "decode_predictions", "preprocess_input"]

_GROWTH = 32

preprocess_input = preprocessing("torch")


def _convolved(x: Any, filters: int, name: str, size: int = 1, padding: str = "valid") -> Any:
    return layers.Conv2D(filters, size, padding=padding, use_bias=False, name=name)(x)


def _block(x: Any, name: str) -> Any:
    """``x``, and behind it what a 1 x 1 and a 3 x 3 convolution make of it."""
    made = _convolved(normalized(x, f"{name}_0_bn", relu=f"{name}_0_relu"), 4 * _GROWTH, f"{name}_1_conv")
    made = _convolved(normalized(made, f"{name}_1_bn", relu=f"{name}_1_relu"), _GROWTH, f"{name}_2_conv", 3, "same")
    return layers.Concatenate(axis=3, name=f"{name}_concat")([x, made])


def _transition(x: Any, name: str) -> Any:
    """Half the channels, half the height and half the width."""
    x = normalized(x, f"{name}_bn", relu=f"{name}_relu")
    x = _convolved(x, x.shape[3] // 2, f"{name}_conv")
    return layers.AveragePooling2D(2, strides=2, name=f"{name}_pool")(x)


def _densenet(net: Network, blocks: tuple[int, int, int, int]) -> Any:
    x = layers.ZeroPadding2D(3)(net.image)
    x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = layers.ZeroPadding2D(1)(normalized(x, "conv1_bn", relu="conv1_relu"))
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for stage, count in enumerate(blocks, 2):
        for i in range(1, count + 1):
            x = _block(x, f"conv{stage}_block{i}")
        if stage < 5:
            x = _transition(x, f"pool{stage}")
    return net.head(normalized(x, "bn", relu="relu"), names=("avg_pool", "max_pool"))


# fmt: off
_FILES = {
    name: weight_files("densenet", name, hashes)
    for name, hashes in {
        "densenet121": ("9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738"),
        "densenet169": ("d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b"),
        "densenet201": ("1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1"),
    }.items()
}
# fmt: on


@application("densenet121", _FILES["densenet121"], channels_first=False)
def DenseNet121(net: Network) -> Any:
    """DenseNet with 121 layers that have weights: stages of 6, 12, 24 and 16 blocks; channels last only.

    Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", 2017, table 1.
    """
    return _densenet(net, (6, 12, 24, 16))


@application("densenet169", _FILES["densenet169"], channels_first=False)
def DenseNet169(net: Network) -> Any:
    """DenseNet with 169 layers that have weights: stages of 6, 12, 32 and 32 blocks; channels last only.

    Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", 2017, table 1.
    """
    return _densenet(net, (6, 12, 32, 32))


@application("densenet201", _FILES["densenet201"], channels_first=False)
def DenseNet201(net: Network) -> Any:
    """DenseNet with 201 layers that have weights: stages of 6, 12, 48 and 32 blocks; channels last only.

    Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", 2017, table 1.
    """
    return _densenet(net, (6, 12, 48, 32))

"""ResNet: stages of bottlenecks, each added to what it was given; of both versions, before and after the activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verax import layers
from verax.applications.building import Network, application, channel_axis, preprocessing, weight_files
from verax.applications.imagenet_utils import decode_predictions

__all__ = ["ResNet50", "ResNet101", "ResNet152", "decode_predictions", "normalized", "preprocess_input", "residual"]

_EPSILON = 1.001e-5

preprocess_input = preprocessing("caffe")


def normalized(x: Any, name: str, relu: str | None = None) -> Any:
    """Batch normalization, and a ReLU of its own name where one is given."""
    x = layers.BatchNormalization(axis=channel_axis(), epsilon=_EPSILON, name=name)(x)
    return x if relu is None else layers.Activation("relu", name=relu)(x)


def residual(net: Network, stages: Callable[[Any], Any], *, preactivated: bool) -> Any:
    """A ResNet around its stages: a 7 x 7 convolution and a maximum before them, the mean and the classes behind.

    Args:
        net: The network.
        stages: What stands between.
        preactivated: Whether blocks normalize before they convolve, as in the second version: then normalization and
            the ReLU stand behind the stages and not before them.
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(net.image)
    x = layers.Conv2D(64, 7, strides=2, name="conv1_conv")(x)
    if not preactivated:
        x = normalized(x, "conv1_bn", relu="conv1_relu")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    x = stages(x)
    if preactivated:
        x = normalized(x, "post_bn", relu="post_relu")
    return net.head(x, names=("avg_pool", "max_pool"))


def _block(x: Any, filters: int, name: str, *, stride: int, projected: bool) -> Any:
    """1 x 1, 3 x 3 and 1 x 1 convolutions; what was given is added, projected where its size is another."""
    around = x
    if projected:
        around = layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(x)
        around = normalized(around, f"{name}_0_bn")
    x = layers.Conv2D(filters, 1, strides=stride, name=f"{name}_1_conv")(x)
    x = normalized(x, f"{name}_1_bn", relu=f"{name}_1_relu")
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(x)
    x = normalized(x, f"{name}_2_bn", relu=f"{name}_2_relu")
    x = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)
    x = normalized(x, f"{name}_3_bn")
    x = layers.Add(name=f"{name}_add")([around, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _resnet(net: Network, blocks: tuple[int, int, int, int]) -> Any:
    def stages(x: Any) -> Any:
        for stage, count in enumerate(blocks):
            for i in range(count):
                stride = 2 if stage and not i else 1
                name = f"conv{stage + 2}_block{i + 1}"
                x = _block(x, 64 * 2**stage, name, stride=stride, projected=not i)
        return x

    return residual(net, stages, preactivated=False)


# fmt: off
_FILES = {
    name: weight_files("resnet", name, hashes)
    for name, hashes in {
        "resnet50": ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
        "resnet101": ("f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
        "resnet152": ("100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    }.items()
}
# fmt: on


@application("resnet50", _FILES["resnet50"])
def ResNet50(net: Network) -> Any:
    """ResNet with 50 layers that have weights: stages of 3, 4, 6 and 3 bottlenecks.

    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, table 1; with the stride in the first
    convolution of a bottleneck.
    """
    return _resnet(net, (3, 4, 6, 3))


@application("resnet101", _FILES["resnet101"])
def ResNet101(net: Network) -> Any:
    """ResNet with 101 layers that have weights: stages of 3, 4, 23 and 3 bottlenecks.

    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, table 1; with the stride in the first
    convolution of a bottleneck.
    """
    return _resnet(net, (3, 4, 23, 3))


@application("resnet152", _FILES["resnet152"])
def ResNet152(net: Network) -> Any:
    """ResNet with 152 layers that have weights: stages of 3, 8, 36 and 3 bottlenecks.

    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, table 1; with the stride in the first
    convolution of a bottleneck.
    """
    return _resnet(net, (3, 8, 36, 3))

"""ResNet's second version: each bottleneck normalizes and activates before it convolves."""

from __future__ import annotations

from typing import Any

from verax import layers
from verax.applications.building import Network, application, preprocessing, weight_files
from verax.applications.imagenet_utils import decode_predictions
from verax.applications.resnet import normalized, residual

__all__ = ["ResNet50V2", "ResNet101V2", "ResNet152V2", "decode_predictions", "preprocess_input"]

preprocess_input = preprocessing("tf")


def _block(x: Any, filters: int, name: str, *, stride: int, projected: bool) -> Any:
    """Normalized and activated, then 1 x 1, 3 x 3 and 1 x 1 convolutions; what was given is added."""
    ready = normalized(x, f"{name}_preact_bn", relu=f"{name}_preact_relu")
    if projected:
        around = layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_0_conv")(ready)
    else:
        around = layers.MaxPooling2D(1, strides=stride)(x) if stride > 1 else x
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_1_conv")(ready)
    x = normalized(x, f"{name}_1_bn", relu=f"{name}_1_relu")
    x = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    x = layers.Conv2D(filters, 3, strides=stride, use_bias=False, name=f"{name}_2_conv")(x)
    x = normalized(x, f"{name}_2_bn", relu=f"{name}_2_relu")
    x = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)
    return layers.Add(name=f"{name}_out")([around, x])


def _resnet(net: Network, blocks: tuple[int, int, int, int]) -> Any:
    def stages(x: Any) -> Any:
        for stage, count in enumerate(blocks):
            for i in range(count):
                stride = 2 if stage < 3 and i == count - 1 else 1  # at the end of a stage, but for the last
                name = f"conv{stage + 2}_block{i + 1}"
                x = _block(x, 64 * 2**stage, name, stride=stride, projected=not i)
        return x

    return residual(net, stages, preactivated=True)


# fmt: off
_FILES = {
    name: weight_files("resnet", name, hashes)
    for name, hashes in {
        "resnet50v2": ("3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917"),
        "resnet101v2": ("6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5"),
        "resnet152v2": ("a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33"),
    }.items()
}
# fmt: on


@application("resnet50v2", _FILES["resnet50v2"])
def ResNet50V2(net: Network) -> Any:
    """ResNet's second version with 50 layers that have weights: stages of 3, 4, 6 and 3 bottlenecks.

    He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016.
    """
    return _resnet(net, (3, 4, 6, 3))


@application("resnet101v2", _FILES["resnet101v2"])
def ResNet101V2(net: Network) -> Any:
    """ResNet's second version with 101 layers that have weights: stages of 3, 4, 23 and 3 bottlenecks.

    He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016.
    """
    return _resnet(net, (3, 4, 23, 3))


@application("resnet152v2", _FILES["resnet152v2"])
def ResNet152V2(net: Network) -> Any:
    """ResNet's second version with 152 layers that have weights: stages of 3, 8, 36 and 3 bottlenecks.

    He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016.
    """
    return _resnet(net, (3, 8, 36, 3))

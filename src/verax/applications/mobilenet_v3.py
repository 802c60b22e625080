"""MobileNetV3: blocks found by a search, many of which weigh their channels, and a cheap form of swish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from verax.applications.building import Network, Weights, channel_axis, documented, preprocessing, shared, weight_files
from verax.applications.imagenet_utils import decode_predictions
from verax.applications.mobile import Style, check_scale, image_shape, inverted_residual, published, whole_eights
from verax.layers import (
    Activation,
    Conv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    Multiply,
    ReLU,
    Rescaling,
)
from verax.model.model import Model

__all__ = ["MobileNetV3Large", "MobileNetV3Small", "decode_predictions", "preprocess_input"]

_HASHES = {
    "large_224_0.75_float": ("765b44a33ad4005b3ac83185abf1d0eb", "40af19a13ebea4e2ee0c676887f69a2e"),
    "large_224_1.0_float": ("59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389"),
    "large_minimalistic_224_1.0_float": ("675e7b876c45c57e9e63e6d90a36599c", "ec5221f64a2f6d1ef965a614bdae7973"),
    "small_224_0.75_float": ("cb65d4e5be93758266aa0a7f2c6708b7", "ebdb5cc8e0b497cd13a7c275d475c819"),
    "small_224_1.0_float": ("8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    "small_minimalistic_224_1.0_float": ("99cd97fb2fcdad2bf028eb838de69e37", "cde8136e733e811080d9fcd8a252f7e4"),
}


class _Block(NamedTuple):
    """A block: how much wider it is inside, whether it weighs its channels, and whether it takes the cheap swish."""

    expansion: float
    filters: int
    kernel: int
    stride: int
    squeezes: bool
    swish: bool


_SMALL = (
    _Block(1, 16, 3, 2, True, False),
    _Block(72 / 16, 24, 3, 2, False, False),
    _Block(88 / 24, 24, 3, 1, False, False),
    _Block(4, 40, 5, 2, True, True),
    *[_Block(6, 40, 5, 1, True, True)] * 2,
    *[_Block(3, 48, 5, 1, True, True)] * 2,
    _Block(6, 96, 5, 2, True, True),
    *[_Block(6, 96, 5, 1, True, True)] * 2,
)
_LARGE = (
    _Block(1, 16, 3, 1, False, False),
    _Block(4, 24, 3, 2, False, False),
    _Block(3, 24, 3, 1, False, False),
    _Block(3, 40, 5, 2, True, False),
    *[_Block(3, 40, 5, 1, True, False)] * 2,
    _Block(6, 80, 3, 2, False, True),
    _Block(2.5, 80, 3, 1, False, True),
    *[_Block(2.3, 80, 3, 1, False, True)] * 2,
    *[_Block(6, 112, 3, 1, True, True)] * 2,
    _Block(6, 160, 5, 2, True, True),
    *[_Block(6, 160, 5, 1, True, True)] * 2,
)

preprocess_input = preprocessing(None)

_documented = documented(
    None,
    alpha="By what the filters of each layer are multiplied, those of the head only if it is above 1; 0.75 or 1 for\n"
    "            ImageNet's weights, 1 if ``minimalistic``.",
    minimalistic="Only convolutions of 3x3, ReLU, and no weighing of channels.",
    dropout_rate="The rate of dropping in the head; without such a layer if it is 0.",
    include_preprocessing="Whether the network takes pixels from 0 to 255; if not, from -1 to 1.",
)


@_documented
def MobileNetV3Small(
    input_shape: Any = None,
    alpha: float = 1.0,
    minimalistic: bool = False,
    include_top: bool = True,
    weights: Weights = "imagenet",
    input_tensor: Any = None,
    classes: int = 1000,
    pooling: str | None = None,
    dropout_rate: float = 0.2,
    classifier_activation: Any = "softmax",
    include_preprocessing: bool = True,
    name: str = "MobileNetV3Small",
) -> Model:
    """MobileNetV3-Small: 11 blocks.

    Howard et al., 2019, https://arxiv.org/abs/1905.02244, table 2. ImageNet's weights are those for images of 224.

    Differs from Keras: as in ``MobileNetV2``.
    """
    return _made("small", _SMALL, 1024, locals())


@_documented
def MobileNetV3Large(
    input_shape: Any = None,
    alpha: float = 1.0,
    minimalistic: bool = False,
    include_top: bool = True,
    weights: Weights = "imagenet",
    input_tensor: Any = None,
    classes: int = 1000,
    pooling: str | None = None,
    dropout_rate: float = 0.2,
    classifier_activation: Any = "softmax",
    include_preprocessing: bool = True,
    name: str = "MobileNetV3Large",
) -> Model:
    """MobileNetV3-Large: 15 blocks.

    Howard et al., 2019, https://arxiv.org/abs/1905.02244, table 1. ImageNet's weights are those for images of 224.

    Differs from Keras: as in ``MobileNetV2``.
    """
    return _made("large", _LARGE, 1280, locals())


def _made(size: str, blocks: Sequence[_Block], units: int, given: Mapping[str, Any]) -> Model:
    """The network of one size; ``units``: of the layer before the last; ``given``: the arguments of its function."""
    function, alpha, minimalistic = f"MobileNetV3{size.title()}", given["alpha"], given["minimalistic"]
    shape = image_shape(function, given["input_shape"], given["input_tensor"])
    net = Network(function, **{**shared(given), "input_shape": shape}, default_size=None)
    check_scale(net, alpha=alpha)
    published(net, alpha, (1.0,) if minimalistic else (0.75, 1.0), (224,))
    if net.pretrained:
        kind = f"{size}{'_minimalistic' if minimalistic else ''}_224_{float(alpha)}_float"
        stem, ends = f"weights_mobilenet_v3_{kind}", (".h5", "_no_top_v2.h5")
        net.weights_from(weight_files("mobilenet_v3", stem, _HASHES[kind], ends=ends))
    x = net.image
    if given["include_preprocessing"]:
        x = Rescaling(1 / 127.5, offset=-1.0)(x)
    x = _features(x, blocks, alpha, minimalistic)
    if not net.include_top:
        return net.finish(net.pooled(x, names=("avg_pool", "max_pool")))
    x = GlobalAveragePooling2D(keepdims=True)(x)
    x = Conv2D(whole_eights(units * alpha) if alpha > 1 else units, 1, padding="same", name="conv_2")(x)
    x = _activation(not minimalistic)("")(x)
    if given["dropout_rate"] > 0:
        x = Dropout(given["dropout_rate"])(x)
    x = Conv2D(net.classes, 1, padding="same", name="logits")(x)
    x = Flatten()(x)
    return net.finish(Activation(net.classifier_activation, name="predictions")(x))


def _activation(swish: bool) -> Callable[[str], Layer]:
    """Makes activations, which have no names of their own in this network."""
    return (lambda _: Activation("hard_swish")) if swish else (lambda _: ReLU())


def _style(swish: bool) -> Style:
    return Style(
        activation=_activation(swish),
        expand=("expand", "expand_bn", ""),
        depthwise=("depthwise", "depthwise_bn", ""),
        project=("project", "project_bn"),
        pad="depthwise_pad",
        norm={"epsilon": 1e-3, "momentum": 0.999},
    )


def _features(x: Any, blocks: Sequence[_Block], alpha: float, minimalistic: bool) -> Any:
    outer = _style(not minimalistic)
    x = outer.convolved(x, Conv2D, ("conv", "conv_bn", ""), "", 16, 3, strides=2, padding="same")
    for number, block in enumerate(blocks):
        prefix = f"expanded_conv_{number}_" if number else "expanded_conv_"
        expanded = whole_eights(x.shape[channel_axis()] * block.expansion)
        x = inverted_residual(
            x,
            _style(block.swish and not minimalistic),
            prefix,
            filters=whole_eights(block.filters * alpha),
            kernel=3 if minimalistic else block.kernel,
            stride=block.stride,
            expanded=expanded if number else None,
            squeeze=_squeeze(prefix) if block.squeezes and not minimalistic else None,
        )
    last = whole_eights(x.shape[channel_axis()] * 6)
    return outer.convolved(x, Conv2D, ("conv_1", "conv_1_bn", ""), "", last, 1, padding="same")


def _squeeze(prefix: str) -> Callable[[Any], Any]:
    """Weighs channels by a network of one layer, a quarter as wide, on their means, and a cheap form of sigmoid."""

    def weighed(x: Any) -> Any:
        wide = x.shape[channel_axis()]
        name = f"{prefix}squeeze_excite"
        means = GlobalAveragePooling2D(keepdims=True, name=f"{name}_avg_pool")(x)
        hidden = Conv2D(whole_eights(wide * 0.25), 1, padding="same", name=f"{name}_conv")(means)
        hidden = ReLU(name=f"{name}_relu")(hidden)
        weights = Conv2D(wide, 1, padding="same", name=f"{name}_conv_1")(hidden)
        weights = ReLU(6.0)(weights + 3.0) * (1 / 6)
        return Multiply(name=f"{name}_mul")([x, weights])

    return weighed

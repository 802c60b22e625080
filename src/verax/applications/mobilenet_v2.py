"""MobileNetV2: blocks that are wide inside and narrow between."""

from __future__ import annotations

from typing import Any

from verax.applications.building import (
    Network,
    Weights,
    channel_axis,
    documented,
    preprocessing,
    shared,
    weight_files,
)
from verax.applications.imagenet_utils import decode_predictions
from verax.applications.mobile import (
    Style,
    check_scale,
    image_shape,
    inverted_residual,
    published,
    published_size,
    whole_eights,
)
from verax.layers import Conv2D, ReLU
from verax.model.model import Model

__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]

#: (filters, stride of the first, blocks) of each stage.
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1))
_STYLE = Style(
    activation=lambda name: ReLU(6.0, name=name),
    expand=("expand", "expand_BN", "expand_relu"),
    depthwise=("depthwise", "depthwise_BN", "depthwise_relu"),
    project=("project", "project_BN"),
    pad="pad",
    norm={"epsilon": 1e-3, "momentum": 0.999},
)
#: Widths that weights are published for, and heights of images.
_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_SIZES = (96, 128, 160, 192, 224)

preprocess_input = preprocessing("tf")


@documented(
    alpha="By what the filters of each layer are multiplied, those of the last one only if it is above 1; 0.35, 0.5,\n"
    "            0.75, 1, 1.3 or 1.4 for ImageNet's weights."
)
def MobileNetV2(
    input_shape: Any = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: Weights = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str | None = None,
) -> Model:
    """MobileNetV2: 17 inverted residual blocks, six times wider inside than between.

    Sandler et al., 2018, https://arxiv.org/abs/1801.04381, table 2. ImageNet's weights are published for images of
    96, 128, 160, 192 and 224.

    Differs from Keras: where these are asked for, another size is warned of, and an unknown one is not; with
    ``input_tensor``, all of ``input_shape`` is compared with it.
    """
    shape = image_shape("MobileNetV2", input_shape, input_tensor)
    net = Network("MobileNetV2", **shared(locals()), default_size=published_size(shape, _SIZES))
    check_scale(net, alpha=alpha)
    rows = published(net, alpha, _ALPHAS, _SIZES)
    if net.pretrained:
        stem = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{rows}"
        net.weights_from(weight_files("mobilenet_v2", stem, (None, None), ends=(".h5", "_no_top.h5")))
    net.name = f"mobilenetv2_{alpha:0.2f}_{rows}" if name is None else name
    return net.finish(net.head(_features(net.image, alpha), gap=None))


def _features(x: Any, alpha: float) -> Any:
    names = ("Conv1", "bn_Conv1", "Conv1_relu")
    x = _STYLE.convolved(x, Conv2D, names, "", whole_eights(32 * alpha), 3, strides=2, padding="same")
    number = 0
    for filters, stride, blocks in _STAGES:
        for block in range(blocks):
            x = inverted_residual(
                x,
                _STYLE,
                f"block_{number}_" if number else "expanded_conv_",
                filters=whole_eights(int(filters * alpha)),
                kernel=3,
                stride=1 if block else stride,
                expanded=6 * x.shape[channel_axis()] if number else None,
            )
            number += 1
    names = ("Conv_1", "Conv_1_bn", "out_relu")
    return _STYLE.convolved(x, Conv2D, names, "", whole_eights(1280 * max(alpha, 1.0)), 1)

"""MobileNet: convolutions channel by channel, and 1x1 convolutions across channels."""

from __future__ import annotations

from typing import Any

from verax.applications.building import Network, Weights, documented, preprocessing, shared, weight_files
from verax.applications.imagenet_utils import decode_predictions
from verax.applications.mobile import check_scale, normalized, published, published_size
from verax.errors import InputError
from verax.layers import (
    Activation,
    Conv2D,
    DepthwiseConv2D,
    Dropout,
    GlobalAveragePooling2D,
    ReLU,
    Reshape,
    ZeroPadding2D,
)
from verax.model.model import Model

__all__ = ["MobileNet", "decode_predictions", "preprocess_input"]

#: (filters, stride) of each pair of convolutions.
_PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
#: Widths that weights are published for, as the files are called, and heights of images.
_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
_SIZES = (128, 160, 192, 224)

preprocess_input = preprocessing("tf")


@documented(
    alpha="By what the filters of each layer are multiplied; 0.25, 0.5, 0.75 or 1 for ImageNet's weights.",
    depth_multiplier="How many channels a convolution by channel makes of each; 1 for ImageNet's weights.",
    dropout="The rate of dropping in the head.",
)
def MobileNet(
    input_shape: Any = None,
    alpha: float = 1.0,
    depth_multiplier: int = 1,
    dropout: float = 1e-3,
    include_top: bool = True,
    weights: Weights = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str | None = None,
) -> Model:
    """MobileNet: a 3x3 convolution, then 13 pairs of one channel by channel and one of 1x1 across channels.

    Howard et al., 2017, https://arxiv.org/abs/1704.04861, table 1. ImageNet's weights are published for images of
    128, 160, 192 and 224.

    Differs from Keras: where these are asked for, another size is warned of, and an unknown one is not.
    """
    net = Network("MobileNet", **shared(locals()), default_size=published_size(input_shape, _SIZES))
    check_scale(net, alpha=alpha)
    rows = published(net, alpha, _ALPHAS, _SIZES)
    if net.pretrained:
        if depth_multiplier != 1:
            raise InputError(
                net.asked,
                received=f"depth_multiplier={depth_multiplier!r} with weights='imagenet'",
                because="there are such weights for 1 only",
                do="Leave it out, or pass weights=None.",
            )
        stem = f"mobilenet_{_ALPHAS[alpha]}_{rows}_tf"
        net.weights_from(weight_files("mobilenet", stem, (None, None), ends=(".h5", "_no_top.h5")))
    net.name = f"mobilenet_{alpha:0.2f}_{rows}" if name is None else name
    x = _features(net.image, alpha, depth_multiplier)
    if not net.include_top:
        return net.finish(net.pooled(x))
    x = GlobalAveragePooling2D(keepdims=True)(x)
    x = Dropout(dropout, name="dropout")(x)
    x = Conv2D(classes, 1, padding="same", name="conv_preds")(x)
    x = Reshape((classes,), name="reshape_2")(x)
    return net.finish(Activation(classifier_activation, name="predictions")(x))


def _features(x: Any, alpha: float, depth_multiplier: int) -> Any:
    def normal(x: Any, convolution: Any, name: str, *args: Any, padding: str = "same", **kwargs: Any) -> Any:
        layer = convolution(*args, padding=padding, use_bias=False, name=name, **kwargs)
        return normalized(x, layer, f"{name}_bn", ReLU(6.0, name=f"{name}_relu"))

    x = normal(x, Conv2D, "conv1", int(32 * alpha), 3, strides=2)
    for number, (filters, stride) in enumerate(_PAIRS, 1):
        if stride == 2:
            x = ZeroPadding2D(((0, 1), (0, 1)), name=f"conv_pad_{number}")(x)
        padding = "valid" if stride == 2 else "same"
        multiplied = {"depth_multiplier": depth_multiplier}
        x = normal(x, DepthwiseConv2D, f"conv_dw_{number}", 3, strides=stride, padding=padding, **multiplied)
        x = normal(x, Conv2D, f"conv_pw_{number}", int(filters * alpha), 1)
    return x

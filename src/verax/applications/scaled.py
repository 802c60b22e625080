"""What EfficientNet and EfficientNetV2 have in common: stages of blocks, scaled in width and depth, and their head."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from verax.applications.building import Network, channel_axis
from verax.applications.mobile import Style, correct_pad, inverted_residual, with_shortcut
from verax.initializers import VarianceScaling
from verax.layers import Activation, Conv2D, Dropout, GlobalAveragePooling2D, Multiply, Reshape, ZeroPadding2D

__all__ = ["Stage", "features", "headed", "style"]

_KERNELS = VarianceScaling(2.0, "fan_out", "truncated_normal")
#: The rate of leaving blocks out grows from 0 at the first to this at the last.
_DROP = 0.2


@dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Attributes:
        filters, blocks: Channels out and the number of blocks, before scaling.
        expansion: How many times wider a block is inside.
        stride: Of the first block.
        kernel: Of the convolution.
        fused: Whether one whole convolution takes the place of two, by 1x1 and channel by channel.
    """

    filters: int
    blocks: int
    expansion: int
    stride: int
    kernel: int = 3
    fused: bool = False


def style(depthwise: str, *, pad: str | None = None, **norm: float) -> Style:
    """The style of blocks: the name of the convolution channel by channel and of the padding, arguments of norms."""
    return Style(
        activation=lambda name: Activation("swish", name=name),
        expand=("expand_conv", "expand_bn", "expand_activation"),
        depthwise=(depthwise, "bn", "activation"),
        project=("project_conv", "project_bn"),
        pad=pad,
        initializer=_KERNELS,
        norm=norm,
    )


def features(
    x: Any, stages: Sequence[Stage], style: Style, *, stem: int, width: Callable[[int], int], depth: float, parts: int
) -> Any:
    """``x`` through the first convolution, the stages, and the last convolution.

    Args:
        x: Of shape (batch, height, width, channels), or channels first if that is the global setting.
        stages: The network before scaling.
        style: What its blocks have in common.
        stem: Filters of the first convolution, before scaling.
        width: Filters before scaling -> filters.
        depth: By what the number of blocks of each stage is multiplied, rounded up.
        parts: In how many steps, one a block, the rate of leaving blocks out goes from 0 to 0.2.
    """
    names, padding = ("conv", "bn", "activation"), "same"
    if style.pad is not None:
        x, padding = ZeroPadding2D(correct_pad(x, 3), name="stem_conv_pad")(x), "valid"
    x = style.convolved(x, Conv2D, names, "stem_", width(stem), 3, strides=2, padding=padding)
    done = 0
    for number, stage in enumerate(stages, 1):
        for block in range(math.ceil(depth * stage.blocks)):
            prefix, channels = f"block{number}{chr(ord('a') + block)}_", x.shape[channel_axis()]
            arguments: dict[str, Any] = {
                "filters": width(stage.filters),
                "kernel": stage.kernel,
                "stride": 1 if block else stage.stride,
                "expanded": None if stage.expansion == 1 else stage.expansion * channels,
                "drop": _DROP * done / parts,
            }
            if stage.fused:
                x = _fused(x, style, prefix, **arguments)
            else:
                x = inverted_residual(x, style, prefix, squeeze=_squeeze(prefix, max(1, channels // 4)), **arguments)
            done += 1
    return style.convolved(x, Conv2D, names, "top_", width(1280), 1, padding="same")


def _fused(
    x: Any, style: Style, prefix: str, *, filters: int, kernel: int, stride: int, expanded: int | None, drop: float
) -> Any:
    begun = x
    whole: dict[str, Any] = {"kernel_size": kernel, "strides": stride, "padding": "same"}
    if expanded is None:
        x = style.convolved(x, Conv2D, (*style.project, "project_activation"), prefix, filters, **whole)
    else:
        x = style.convolved(x, Conv2D, style.expand, prefix, expanded, **whole)
        x = style.convolved(x, Conv2D, style.project, prefix, filters, 1, padding="same")
    return with_shortcut(x, begun, prefix, drop) if stride == 1 else x


def _squeeze(prefix: str, narrow: int) -> Callable[[Any], Any]:
    """Weighs channels by a network of one layer of ``narrow`` units on their means (Hu et al., 2018)."""

    def weighed(x: Any) -> Any:
        wide = x.shape[channel_axis()]
        weights = GlobalAveragePooling2D(name=f"{prefix}se_squeeze")(x)
        weights = Reshape((wide, 1, 1) if channel_axis() == 1 else (1, 1, wide), name=f"{prefix}se_reshape")(weights)
        for part, units, activation in (("reduce", narrow, "swish"), ("expand", wide, "sigmoid")):
            further: dict[str, Any] = {"kernel_initializer": _KERNELS, "name": f"{prefix}se_{part}"}
            weights = Conv2D(units, 1, padding="same", activation=activation, **further)(weights)
        return Multiply(name=f"{prefix}se_excite")([x, weights])

    return weighed


def headed(net: Network, x: Any, dropout: float) -> Any:
    """The head: the mean of each channel, dropout, and a dense layer; or what ``pooling`` asks for without a head."""
    if not net.include_top:
        return net.pooled(x, names=("avg_pool", "max_pool"))
    x = GlobalAveragePooling2D(name="avg_pool")(x)
    x = Dropout(dropout, name="top_dropout")(x)
    return net.classified(x, kernel_initializer=VarianceScaling(1 / 3, "fan_out", "uniform"))

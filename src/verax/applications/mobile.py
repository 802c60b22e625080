"""What the MobileNets and EfficientNets have in common: their block, its widths, and which weights are published."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verax.applications.building import Network, channel_axis
from verax.errors import InputError, ShapeError, VeraxWarning
from verax.frame.symbolic import is_symbolic
from verax.layers import Add, BatchNormalization, Conv2D, DepthwiseConv2D, Dropout, Layer, ZeroPadding2D

__all__ = [
    "Style",
    "check_scale",
    "correct_pad",
    "image_shape",
    "inverted_residual",
    "normalized",
    "published",
    "published_size",
    "whole_eights",
    "with_shortcut",
]


# ---- blocks ----------------------------------------------------------------------------------------------------------


def whole_eights(width: float) -> int:
    """The multiple of 8 nearest to a width (the upper one of two), at least 8 and at least 90% of the width.

    >>> [whole_eights(width) for width in (3, 12, 11.2, 36)]
    [8, 16, 16, 40]
    """
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def correct_pad(x: Any, kernel: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The zeros before and after each side that a convolution of stride 2 without padding needs to halve it.

    One less before an even side, so that windows stand where TensorFlow's "same" puts them. A side of unknown size
    counts as even.

    >>> correct_pad(verax.Input((224, 75, 3)), 3)
    ((0, 1), (1, 1))
    """
    rows, columns = x.shape[2:] if channel_axis() == 1 else x.shape[1:3]
    half = kernel // 2
    return (half - _even(rows), half), (half - _even(columns), half)


def _even(size: int | None) -> int:
    return 1 if size is None else 1 - size % 2


def normalized(x: Any, layer: Layer, name: str, activation: Layer | None = None, **options: Any) -> Any:
    """``x`` through a layer, batch normalization over its channels, called ``name``, and an activation."""
    x = BatchNormalization(axis=channel_axis(), name=name, **options)(layer(x))
    return x if activation is None else activation(x)


@dataclass(frozen=True)
class Style:
    """What the inverted residual blocks of one network have in common.

    Attributes:
        activation: Makes an activation layer, by the name it gets where the network names them.
        expand, depthwise, project: The names of a convolution, its normalization, and its activation (if it has one).
        pad: The name of the padding before a convolution of stride 2; None where the convolution pads itself.
        initializer: Of the kernels.
        norm: Arguments of batch normalization.
    """

    activation: Callable[[str], Layer]
    expand: Sequence[str]
    depthwise: Sequence[str]
    project: Sequence[str]
    pad: str | None = None
    initializer: Any = "glorot_uniform"
    norm: Mapping[str, float] = field(default_factory=dict[str, float])

    def convolved(
        self, x: Any, convolution: Callable[..., Layer], names: Sequence[str], prefix: str, *args: Any, **kwargs: Any
    ) -> Any:
        """``x`` through a convolution without bias, its normalization, and its activation, by their names.

        Args:
            x: Of shape (batch, height, width, channels), or channels first if that is the global setting.
            convolution: ``Conv2D`` or ``DepthwiseConv2D``.
            names: Two, or three where an activation follows.
            prefix: What the names begin with.
            args, kwargs: Of the convolution.
        """
        name, norm, *activation = (prefix + part for part in names)
        kind = "depthwise" if convolution is DepthwiseConv2D else "kernel"
        kwargs[f"{kind}_initializer"] = self.initializer
        layer = convolution(*args, use_bias=False, name=name, **kwargs)
        return normalized(x, layer, norm, *(self.activation(name) for name in activation), **self.norm)


def inverted_residual(
    x: Any,
    style: Style,
    prefix: str,
    *,
    filters: int,
    kernel: int,
    stride: int,
    expanded: int | None,
    squeeze: Callable[[Any], Any] | None = None,
    drop: float = 0.0,
) -> Any:
    """``x`` made wide by 1x1, convolved channel by channel, and made narrow by 1x1; and ``x`` added, where it fits.

    Sandler et al., 2018, https://arxiv.org/abs/1801.04381, figure 3.

    Args:
        x: Of shape (batch, height, width, channels), or channels first if that is the global setting.
        style: What the blocks of the network have in common.
        prefix: What the names of the layers begin with.
        filters: Channels out.
        kernel, stride: Of the convolution by channel.
        expanded: Channels in between; None for those of ``x``, without the first convolution.
        squeeze: Weighs the channels in between.
        drop: How often a row goes without the block in training, where ``x`` is added.
    """
    begun = x
    if expanded is not None:
        x = style.convolved(x, Conv2D, style.expand, prefix, expanded, 1, padding="same")
    padding = "same"
    if stride == 2 and style.pad is not None:
        x, padding = ZeroPadding2D(correct_pad(x, kernel), name=prefix + style.pad)(x), "valid"
    x = style.convolved(x, DepthwiseConv2D, style.depthwise, prefix, kernel, strides=stride, padding=padding)
    if squeeze is not None:
        x = squeeze(x)
    x = style.convolved(x, Conv2D, style.project, prefix, filters, 1, padding="same")
    return with_shortcut(x, begun, prefix, drop) if stride == 1 else x


def with_shortcut(x: Any, begun: Any, prefix: str, drop: float) -> Any:
    """``x + begun`` where they have as many channels, else ``x``; a share ``drop`` of the rows goes without ``x``."""
    if x.shape[channel_axis()] != begun.shape[channel_axis()]:
        return x
    if drop > 0:
        x = Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{prefix}drop")(x)
    return Add(name=f"{prefix}add")([x, begun])


# ---- sizes and widths ------------------------------------------------------------------------------------------------


def image_shape(function: str, input_shape: Any, input_tensor: Any) -> Any:
    """The shape of an image: as it is given, or that of a given tensor.

    Raises:
        ShapeError: Both are given, and differ.
    """
    if not is_symbolic(input_tensor):
        return input_shape
    of_tensor = input_tensor.shape[1:]
    if input_shape is None:
        return of_tensor
    if tuple(input_shape) != of_tensor:
        raise ShapeError(
            f"{function} was to be made.",
            received=f"input_shape={tuple(input_shape)} and an input_tensor of shape {input_tensor.shape}",
            because="they say different things of an image",
            do="Leave input_shape out.",
        )
    return input_shape


def published_size(shape: Any, sizes: Collection[int]) -> int:
    """The height and width of images by which weights are named: that of ``shape`` if it is published, else 224."""
    rows, columns = _sides(shape) if isinstance(shape, (tuple, list)) and len(shape) == 3 else (None, None)
    return rows if rows is not None and rows == columns and rows in sizes else 224


def published(net: Network, alpha: float, alphas: Collection[float], sizes: Collection[int]) -> int | None:
    """The height of an image by which a network, and its weights if they are asked for, are named.

    Raises:
        InputError: ImageNet's weights are asked for, for a width for which there are none.
    """
    rows, columns = _sides(net.input_shape)
    if not net.pretrained:
        return rows
    if alpha not in alphas:
        raise InputError(
            net.asked,
            received=f"alpha={alpha!r} with weights='imagenet'",
            because="there are such weights for alpha=" + " or ".join(str(one) for one in sorted(alphas)) + " only",
            do="Pass one of these, or weights=None.",
        )
    size = published_size(net.input_shape, sizes)
    if (rows, columns) not in ((size, size), (None, None)):
        text = f"{net.asked} Its weights were trained on images of {size} x {size}, and these are {rows} x {columns}."
        warnings.warn(text, VeraxWarning, stacklevel=4)
    return size


def check_scale(net: Network, **scales: float) -> None:
    """Refuse a factor that is not a positive number."""
    for name, value in scales.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise InputError(
                net.asked, received=f"{name}={value!r}", because="it is a positive number", do=f"Pass {name}=1, or so."
            )


def _sides(shape: Sequence[int | None]) -> tuple[int | None, int | None]:
    rows, columns = shape[1:] if channel_axis() == 1 else shape[:2]
    return rows, columns

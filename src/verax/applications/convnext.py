"""ConvNeXt (Liu et al., 2022): a residual network made after the habits of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from verax import layers
from verax.applications.building import Network, WeightFiles, Weights, preprocessing, weight_files
from verax.applications.imagenet_utils import decode_predictions
from verax.errors import InputError
from verax.layers.base import check_rate
from verax.layers.residual import LayerScale, StochasticDepth
from verax.model.model import Model
from verax.model.sequential import Sequential

__all__ = [
    "ConvNeXt",
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
    "decode_predictions",
    "preprocess_input",
]

preprocess_input = preprocessing(None)

#: How many blocks each of the four stages has, and of how many channels; and the hashes of ImageNet's weights.
_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[str, str]]] = {
    "tiny": (
        (3, 3, 9, 3),
        (96, 192, 384, 768),
        (
            "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
            "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        ),
    ),
    "small": (
        (3, 3, 27, 3),
        (96, 192, 384, 768),
        (
            "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
            "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
        ),
    ),
    "base": (
        (3, 3, 27, 3),
        (128, 256, 512, 1024),
        (
            "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
            "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
        ),
    ),
    "large": (
        (3, 3, 27, 3),
        (192, 384, 768, 1536),
        (
            "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
            "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
        ),
    ),
    "xlarge": (
        (3, 3, 27, 3),
        (256, 512, 1024, 2048),
        (
            "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
            "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
        ),
    ),
}
_FILES = {
    (depths, widths): weight_files("convnext", f"convnext_{size}", hashes, ends=(".h5", "_notop.h5"))
    for size, (depths, widths, hashes) in _SIZES.items()
}

#: The mean color of ImageNet's training images, and the spread of each channel, of values to 1.
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _normalized(name: str | None = None) -> layers.Layer:
    return layers.LayerNormalization(epsilon=1e-6, name=name)


def _block(x: Any, filters: int, drop_path_rate: float, scale: float | None, name: str) -> Any:
    """A convolution by channel and two dense layers, added to what came in (figure 4 of the paper)."""
    branch = layers.Conv2D(filters, 7, padding="same", groups=filters, name=f"{name}_depthwise_conv")(x)
    branch = _normalized(f"{name}_layernorm")(branch)
    branch = layers.Dense(4 * filters, name=f"{name}_pointwise_conv_1")(branch)
    branch = layers.Activation("gelu", name=f"{name}_gelu")(branch)
    branch = layers.Dense(filters, name=f"{name}_pointwise_conv_2")(branch)
    if scale is not None:
        branch = LayerScale(scale, filters, name=f"{name}_layer_scale")(branch)
    if drop_path_rate:
        branch = StochasticDepth(drop_path_rate, name=f"{name}_stochastic_depth")(branch)
    else:
        branch = layers.Activation("linear", name=f"{name}_identity")(branch)
    return x + branch


def _entry(stage: int, filters: int, name: str) -> Sequential:
    """What stands before a stage and makes the image smaller."""
    if stage == 0:
        conv = layers.Conv2D(filters, 4, strides=4, name=f"{name}_stem_conv")
        return Sequential([conv, _normalized(f"{name}_stem_layernorm")], name=f"{name}_stem")
    number = stage - 1
    conv = layers.Conv2D(filters, 2, strides=2, name=f"{name}_downsampling_conv_{number}")
    norm = _normalized(f"{name}_downsampling_layernorm_{number}")
    return Sequential([norm, conv], name=f"{name}_downsampling_block_{number}")


def ConvNeXt(
    depths: Sequence[int],
    projection_dims: Sequence[int],
    drop_path_rate: float = 0.0,
    layer_scale_init_value: float | None = 1e-6,
    default_size: int = 224,
    name: str = "convnext",
    include_preprocessing: bool = True,
    include_top: bool = True,
    weights: Weights = None,
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
) -> Model:
    """A ConvNeXt of any size.

    Args:
        depths: How many blocks each of the four stages has.
        projection_dims: How many channels each has.
        drop_path_rate: The probability of dropping the last block in training; those before it have smaller ones, the
            first has 0 (see ``StochasticDepth``).
        layer_scale_init_value: What the factors of each block begin with; None for no factors (see ``LayerScale``).
        default_size: The height and width where nothing else is said.
        name: The name of the model, and how the names of its layers begin.
        include_preprocessing, include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation: As in ``ConvNeXtTiny``.

    Raises:
        InputError, DownloadError: As in ``ConvNeXtTiny``; and depths or channels that are not of four stages.

    Differs from Keras: ImageNet's weights are found by depths and channels, whatever the name of the model.

    >>> model = ConvNeXt((1, 1, 1, 1), (4, 8, 8, 8), input_shape=(32, 32, 3), include_top=False)
    >>> model.output_shape
    (None, 1, 1, 8)
    """
    net = Network(
        "ConvNeXt",
        include_top=include_top,
        weights=weights,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name,
        default_size=default_size,
        channels_first=False,
    )
    depths, widths = _four(net, "depths", depths), _four(net, "projection_dims", projection_dims)
    if net.pretrained:
        net.weights_from(_files(net, depths, widths))
    x = net.image
    if include_preprocessing and x.shape[-1] == 3:
        mean, variance = [255 * m for m in _MEAN], [(255 * s) ** 2 for s in _SPREAD]
        x = layers.Normalization(mean=mean, variance=variance, name=f"{name}_prestem_normalization")(x)
    rates = iter(np.linspace(0.0, check_rate(drop_path_rate, "drop_path_rate"), sum(depths)).tolist())
    for stage, (depth, filters) in enumerate(zip(depths, widths, strict=True)):
        x = _entry(stage, filters, name)(x)
        for number in range(depth):
            x = _block(x, filters, next(rates), layer_scale_init_value, f"{name}_stage_{stage}_block_{number}")
    if not include_top:
        return net.finish(_normalized()(net.pooled(x)))
    x = layers.GlobalAveragePooling2D(name=f"{name}_head_gap")(x)
    x = _normalized(f"{name}_head_layernorm")(x)
    return net.finish(net.classified(x, name=f"{name}_head_dense"))


def _four(net: Network, argument: str, numbers: Sequence[int]) -> tuple[int, ...]:
    if len(numbers) != 4 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise InputError(
            net.asked,
            received=f"{argument}={numbers!r}",
            because="it has four stages, and a positive integer for each",
            do="Pass (3, 3, 9, 3), or so." if argument == "depths" else "Pass (96, 192, 384, 768), or so.",
        )
    return tuple(numbers)


def _files(net: Network, depths: tuple[int, ...], widths: tuple[int, ...]) -> WeightFiles:
    if (depths, widths) not in _FILES:
        raise InputError(
            net.asked,
            received=f"weights='imagenet' with depths={depths} and projection_dims={widths}",
            because="there are no such weights of that size",
            do="Pass weights=None, or call ConvNeXtTiny, ConvNeXtSmall, ConvNeXtBase, ConvNeXtLarge or ConvNeXtXLarge.",
        )
    return _FILES[depths, widths]


def _sized(function: str) -> Any:
    """The public function of one of the sizes."""
    size = function.removeprefix("ConvNeXt").lower()
    depths, widths, _ = _SIZES[size]

    def make(
        include_top: bool = True,
        include_preprocessing: bool = True,
        weights: Weights = "imagenet",
        input_tensor: Any = None,
        input_shape: Any = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        name: str = f"convnext_{size}",
    ) -> Model:
        return ConvNeXt(
            depths, widths, 0.0, 1e-6, 224, name, include_preprocessing, include_top, weights, input_tensor,
            input_shape, pooling, classes, classifier_activation,
        )  # fmt: skip

    make.__name__ = make.__qualname__ = function
    make.__doc__ = _DOCUMENTATION.format(function=function, depths=depths, widths=widths)
    return make


_DOCUMENTATION = """{function}: stages of {depths} blocks with {widths} channels.

    Args:
        include_preprocessing: Whether the network begins with what makes pixels from 0 to 255 ready; only for images of
            3 channels.
        include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name: As in
            ``InceptionV3``; the default size is 224 x 224, the least 32 x 32, and channels stand last. Without the
            head, what is pooled is normalized.

    Returns:
        A model: images (batch, height, width, channels), pixels from 0 to 255, to (batch, classes) or to features.

    Raises:
        InputError: An argument that does not fit; a global data format other than channels last.
        DownloadError: ImageNet's weights could not be fetched.

    Source: Liu et al., 2022, "A ConvNet for the 2020s", https://arxiv.org/abs/2201.03545.
    """

ConvNeXtTiny = _sized("ConvNeXtTiny")
ConvNeXtSmall = _sized("ConvNeXtSmall")
ConvNeXtBase = _sized("ConvNeXtBase")
ConvNeXtLarge = _sized("ConvNeXtLarge")
ConvNeXtXLarge = _sized("ConvNeXtXLarge")

"""EfficientNetV2: EfficientNet with whole convolutions where images are large, and fewer channels inside its blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from verax.applications.imagenet_utils import MEAN_RGB, SPREAD_RGB, decode_predictions
from verax.applications.scaled import Stage, features, headed, style
from verax.layers import Normalization, Rescaling
from verax.model.model import Model

__all__ = [
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "decode_predictions",
    "preprocess_input",
]

_HASHES = {
    "B0": ("21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff"),
    "B1": ("069f0534ff22adf035c89e2d9547a9dc", "0e80663031ca32d657f9caa404b6ec37"),
    "B2": ("424e49f28180edbde1e94797771950a7", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "B3": ("1f1fc43bd98a6e4fd8fdfd551e02c7a0", "f6abf7b5849ac99a89b50dd3fd532856"),
    "S": ("e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070"),
    "M": ("a3bf6aa3276309f4fc6a34aa114c95cd", "1b8dc055df72dde80d614482840fe342"),
    "L": ("27e6d408b53c7ebc868fefa357689935", "b0b66b5c863aef5b46e8608fe1711615"),
}
_STYLE = style("dwconv2", momentum=0.9)


def _stages(*rows: tuple[int, int, int, int]) -> tuple[Stage, ...]:
    """Stages of (filters, blocks, expansion, stride); the first three are fused."""
    return tuple(Stage(*row, fused=number < 3) for number, row in enumerate(rows))


_B = _stages((16, 1, 1, 1), (32, 2, 4, 2), (48, 2, 4, 2), (96, 3, 4, 2), (112, 5, 6, 1), (192, 8, 6, 2))
_S = _stages((24, 2, 1, 1), (48, 4, 4, 2), (64, 4, 4, 2), (128, 6, 4, 2), (160, 9, 6, 1), (256, 15, 6, 2))
_M = _stages(
    (24, 3, 1, 1), (48, 5, 4, 2), (80, 5, 4, 2), (160, 7, 4, 2), (176, 14, 6, 1), (304, 18, 6, 2), (512, 5, 6, 1)
)
_L = _stages(
    (32, 4, 1, 1), (64, 7, 4, 2), (96, 7, 4, 2), (192, 10, 4, 2), (224, 19, 6, 1), (384, 25, 6, 2), (640, 7, 6, 1)
)

preprocess_input = preprocessing(None)


def _width(filters: float) -> int:
    """The nearest multiple of 8, the upper one of two."""
    return max(8, int(filters + 4) // 8 * 8)


def _sized(
    size: str,
    stages: Sequence[Stage],
    side: int,
    *,
    stem: int = 32,
    width: float = 1.0,
    depth: float = 1.0,
) -> Callable[..., Model]:
    """The function that makes the network of one size."""
    function, label = f"EfficientNetV2{size}", f"efficientnetv2-{size.lower()}"

    def make(
        include_top: bool = True,
        weights: Weights = "imagenet",
        input_tensor: Any = None,
        input_shape: Any = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        include_preprocessing: bool = True,
        name: str = label,
    ) -> Model:
        net = Network(function, **shared(locals()), default_size=side)
        net.weights_from(weight_files("efficientnet_v2", label, _HASHES[size], ends=(".h5", "_notop.h5")))
        x = _pixels(net.image, size) if include_preprocessing else net.image
        parts = sum(stage.blocks for stage in stages)  # of the network before scaling: deeper ones go beyond 0.2
        x = features(x, stages, _STYLE, stem=stem, width=lambda n: _width(n * width), depth=depth, parts=parts)
        return net.finish(headed(net, x, dropout=0.2))

    make.__name__ = make.__qualname__ = function
    make.__doc__ = f"""EfficientNetV2-{size}: filters by {width}, blocks by {depth}, images of {side}.

    Tan and Le, 2021, https://arxiv.org/abs/2104.00298, table 4 and section 3.3.

    Differs from Keras: ``name`` may be any; there, one of its own is a KeyError.
    """
    further = "Whether the network takes pixels from 0 to 255; if not, made ready by you."
    return documented(side, include_preprocessing=further)(make)


def _pixels(x: Any, size: str) -> Any:
    """Pixels from 0 to 255 made ready: by the mean color and its spread for the sizes B, on three colors."""
    if size.startswith("B") and x.shape[channel_axis()] == 3:
        variance = [spread**2 for spread in SPREAD_RGB]
        return Normalization(channel_axis(), mean=MEAN_RGB, variance=variance)(Rescaling(1 / 255)(x))
    return Rescaling(1 / 128, offset=-1)(x)


EfficientNetV2B0 = _sized("B0", _B, 224)
EfficientNetV2B1 = _sized("B1", _B, 240, depth=1.1)
EfficientNetV2B2 = _sized("B2", _B, 260, width=1.1, depth=1.2)
EfficientNetV2B3 = _sized("B3", _B, 300, width=1.2, depth=1.4)
EfficientNetV2S = _sized("S", _S, 384, stem=24)
EfficientNetV2M = _sized("M", _M, 480, stem=24)
EfficientNetV2L = _sized("L", _L, 480)

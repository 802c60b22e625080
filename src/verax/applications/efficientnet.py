"""EfficientNet: one network in eight sizes, each wider, deeper and for larger images than the one before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from verax.applications.building import Application, Network, application, channel_axis, preprocessing, weight_files
from verax.applications.imagenet_utils import SPREAD_RGB, decode_predictions
from verax.applications.mobile import whole_eights
from verax.applications.scaled import Stage, features, headed, style
from verax.layers import Normalization, Rescaling

__all__ = [
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "decode_predictions",
    "preprocess_input",
]

_HASHES = {
    "b0": ("902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"),
    "b1": ("1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"),
    "b2": ("b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "b3": ("ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"),
    "b4": ("18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    "b5": ("ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f"),
    "b6": ("165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743"),
    "b7": ("8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
}
_STAGES = (
    Stage(16, 1, 1, 1),
    Stage(24, 2, 6, 2),
    Stage(40, 2, 6, 2, kernel=5),
    Stage(80, 3, 6, 2),
    Stage(112, 3, 6, 1, kernel=5),
    Stage(192, 4, 6, 2, kernel=5),
    Stage(320, 1, 6, 1),
)
_STYLE = style("dwconv", pad="dwconv_pad")

preprocess_input = preprocessing(None)


def _sized(name: str, size: int) -> Callable[[Callable[[Network], Any]], Application]:
    ends, store = (".h5", "_notop.h5"), "https://storage.googleapis.com/keras-applications/"
    files = weight_files("", f"efficientnet{name}", _HASHES[name], ends=ends, store=store)
    return application(f"efficientnet{name}", files, default_size=size)


def _network(net: Network, width: float, depth: float, dropout: float) -> Any:
    x = Rescaling(1 / 255)(net.image)
    x = Normalization(axis=channel_axis())(x)
    if net.pretrained:
        # The file has the spread in the place of the variance: by its root once more, it is divided by the spread.
        x = Rescaling([1 / math.sqrt(spread) for spread in SPREAD_RGB])(x)
    parts = sum(math.ceil(depth * stage.blocks) for stage in _STAGES)
    x = features(x, _STAGES, _STYLE, stem=32, width=lambda n: whole_eights(n * width), depth=depth, parts=parts)
    return headed(net, x, dropout)


@_sized("b0", 224)
def EfficientNetB0(net: Network) -> Any:
    """EfficientNet-B0: filters by 1.0, blocks by 1.0, images of 224.

    Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and section 3.3.
    """
    return _network(net, 1.0, 1.0, 0.2)


@_sized("b1", 240)
def EfficientNetB1(net: Network) -> Any:
    """EfficientNet-B1: filters by 1.0, blocks by 1.1, images of 240.

    Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and section 3.3.
    """
    return _network(net, 1.0, 1.1, 0.2)


@_sized("b2", 260)
def EfficientNetB2(net: Network) -> Any:
    """EfficientNet-B2: filters by 1.1, blocks by 1.2, images of 260.

    Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and section 3.3.
    """
    return _network(net, 1.1, 1.2, 0.3)


@_sized("b3", 300)
def EfficientNetB3(net: Network) -> Any:
    """EfficientNet-B3: filters by 1.2, blocks by 1.4, images of 300.

    Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and section 3.3.
    """
    return _network(net, 1.2, 1.4, 0.3)


@_sized("b4", 380)
def EfficientNetB4(net: Network) -> Any:
    """EfficientNet-B4: filters by 1.4, blocks by 1.8, images of 380.

    Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and section 3.3.
    """
    return _network(net, 1.4, 1.8, 0.4)


@_sized("b5", 456)
def EfficientNetB5(net: Network) -> Any:
    """EfficientNet-B5: filters by 1.6, blocks by 2.2, images of 456.

    Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and section 3.3.
    """
    return _network(net, 1.6, 2.2, 0.4)


@_sized("b6", 528)
def EfficientNetB6(net: Network) -> Any:
    """EfficientNet-B6: filters by 1.8, blocks by 2.6, images of 528.

    Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and section 3.3.
    """
    return _network(net, 1.8, 2.6, 0.5)


@_sized("b7", 600)
def EfficientNetB7(net: Network) -> Any:
    """EfficientNet-B7: filters by 2.0, blocks by 3.1, images of 600.

    Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1 and section 3.3.
    """
    return _network(net, 2.0, 3.1, 0.5)

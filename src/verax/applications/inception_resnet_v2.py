"""Inception-ResNet v2 (Szegedy et al., 2016): branches as in Inception, added to what they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verax import layers
from verax.applications.building import Network, application, channel_axis, preprocessing, weight_files
from verax.applications.imagenet_utils import decode_predictions
from verax.applications.inception_v3 import STEM, Branch, along, convolved, mixed
from verax.layers.residual import CustomScaleLayer

__all__ = ["InceptionResNetV2", "decode_predictions", "preprocess_input"]

#: What stands before each row of residual blocks: its name and its branches (figures 3, 7 and 12 of the paper).
_MIXED: tuple[tuple[str, Sequence[Branch]], ...] = (
    ("mixed_5b", ([(96, 1)], [(48, 1), (64, 5)], [(64, 1), (96, 3), (96, 3)], ["average", (64, 1)])),
    ("mixed_6a", ([(384, 3, 2, "valid")], [(256, 1), (256, 3), (384, 3, 2, "valid")], ["max"])),
    (
        "mixed_7a",
        (
            [(256, 1), (384, 3, 2, "valid")],
            [(256, 1), (288, 3, 2, "valid")],
            [(256, 1), (288, 3), (320, 3, 2, "valid")],
            ["max"],
        ),
    ),
)

#: The rows of residual blocks: name, how many, by what their sum is scaled, branches (figures 16, 17 and 19).
_RESIDUAL: tuple[tuple[str, int, float, Sequence[Branch]], ...] = (
    ("block35", 10, 0.17, ([(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)])),
    ("block17", 20, 0.1, ([(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))])),
    ("block8", 10, 0.2, ([(192, 1)], [(192, 1), (224, (1, 3)), (256, (3, 1))])),
)


def _residual(x: Any, branches: Sequence[Branch], scale: float, name: str, *, last: bool) -> Any:
    branch = mixed(x, branches, f"{name}_mixed")
    branch = layers.Conv2D(x.shape[channel_axis()], 1, padding="same", name=f"{name}_conv")(branch)
    x = CustomScaleLayer(1.0 if last else scale)([x, branch])
    return x if last else layers.Activation("relu", name=f"{name}_ac")(x)


_FILES = weight_files(
    "inception_resnet_v2",
    "inception_resnet_v2",
    ("e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4"),
)


@application("inception_resnet_v2", _FILES, default_size=299, min_size=75)
def InceptionResNetV2(net: Network) -> Any:
    """Inception-ResNet v2 (Szegedy et al., 2016, https://arxiv.org/abs/1602.07261): branches, added to their input."""
    x = along(net.image, STEM)
    for (name, branches), (kind, count, scale, inner) in zip(_MIXED, _RESIDUAL, strict=True):
        x = mixed(x, branches, name)
        for number in range(1, count + 1):
            x = _residual(x, inner, scale, f"{kind}_{number}", last=(kind, number) == ("block8", 10))
    return net.head(convolved(x, 1536, 1, name="conv_7b"))


preprocess_input = preprocessing("tf")

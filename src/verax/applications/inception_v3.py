"""Inception v3 (Szegedy et al., 2015): parallel branches of convolutions, large kernels factored into small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verax import layers
from verax.applications.building import Network, application, channel_axis, preprocessing, weight_files
from verax.applications.imagenet_utils import decode_predictions

__all__ = ["InceptionV3", "along", "convolved", "decode_predictions", "mixed", "preprocess_input"]

#: A step of a branch: the arguments of ``convolved``, or the name of a pooling.
Step = tuple[Any, ...] | str
Branch = Sequence[Step]

#: What every Inception network since v3 begins with.
STEM: Branch = (
    (32, 3, 2, "valid"),
    (32, 3, 1, "valid"),
    (64, 3),
    "max",
    (80, 1, 1, "valid"),
    (192, 3, 1, "valid"),
    "max",
)


def _wide(pooled: int) -> tuple[Branch, ...]:
    return [(64, 1)], [(48, 1), (64, 5)], [(64, 1), (96, 3), (96, 3)], ["average", (pooled, 1)]


def _factored(inner: int) -> tuple[Branch, ...]:
    row, column = (1, 7), (7, 1)
    return (
        [(192, 1)],
        [(inner, 1), (inner, row), (192, column)],
        [(inner, 1), (inner, column), (inner, row), (inner, column), (192, row)],
        ["average", (192, 1)],
    )


#: The branches of ``mixed0``, ``mixed1``, ...: figures 5 and 6 of the paper, and between them what halves the image.
_MIXED: tuple[tuple[Branch, ...], ...] = (
    _wide(32),
    _wide(64),
    _wide(64),
    ([(384, 3, 2, "valid")], [(64, 1), (96, 3), (96, 3, 2, "valid")], ["max"]),
    _factored(128),
    _factored(160),
    _factored(160),
    _factored(192),
    (
        [(192, 1), (320, 3, 2, "valid")],
        [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, "valid")],
        ["max"],
    ),
)


def convolved(
    x: Any,
    filters: int,
    kernel: int | tuple[int, int],
    strides: int = 1,
    padding: str = "same",
    name: str | None = None,
) -> Any:
    """Convolution, batch normalization without a scale, ReLU; all three named if ``name`` is given."""
    x = layers.Conv2D(filters, kernel, strides, padding, use_bias=False, name=name)(x)
    x = layers.BatchNormalization(channel_axis(), scale=False, name=name and f"{name}_bn")(x)
    return layers.Activation("relu", name=name and f"{name}_ac")(x)


def along(x: Any, branch: Branch) -> Any:
    """``x`` through the steps of a branch."""
    for step in branch:
        if not isinstance(step, str):
            x = convolved(x, *step)
        elif step == "average":
            x = layers.AveragePooling2D(3, strides=1, padding="same")(x)
        else:
            x = layers.MaxPooling2D(3, strides=2)(x)
    return x


def mixed(x: Any, branches: Sequence[Branch], name: str | None = None) -> Any:
    """The results of branches from ``x``, side by side as channels."""
    return layers.concatenate([along(x, branch) for branch in branches], axis=channel_axis(), name=name)


_FILES = weight_files(
    "inception_v3", "inception_v3", ("9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63")
)


@application("inception_v3", _FILES, default_size=299, min_size=75)
def InceptionV3(net: Network) -> Any:
    """Inception v3 (Szegedy et al., 2015, https://arxiv.org/abs/1512.00567): branches of factored convolutions."""
    x = along(net.image, STEM)
    for number, branches in enumerate(_MIXED):
        x = mixed(x, branches, f"mixed{number}")
    split: Sequence[Branch] = [(384, (1, 3))], [(384, (3, 1))]
    for number in range(2):  # figure 7 of the paper
        parts = [
            along(x, [(320, 1)]),
            mixed(along(x, [(384, 1)]), split, f"mixed9_{number}"),
            mixed(along(x, [(448, 1), (384, 3)]), split),
            along(x, ["average", (192, 1)]),
        ]
        x = layers.concatenate(parts, axis=channel_axis(), name=f"mixed{9 + number}")
    return net.head(x)


preprocess_input = preprocessing("tf")

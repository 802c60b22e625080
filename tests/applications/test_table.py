"""Every network is built of Keras' layers, in Keras' order, with its names, shapes, parameters and arguments."""

from __future__ import annotations

from typing import Any

import pytest

import verax
from tests.applications import table
from tests.applications.side_by_side import undrawn
from tests.oracle import oracle
from verax import applications

TABLE = table.rows()
#: The smallest of each family: these are compared without their heads, too.
# fmt: off
BARE = {"ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3",
        "MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile", "ResNet50", "ResNet50V2", "VGG16", "Xception"}
# fmt: on
THERE = [name for name in TABLE if hasattr(applications, name)]


@pytest.mark.parametrize("name", THERE)
def test_a_network_is_made_of_keras_layers(name: str):
    expected = TABLE[name]
    parts = ("whole", "bare") if name in BARE else ("whole",)
    with undrawn():
        found: dict[str, Any] = table.row(getattr(applications, name), verax, parts)
    assert found["arguments"] == expected["arguments"]
    for key in parts:
        ours, theirs = found[key], expected[key]
        assert _first_other(name, ours["layers"], theirs["layers"]) == ""
        assert ours == theirs


def _first_other(name: str, ours: str, theirs: str) -> str:
    """The first layer that is another one, in words."""
    if ours == theirs or len(theirs) == 16:
        return ""
    model = getattr(applications, name)(weights=None)
    for i, line in enumerate(table.lines(model)):
        here = slice(i * table.DIGITS, (i + 1) * table.DIGITS)
        if ours[here] != theirs[here]:
            return f"layer {i} is another one than in Keras: {line}"
    return f"{len(theirs) // table.DIGITS} layers in Keras"


def test_the_table_has_every_network_of_keras():
    with oracle() as keras:
        assert list(TABLE) == sorted(name for name in dir(keras.applications) if name[0].isupper())

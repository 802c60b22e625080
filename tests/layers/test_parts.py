"""Every initializer, regularizer and constraint that a constructor takes reaches its weight, and no other."""

from __future__ import annotations

import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from verax import layers
from verax.constraints import Constraint
from verax.initializers import Constant
from verax.regularizers import L2

IMAGE = (1, 5, 5, 4)
MADE = [
    (layers.Dense, (2,), (1, 4)),
    (layers.Embedding, (5, 2), (1, 4)),
    (layers.ReversibleEmbedding, (5, 2), (1, 4)),
    (layers.PReLU, (), (1, 4)),
    (layers.Conv1D, (2, 2), (1, 5, 4)),
    (layers.Conv2D, (2, 2), IMAGE),
    (layers.Conv3D, (2, 2), (1, 3, 3, 3, 2)),
    (layers.Conv1DTranspose, (2, 2), (1, 5, 4)),
    (layers.Conv2DTranspose, (2, 2), IMAGE),
    (layers.Conv3DTranspose, (2, 2), (1, 3, 3, 3, 2)),
    (layers.DepthwiseConv1D, (2,), (1, 5, 4)),
    (layers.DepthwiseConv2D, (2,), IMAGE),
    (layers.SeparableConv1D, (2, 2), (1, 5, 4)),
    (layers.SeparableConv2D, (2, 2), IMAGE),
    (layers.BatchNormalization, (), (2, 4)),
    (layers.LayerNormalization, (), (2, 4)),
    (layers.GroupNormalization, (2,), (2, 4)),
]
PARTS = [
    (kind, arguments, shape, name)
    for kind, arguments, shape in MADE
    for name in inspect.signature(kind).parameters
    if name.endswith(("_initializer", "_regularizer", "_constraint")) and name != "activity_regularizer"
]


class Halve(Constraint):
    def __call__(self, w):
        return w / 2


@pytest.mark.parametrize(("kind", "arguments", "shape", "name"), PARTS, ids=lambda p: getattr(p, "__name__", str(p)))
def test_a_part_reaches_its_weight(kind, arguments, shape, name):
    weight, _, part = name.rpartition("_")
    given = {"initializer": Constant(0.375), "regularizer": L2(0.1), "constraint": Halve()}[part]
    layer = kind(*arguments, **{name: given})
    assert getattr(layer, name) is given
    layer(jnp.ones(shape, "int32" if "Embedding" in kind.__name__ else "float32"))
    if part == "initializer":
        reached = [w.name for w in layer.weights if np.all(w.numpy() == 0.375)]
    else:
        reached = [w.name for w in layer.weights if getattr(w, part) is given]
    expected = {"depthwise": "kernel", "pointwise": "pointwise_kernel"}.get(weight, weight)
    if "Separable" in kind.__name__ and weight == "depthwise":
        expected = "depthwise_kernel"
    assert reached == [expected]


def test_attributes_are_those_of_keras():
    layer = layers.SeparableConv2D(2, 3, depthwise_initializer="zeros")
    assert type(layer.depthwise_initializer).__name__ == "Zeros"
    assert layer.pointwise_regularizer is None

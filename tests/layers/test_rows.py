"""The rows of the table say every argument of a layer at least once."""

from __future__ import annotations

import inspect
from collections import defaultdict
from functools import cache

import pytest

from tests.layers.cases import CASES
from verax import layers

#: What no row can say: what every layer has, what Keras does not, and what is no part of a configuration.
COMMON = {"self", "kwargs", "args", "name", "trainable", "dtype", "activity_regularizer", "input_shape", "remat"}
ELSEWHERE = {("Cropping1D", "data_format"), ("Embedding", "weights")}
FAMILIES = {
    "activation",
    "adaptive_pooling",
    "convolutional",
    "core",
    "einsum_dense",
    "merging",
    "normalization",
    "pooling",
    "reshaping",
    "row_normalization",
    "separable",
    "transposed",
}
KINDS = sorted(
    {kind for kind in vars(layers).values() if isinstance(kind, type) and kind.__module__.split(".")[-1] in FAMILIES}
    - {layers.Lambda},
    key=lambda kind: kind.__name__,
)


@cache
def said() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for case in CASES:
        layer = case.make(layers)
        args, kwargs = layer._core.arguments
        bound = inspect.signature(type(layer).__init__).bind_partial(layer, *args, **kwargs).arguments
        found[type(layer).__name__] |= {*bound, *bound.get("kwargs", {})}
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_argument_stands_in_a_row(kind):
    arguments = set(inspect.signature(kind.__init__).parameters) - COMMON
    arguments -= {argument for name, argument in ELSEWHERE if name == kind.__name__}
    assert kind.__name__ in said(), "no row makes it"
    assert arguments <= said()[kind.__name__]

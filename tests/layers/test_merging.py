"""The functions that merge."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle import oracle
from verax import layers

FUNCTIONS = ["add", "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_merge_as_in_keras(name):
    x = [np.random.default_rng(i).normal(size=(3, 4)).astype("float32") for i in range(2)]
    further = {"axes": 1} if name == "dot" else {}
    with oracle() as keras:
        expected = getattr(keras.layers, name)(x, **further)
    np.testing.assert_allclose(getattr(layers, name)(x, **further), expected, rtol=1e-6)

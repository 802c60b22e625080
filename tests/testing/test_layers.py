"""check_layer passes for every layer, and finds every fault that is planted."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.layers.cases import CASES, Case
from tests.layers.test_against_keras import inputs_of
from verax import layers
from verax.testing import CheckError, check_layer


def first_of_each_class() -> list[Case]:
    found: dict[str, Case] = {}
    for case in CASES:
        found.setdefault(type(case.make(layers)).__name__, case)
    return list(found.values())


@pytest.mark.parametrize("case", first_of_each_class(), ids=lambda c: c.name)
def test_every_layer_passes(case: Case):
    x = inputs_of(case, np.random.default_rng(0))
    check_layer(case.make(layers), *(x if case.spread else (x,)))


class Always(layers.Layer):
    """Drops in inference too: it never asks for the mode."""

    def call(self, x):
        import jax

        return jnp.where(jax.random.bernoulli(self.draw_key(), 0.5, x.shape), x, 0.0)


class OfNumpy(layers.Layer):
    """Draws where no key reaches."""

    def call(self, x):
        return x + np.random.default_rng().normal(size=x.shape).astype("float32")


class Ignores(layers.Layer):
    """Batch normalization that ignores the mode."""

    def call(self, x):
        return (x - x.mean(axis=0, keepdims=True)) / (x.std(axis=0, keepdims=True) + 1e-3)


class Counts(layers.Layer):
    """Changes its state in inference."""

    def build(self, input_shape):
        self.calls = self.add_weight((), "zeros", trainable=False, name="calls")

    def call(self, x):
        self.calls.assign(self.calls.value + 1.0)
        return x


class Unused(layers.Layer):
    """Has a weight that it never reads."""

    def build(self, input_shape):
        self.kernel = self.add_weight((2,), name="kernel")

    def call(self, x):
        return 2.0 * x


class Rooted(layers.Layer):
    """Has a gradient that is infinite at its first weights."""

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1],), "zeros", name="kernel")

    def call(self, x):
        return x + jnp.sqrt(jnp.abs(self.kernel.value))[None]


class Forgets(layers.Layer):
    """Has a configuration that lacks an argument."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return {"name": self.name}


class Stubborn(layers.Layer):
    """Computes in float32 whatever it is told."""

    def call(self, x):
        return x.astype("float32") * jnp.float32(2)


class Conditional(layers.Layer):
    """Decides by a value."""

    def call(self, x):
        return x if float(jnp.sum(x)) > 0 else -x


class Masked(layers.Layer):
    """Drops steps and keeps their mask."""

    supports_masking = True

    def call(self, x):
        return x[:, 1:]


IMAGE = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        (Always(), "call"),
        (OfNumpy(), "draws"),
        (Ignores(), "rows"),
        (Counts(), "state"),
        (Unused(), "gradient"),
        (Rooted(), "gradient"),
        (Forgets(3.0), "config"),
        (Stubborn(), "dtype"),
        (Conditional(), "jit"),
        (Masked(), "mask"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, layers.Layer) else v,
)
def test_a_planted_fault_is_found(layer, fault):
    with pytest.raises(CheckError) as caught:
        check_layer(layer, IMAGE if isinstance(layer, Masked) else IMAGE[:, 0])
    assert next(iter(caught.value.faults)) == fault


def test_a_layer_that_mixes_rows_may_say_so():
    check_layer(Ignores(), IMAGE[:, 0], mixes_rows=True)


def test_checking_leaves_the_layer_as_it_is():
    layer = verax.layers.BatchNormalization()
    layer(IMAGE)
    before = layer.get_weights()
    check_layer(layer, IMAGE)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

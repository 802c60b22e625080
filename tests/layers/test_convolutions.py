"""Convolutions where Keras has no answer, and what their constructors refuse."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from verax import layers
from verax.errors import InputError, ShapeError, UnknownNameError

RNG = np.random.default_rng(0)


def test_a_transposed_convolution_with_strides_and_dilation_spreads_its_kernel():
    x = RNG.normal(size=(2, 5, 3)).astype("float32")
    layer = layers.Conv1DTranspose(4, 3, strides=2, dilation_rate=2)
    got = layer(x)
    kernel = layer.kernel.numpy()
    expected = np.zeros((2, 2 * 4 + 5, 4))
    for t in range(5):
        for k in range(3):
            expected[:, 2 * t + 2 * k] += x[:, t] @ kernel[k].T
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("first", [False, True])
def test_a_separable_convolution_with_strides_and_dilation_is_two_sums(first):
    x = RNG.normal(size=(2, 9, 3)).astype("float32")
    layer = layers.SeparableConv1D(
        4, 3, strides=2, dilation_rate=2, depth_multiplier=2, data_format="channels_first" if first else None
    )
    got = np.asarray(layer(np.moveaxis(x, -1, 1) if first else x))
    depthwise, pointwise = layer.depthwise_kernel.numpy(), layer.pointwise_kernel.numpy()[0]
    mid = sum(x[:, 2 * k : 2 * k + 5 : 2, :, None] * depthwise[k] for k in range(3))
    expected = mid.reshape(2, 3, 6) @ pointwise
    np.testing.assert_allclose(np.moveaxis(got, 1, -1) if first else got, expected, rtol=1e-5, atol=1e-5)


def test_aliases_are_the_layers_themselves():
    for rank in (1, 2, 3):
        assert getattr(layers, f"Convolution{rank}DTranspose") is getattr(layers, f"Conv{rank}DTranspose")
    for rank in (1, 2):
        assert getattr(layers, f"SeparableConvolution{rank}D") is getattr(layers, f"SeparableConv{rank}D")


def test_a_subclass_with_a_constructor_of_its_own():
    class Edge(layers.Conv2D):
        def __init__(self, width=3, **kwargs):
            super().__init__(1, width, padding="same", use_bias=False, **kwargs)

    layer = Edge(5, name="edge")
    assert layer(jnp.ones((1, 8, 8, 2))).shape == (1, 8, 8, 1)
    assert layer.get_config() == {"name": "edge", "width": 5}


@pytest.mark.parametrize(
    ("make", "kind", "told"),
    [
        (lambda: layers.SeparableConv1D(0, 3), InputError, "filters"),
        (lambda: layers.SeparableConv2D(2, 3, depth_multiplier=0), InputError, "depth_multiplier"),
        (lambda: layers.DepthwiseConv1D(3, depth_multiplier=1.5), InputError, "depth_multiplier"),
        (lambda: layers.DepthwiseConv1D(3, padding="causal"), UnknownNameError, "causal"),
        (lambda: layers.Conv1DTranspose(2, 3, padding="causal"), UnknownNameError, "causal"),
        (lambda: layers.Conv1DTranspose(2, 3, strides=2, output_padding=2), InputError, "output_padding=2"),
        (lambda: layers.Conv3DTranspose(2, 3, strides=2, output_padding=(1, 0)), InputError, "output_padding"),
        (lambda: layers.Conv2DTranspose(2, 3, strides=2, output_padding=-1), InputError, "below its stride"),
        (lambda: layers.Conv1D(4, 3, groups=0), InputError, "groups"),
        (lambda: layers.AdaptiveMaxPooling2D((1, 2, 3)), InputError, "output_size"),
        (lambda: layers.AdaptiveAveragePooling1D(0), InputError, "output_size"),
    ],
)
def test_wrong_arguments(make, kind, told):
    with pytest.raises(kind, match=told):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "told"),
    [
        (layers.SeparableConv2D(2, 9), (1, 5, 5, 3), "does not fit"),
        (layers.DepthwiseConv1D(2), (1, 5), "3 axes"),
        (layers.Conv3DTranspose(2, 2), (1, 5, 5, 5), "5 axes"),
        (layers.AdaptiveMaxPooling1D(2), (1, 5), "3 axes"),
    ],
)
def test_wrong_inputs(layer, shape, told):
    with pytest.raises(ShapeError, match=told):
        layer(jnp.ones(shape))
    assert not layer.weights


def test_sizes_that_are_not_known():
    x = layers.Input((None, None, 3))
    assert layers.SeparableConv2D(4, 3, strides=2, padding="same")(x).shape == (None, None, None, 4)
    assert layers.Conv2DTranspose(4, 3, strides=2)(x).shape == (None, None, None, 4)
    assert layers.AdaptiveAveragePooling2D((3, 5))(x).shape == (None, 3, 5, 3)
    with pytest.raises(ShapeError, match="unknown size"):
        layers.SeparableConv1D(2, 3)(layers.Input((5, None)))

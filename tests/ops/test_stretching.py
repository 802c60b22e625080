"""Sums over many places in half precision: the gradients of biases and scales are those of float32."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import verax
from tests.kernels import kernels
from verax.frame.frame import pure, values
from verax.frame.mode import Mode
from verax.layers import (
    GRU,
    LSTM,
    AdditiveAttention,
    Attention,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    ConvLSTM1D,
    Dense,
    DepthwiseConv2D,
    EinsumDense,
    Embedding,
    Layer,
    PReLU,
    SimpleRNN,
)
from verax.layers.residual import LayerScale
from verax.ops.stretching import stretch

# Each program runs once: compiling it is the time these tests take.
quickly_compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Scores(Layer):
    """An attention's scores, whose gradients do not cancel as those of its weights do, which add up to 1."""

    def __init__(self, inner):
        super().__init__(dtype=inner.dtype_policy)
        self.inner = inner
        inner.build([(None, 64, 3)] * 2)

    def call(self, x):
        return self.inner.scores(x, x)


#: A layer, the shape of its input, and its weight that many places share.
CASES = {
    "dense": (lambda how: Dense(2, **how), (4, 1024, 3), "bias"),
    "einsum": (lambda how: EinsumDense("abc,cd->abd", (None, 2), bias_axes="d", **how), (4, 1024, 3), "bias"),
    "convolution": (lambda how: Conv2D(2, 3, padding="same", **how), (4, 32, 32, 3), "bias"),
    "channels first": (lambda how: Conv1D(2, 1, data_format="channels_first", **how), (4, 3, 1024), "bias"),
    "groups": (lambda how: Conv1D(4, 3, padding="same", groups=2, **how), (4, 1024, 4), "bias"),
    "each channel": (lambda how: DepthwiseConv2D(3, padding="same", **how), (4, 32, 32, 3), "bias"),
    "transposed": (lambda how: Conv2DTranspose(2, 3, padding="same", **how), (4, 32, 32, 3), "bias"),
    "lstm": (lambda how: LSTM(2, return_sequences=True, **how), (128, 16, 3), "lstm_cell/bias"),
    "gru": (lambda how: GRU(2, return_sequences=True, **how), (128, 16, 3), "gru_cell/bias"),
    "images over time": (lambda how: ConvLSTM1D(2, 1, **how), (8, 2, 256, 3), "conv_lstm_cell/bias"),
    "over time": (
        lambda how: SimpleRNN(2, "sigmoid", return_sequences=True, **how),
        (4, 512, 3),
        "simple_rnn_cell/recurrent_kernel",
    ),
    "state's bias": (lambda how: GRU(2, "sigmoid", return_sequences=True, **how), (4, 512, 3), "gru_cell/bias"),
    "images over much time": (
        lambda how: ConvLSTM1D(2, 1, return_sequences=True, **how),
        (2, 256, 2, 3),
        "conv_lstm_cell/recurrent_kernel",
    ),
    "table": (lambda how: Embedding(1, 2, **how), (4, 1024), "embeddings"),
    "scores": (lambda how: Scores(Attention(use_scale=True, **how)), (2, 64, 3), "inner/scale"),
    "concatenated scores": (
        lambda how: Scores(Attention(score_mode="concat", **how)),
        (2, 64, 3),
        "inner/concat_score_weight",
    ),
    "scores of features": (lambda how: Scores(AdditiveAttention(**how)), (2, 64, 3), "inner/scale"),
    "slope": (lambda how: PReLU("ones", shared_axes=1, **how), (4, 1024, 3), "alpha"),
    "scale": (lambda how: LayerScale(1.0, 3, **how), (4, 1024, 3), "gamma"),
}


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_what_many_places_share_has_the_gradient_of_float32(fast):
    inputs = {what: 1 + np.random.default_rng(0).random(shape, "float32") for what, (_, shape, _) in CASES.items()}
    inputs["table"] = np.zeros(CASES["table"][1], "int32")
    made = {}
    for dtype in ("mixed_bfloat16", "float32"):
        for what, (make, _, _) in CASES.items():
            verax.utils.set_random_seed(1)
            made[dtype, what] = make({"dtype": dtype})
            made[dtype, what](inputs[what][:1])

    def gradient(layer, params, x):
        def total(params):
            y = pure(layer)(params, {}, x, mode=Mode.TRAIN, key=jax.random.key(0))[0].astype("float32")
            return jnp.sum(y * jnp.linspace(1, 1.5, y.size).reshape(y.shape))

        return jax.grad(total)(params)

    def run(params, inputs):
        return {(dtype, what): gradient(made[dtype, what], p, inputs[what]) for (dtype, what), p in params.items()}

    with kernels(fast):
        found = quickly_compiled(run)({key: values(layer)[0] for key, layer in made.items()}, inputs)
    for what, (_, _, name) in CASES.items():
        half, expected = (np.asarray(found[dtype, what][name]) for dtype in ("mixed_bfloat16", "float32"))
        # Each addend is rounded to 2**-9 of itself, some of them several times; summed in bfloat16, most are lost.
        np.testing.assert_allclose(half, expected, rtol=0.01, atol=0.01 * np.abs(expected).max(), err_msg=what)


def test_values_are_the_same_and_wider_dtypes_stay_as_they_are():
    x = jnp.ones((2, 5, 3), "float16")
    bias = jnp.asarray([[[0.1, -3.0, 60000.0]]], "float16")
    np.testing.assert_array_equal(x + stretch(bias, x), x + bias)
    assert stretch(bias, x).shape == x.shape
    for dtype in ("float32", "int8"):
        assert stretch(bias.astype(dtype), x).shape == bias.shape

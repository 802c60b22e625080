"""Spectrograms: their first kernels, closed forms, what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle import oracle
from verax import layers
from verax.errors import InputError, ShapeError, UnknownNameError

X = np.random.default_rng(0).normal(size=(2, 90, 1)).astype("float32")


@pytest.mark.parametrize("window", ["hann", "hamming", None, np.linspace(0.5, 1, 16)])
@pytest.mark.parametrize("scaling", ["density", "spectrum", None])
def test_first_kernels_are_keras(window, scaling):
    arguments = {"frame_length": 16, "window": window, "scaling": scaling, "periodic": scaling is None}
    with oracle() as keras:
        theirs = keras.layers.STFTSpectrogram("stft", **arguments)
        theirs(X)
    ours = layers.STFTSpectrogram("stft", **arguments)
    ours(X)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)  # Keras' angles are rounded to float32, up to 2e-6 * pi * 16


def test_the_spectrum_is_numpys():
    got = np.asarray(layers.STFTSpectrogram("stft", 16, 16, window=None, scaling=None)(X))
    expected = np.fft.rfft(X[:, :80, 0].reshape(2, 5, 16))
    np.testing.assert_allclose(got, np.concatenate([expected.real, expected.imag], -1), atol=1e-4)


def test_a_signals_picture_does_not_depend_on_the_batch():
    layer = layers.MelSpectrogram(32, 10, num_mel_bins=6, top_db=10.0)
    loud = np.stack([X[0, :, 0], 1e4 * X[1, :, 0]])
    np.testing.assert_allclose(layer(loud)[0], layer(loud[0]), rtol=1e-5)
    with oracle() as keras:
        theirs = keras.layers.MelSpectrogram(32, 10, num_mel_bins=6, top_db=10.0)
        np.testing.assert_allclose(layer(loud)[0], theirs(loud[:1])[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: layers.MelSpectrogram(32, sequence_length=64), InputError, "at most as long"),
        (lambda: layers.MelSpectrogram(32, window="square"), InputError, "scipy.signal"),
        (lambda: layers.STFTSpectrogram("power"), UnknownNameError, "mode"),
        (lambda: layers.STFTSpectrogram(frame_step=300), InputError, "from 1 to frame_length"),
        (lambda: layers.STFTSpectrogram(fft_length=100), InputError, "at least frame_length"),
        (lambda: layers.STFTSpectrogram(window=np.ones(3)), InputError, "one number for each"),
        (lambda: layers.STFTSpectrogram(padding="full"), UnknownNameError, "padding"),
        (lambda: layers.STFTSpectrogram()(X), ShapeError, "90 samples"),
    ],
)
def test_what_cannot_be_is_said(make, error, match):
    with pytest.raises(error, match=match):
        make()

"""Fourier transforms of signals, whole and in pieces; complex numbers go in and come out as (real, imaginary)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from verax.errors import DtypeError, InputError, ShapeError, UnknownNameError

__all__ = ["extract_sequences", "fft", "fft2", "ifft2", "irfft", "istft", "rfft", "stft"]

_WINDOWS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}

Pair = tuple[jax.Array, jax.Array]


def _complex(x: Any, name: str) -> jax.Array:
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise InputError(
            f"ops.{name} was called.",
            received=type(x).__name__,
            because="it takes two arrays: the real and the imaginary part",
            do=f"Call ops.{name}((real, imaginary)).",
        )
    real, imaginary = (jnp.asarray(part) for part in x)
    if real.shape != imaginary.shape:
        raise ShapeError(f"ops.{name} was called.", received=f"parts of shapes {real.shape} and {imaginary.shape}")
    if not all(jnp.issubdtype(part.dtype, jnp.floating) for part in (real, imaginary)):
        raise DtypeError(f"ops.{name} was called.", received=f"parts of {real.dtype} and {imaginary.dtype}")
    return lax.complex(real, imaginary)


def _parts(x: jax.Array) -> Pair:
    return jnp.real(x), jnp.imag(x)


def fft(x: Any) -> Pair:
    """The discrete Fourier transform over the last axis of (real, imaginary)."""
    return _parts(jnp.fft.fft(_complex(x, "fft")))


def fft2(x: Any) -> Pair:
    """The discrete Fourier transform over the last two axes of (real, imaginary)."""
    return _parts(jnp.fft.fft2(_complex(x, "fft2")))


def ifft2(x: Any) -> Pair:
    """The inverse of ``fft2``."""
    return _parts(jnp.fft.ifft2(_complex(x, "ifft2")))


def rfft(x: Any, fft_length: int | None = None) -> Pair:
    """The discrete Fourier transform of real numbers over the last axis, cut or padded to ``fft_length`` first."""
    return _parts(jnp.fft.rfft(jnp.asarray(x), fft_length))


def irfft(x: Any, fft_length: int | None = None) -> jax.Array:
    """The inverse of ``rfft``, ``fft_length`` numbers long; 2 (bins - 1) when None."""
    return jnp.fft.irfft(_complex(x, "irfft"), fft_length)


def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> jax.Array:
    """Pieces (..., pieces, sequence_length) of signals (..., n), each ``sequence_stride`` after the last.

    >>> extract_sequences(jnp.arange(6.0), 3, 2).tolist()
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    """
    x = jnp.asarray(x)
    pieces = max(0, (x.shape[-1] - sequence_length) // sequence_stride + 1)
    where = np.arange(pieces)[:, None] * sequence_stride + np.arange(sequence_length)[None, :]
    return x[..., where]


def stft(
    x: Any, sequence_length: int, sequence_stride: int, fft_length: int, window: Any = "hann", center: bool = True
) -> Pair:
    """The Fourier transforms of pieces of signals, each multiplied by a window.

    Args:
        x: (..., n), float32 or float64.
        sequence_length: How long the window is.
        sequence_stride: How far it moves.
        fft_length: How long pieces are; the window stands in their middle.
        window: ``"hann"``, ``"hamming"``, (sequence_length,) numbers, or None for all ones.
        center: Whether the signal is continued by reflection, so that piece t has its middle at t strides.

    Returns:
        Real and imaginary part, (..., pieces, fft_length // 2 + 1).
    """
    x = jnp.asarray(x)
    if x.dtype.name not in ("float32", "float64"):
        raise DtypeError("ops.stft was called.", received=str(x.dtype), because="it is float32 or float64")
    shape = _window(window, sequence_length, fft_length, x.dtype, "stft")
    if center:
        around = [(0, 0)] * (x.ndim - 1) + [(fft_length // 2, fft_length // 2)]
        x = jnp.pad(x, around, mode="reflect")
    pieces = extract_sequences(x, fft_length, sequence_stride)
    return _parts(jnp.fft.rfft(pieces * shape.reshape((1,) * (pieces.ndim - 1) + (-1,))))


def istft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> jax.Array:
    """The inverse of ``stft``: Σ pieces · window / Σ window², each where it stood.

    Args:
        x: Real and imaginary part, (..., pieces, fft_length // 2 + 1).
        sequence_length, sequence_stride, fft_length, window, center: Those of ``stft``.
        length: How many numbers to return; as many as the pieces reach when None.

    Differs from Keras: with ``window=None``, and with pieces side by side, it inverts ``stft`` too; on JAX Keras'
    result is fft_length / sequence_stride times as large, or of another length.
    """
    spectrum = _complex(x, "istft")
    if spectrum.ndim < 2:
        raise ShapeError(
            "ops.istft was called.", received=f"shape {spectrum.shape}", because="it is (..., pieces, bins)"
        )
    pieces = jnp.fft.irfft(spectrum, fft_length)
    n = pieces.shape[-2]
    whole = fft_length + sequence_stride * (n - 1)
    shape = _window(window, sequence_length, fft_length, pieces.dtype, "istft")
    where = np.arange(n)[:, None] * sequence_stride + np.arange(fft_length)[None, :]
    rows = pieces.shape[:-2]
    added = jnp.zeros((*rows, whole), pieces.dtype).at[..., where].add(pieces * _last(shape, pieces.ndim))
    weight = jnp.zeros((whole,), pieces.dtype).at[where].add(jnp.broadcast_to(jnp.square(shape)[None, :], where.shape))
    weight = jnp.where(weight > 1e-10, weight, jnp.ones_like(weight))
    signal = added / _last(weight, added.ndim)
    start = fft_length // 2 if center else 0
    end = start + length if length is not None else whole - start
    return signal[..., start:end]


def _last(vector: jax.Array, ndim: int) -> jax.Array:
    return vector.reshape((1,) * (ndim - 1) + (-1,))


def _window(window: Any, sequence_length: int, fft_length: int, dtype: Any, name: str) -> jax.Array:
    asked = f"ops.{name} was called."
    if fft_length < sequence_length:
        raise InputError(
            asked,
            received=f"fft_length={fft_length}, sequence_length={sequence_length}",
            because="a piece holds the whole window",
        )
    before = (fft_length - sequence_length) // 2
    if window is None:
        return jnp.ones((fft_length,), dtype)
    if isinstance(window, str):
        if window not in _WINDOWS:
            raise UnknownNameError.among("window", window, _WINDOWS)
        level, swing = _WINDOWS[window]
        # Periodic, so that shifted windows add up evenly.
        shape = jnp.asarray(level - swing * np.cos(2 * np.pi * np.arange(sequence_length) / sequence_length), dtype)
    else:
        shape = jnp.asarray(window, dtype)
    if shape.shape != (sequence_length,):
        raise ShapeError(asked, received=f"a window of shape {shape.shape}", because=f"it is ({sequence_length},)")
    return jnp.pad(shape, (before, fft_length - sequence_length - before))

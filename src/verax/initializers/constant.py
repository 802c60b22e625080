"""First values that are not drawn: numbers, arrays, the identity, and the kernels of a short-time Fourier transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, ShapeError
from verax.frame.first_values import filled
from verax.initializers.base import Initializer

__all__ = ["STFT", "Constant", "Identity", "Ones", "Zeros"]


class Zeros(Initializer):
    """All zeros.

    >>> Zeros()((2,)).tolist()
    [0.0, 0.0]
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        return filled(np.zeros, shape, dtype)


class Ones(Initializer):
    """All ones.

    >>> Ones()((2,)).tolist()
    [1.0, 1.0]
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        return filled(np.ones, shape, dtype)


class Constant(Initializer):
    """One number everywhere, or a given array as it is.

    Args:
        value: A number, or an array of exactly the shape that will be asked for.

    Raises:
        ShapeError: An array of another shape than the weight's.

    >>> Constant(3.0)((2,)).tolist(), Constant([1.0, 2.0])((2,)).tolist()
    ([3.0, 3.0], [1.0, 2.0])

    Differs from Keras: an array is not broadcast, so that a wrong shape cannot pass unseen.
    """

    def __init__(self, value: Any = 0.0):
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        value, shape = jnp.asarray(self.value).astype(dtype), tuple(shape)
        if value.ndim and value.shape != shape:
            raise ShapeError(
                f"A weight of shape {shape} starts from a given array.",
                received=f"an array of shape {value.shape}",
                because="an array is used as it is, never broadcast",
                do=f"Give an array of shape {shape}, or one number.",
            )
        return jnp.broadcast_to(value, shape)

    def get_config(self) -> dict[str, Any]:
        return {"value": np.asarray(self.value).tolist()}


class Identity(Initializer):
    """The identity matrix times ``gain``; ones on the diagonal where it is not square.

    Raises:
        ShapeError: A shape that is not (rows, columns).

    >>> Identity(gain=2.0)((2, 3)).tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        if len(shape) != 2:
            raise ShapeError(
                "Identity fills a matrix.", received=f"shape {tuple(shape)}", do="Use it for a weight of two axes."
            )
        return (self.gain * jnp.eye(*shape, dtype="float32")).astype(dtype)


class STFT(Initializer):
    """The real or imaginary part of a windowed discrete Fourier transform, as the kernel of a convolution.

    At frame time n and frequency k, of N = 2 (frequencies − 1): cos or sin(−2π n k / N) · window(n) / scale.

    Args:
        side: "real" (cosines) or "imag" (sines).
        window: The name of a window of ``scipy.signal.get_window``, (frame_length,) numbers, or None for no window.
        scaling: "density" divides by √Σ window², "spectrum" by Σ |window|, None by nothing; without window nothing is.
        periodic: A window for spectral analysis, in which the end of one frame is the start of the next.

    Raises:
        InputError: Another side or scaling, or a window that scipy does not know.
        ShapeError: A shape that is not (frame_length, channels, frequencies), or a window of another length.

    >>> STFT("real", window=None)((3, 1, 3))[:, 0].round(3).tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -1.0, 1.0]]
    """

    def __init__(
        self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False
    ):
        self.side, self.window, self.scaling, self.periodic = side, window, scaling, periodic
        if side not in ("real", "imag") or scaling not in ("density", "spectrum", None):
            raise InputError(
                "STFT takes side='real' or 'imag', and scaling='density', 'spectrum' or None.",
                received=f"side={side!r}, scaling={scaling!r}",
            )
        if isinstance(window, str):
            self._window(1)

    def __call__(self, shape: Sequence[int], dtype: Any = "float32", *, key: jax.Array | None = None) -> jax.Array:
        if len(shape) != 3:
            raise ShapeError(
                "STFT fills the kernel of a convolution over time.",
                received=f"shape {tuple(shape)}",
                do="Use it for a weight of shape (frame_length, channels, frequencies).",
            )
        length, _, frequencies = shape
        turns = np.outer(np.arange(length), np.arange(frequencies)) / (2 * (frequencies - 1))
        kernel = (np.cos if self.side == "real" else np.sin)(-2 * np.pi * turns)
        window = self._window(length)
        if window is not None:
            norms = {"density": np.sqrt(np.sum(window**2)), "spectrum": np.sum(np.abs(window)), None: 1.0}
            kernel *= (window / norms[self.scaling])[:, None]
        return jnp.asarray(np.broadcast_to(kernel[:, None, :], tuple(shape)).astype("float32")).astype(dtype)

    def _window(self, length: int) -> Any:
        """The (length,) window, float64; None for none."""
        if self.window is None:
            return None
        if not isinstance(self.window, str):
            window = np.asarray(self.window, np.float64)
            if window.shape != (length,):
                raise ShapeError(
                    f"STFT windows frames of {length}.",
                    received=f"a window of shape {window.shape}",
                    do=f"Give {length} numbers, or the name of a window.",
                )
            return window
        from scipy.signal import get_window  # which takes long to load

        try:
            return np.asarray(get_window(self.window, length, self.periodic), np.float64)
        except ValueError as error:
            raise InputError(
                "STFT(window=...) names a window of scipy.signal.get_window.",
                received=repr(self.window),
                because=str(error),
            ) from None

    def get_config(self) -> dict[str, Any]:
        window = (
            self.window if self.window is None or isinstance(self.window, str) else np.asarray(self.window).tolist()
        )
        return {"side": self.side, "window": window, "scaling": self.scaling, "periodic": self.periodic}

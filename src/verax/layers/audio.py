"""Sound as pictures: spectrograms, on the mel scale or with kernels that can be trained."""

from __future__ import annotations

import math
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from verax.errors import InputError, ShapeError
from verax.layers.base import InputSpec, Layer, LayerArguments, as_float, image_format, layer_registry
from verax.ops.image_forms import check_choice

__all__ = ["MelSpectrogram", "STFTSpectrogram"]

MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


def _window(window: Any, length: int, periodic: bool) -> np.ndarray[Any, Any]:
    """A window of ``length`` samples: by its name in ``scipy.signal``, as it is given, or ones."""
    if window is None:
        return np.ones(length, "float32")
    if isinstance(window, str):
        from scipy.signal import get_window  # a third of a second, for those who need it

        try:
            return np.asarray(get_window(window, length, periodic), "float32")
        except ValueError as error:
            do = 'Use a name of scipy.signal.get_window, such as "hann" or "hamming".'
            raise InputError("window was given.", received=repr(window), because=str(error), do=do) from None
    values = np.asarray(window, "float32")
    if values.shape != (length,):
        because = f"it has one number for each of {length} samples"
        raise InputError("window was given.", received=f"an array of shape {values.shape}", because=because)
    return values


def _frames(signal: jax.Array, length: int, step: int) -> jax.Array:
    """(..., samples) -> (..., frames, length)."""
    if signal.shape[-1] < length:
        raise ShapeError(
            "A spectrogram was to be made.",
            received=f"{signal.shape[-1]} samples",
            because=f"a frame has {length}",
            do="Give longer signals, or shorter frames.",
        )
    starts = jnp.arange(0, signal.shape[-1] - length + 1, step)
    return signal[..., starts[:, None] + jnp.arange(length)[None, :]]


@layer_registry.add
class MelSpectrogram(Layer):
    """The energy of sound in bands of the mel scale, over time, in decibels.

    ``|rfft(w * frame)|^mag_exp`` of frames around each ``sequence_stride``-th sample (the signal is reflected at its
    ends), weighted with triangles that are evenly spaced on the mel scale ``1127 ln(1 + f / 700)``; then
    ``10 log10(max(x, min_power) / max(|ref_power|, min_power))``, at least the largest value of each signal less
    ``top_db``.

    Input: (batch, samples) or (samples,). Output: (batch, mel bins, frames), or without the batch.

    Args:
        fft_length: The samples of a transform.
        sequence_stride: From a frame to the next.
        sequence_length: The samples of a window, in the middle of the transform; ``fft_length`` when None.
        window: Its name, its values, or None.
        sampling_rate: Samples a second.
        num_mel_bins: How many bands.
        min_freq, max_freq: Where they begin and end, in Hz; up to half of the sampling rate when None.
        power_to_db: Whether the result is in decibels.
        top_db, mag_exp, min_power, ref_power: See above.

    Source: O'Shaughnessy, "Speech communication" (1987), for the scale.

    Differs from Keras: the largest value is each signal's own; there it is that of the batch.
    """

    def __init__(
        self,
        fft_length: int = 2048,
        sequence_stride: int = 512,
        sequence_length: int | None = None,
        window: Any = "hann",
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        min_freq: float = 20.0,
        max_freq: float | None = None,
        power_to_db: bool = True,
        top_db: float = 80.0,
        mag_exp: float = 2.0,
        min_power: float = 1e-10,
        ref_power: float = 1.0,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        length = sequence_length or fft_length
        if length > fft_length:
            raise InputError(
                "MelSpectrogram was made.",
                received=f"sequence_length={length}, fft_length={fft_length}",
                because="a window is at most as long as the transform",
            )
        self.fft_length, self.sequence_stride, self.sequence_length = fft_length, sequence_stride, sequence_length
        self.window, self.sampling_rate, self.num_mel_bins = window, sampling_rate, num_mel_bins
        self.min_freq, self.max_freq = min_freq, max_freq
        self.power_to_db, self.top_db, self.mag_exp = power_to_db, top_db, mag_exp
        self.min_power, self.ref_power = min_power, ref_power
        before = (fft_length - length) // 2
        self._taper = np.pad(_window(window, length, True), (before, fft_length - length - before))
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: jax.Array) -> jax.Array:
        """The spectrogram of ``inputs``."""
        signal = inputs.astype("float32")
        widths = [(0, 0)] * (signal.ndim - 1) + [(self.fft_length // 2,) * 2]
        frames = _frames(jnp.pad(signal, widths, mode="reflect"), self.fft_length, self.sequence_stride)
        taper = jnp.asarray(self._taper).reshape((1,) * (frames.ndim - 1) + (-1,))
        spectrum = jnp.fft.rfft(frames * taper)
        # A magnitude of 0 has no slope: the power is what has one.
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        energy = jnp.where(power > 0, jnp.where(power > 0, power, 1.0) ** (self.mag_exp / 2), 0.0)
        mel = jnp.einsum("...tf,fm->...mt", energy, jnp.asarray(self._bands()), precision="highest")
        if self.power_to_db:
            mel = 10.0 * jnp.log10(jnp.maximum(mel, self.min_power))
            mel = mel - 10.0 * math.log10(max(abs(self.ref_power), self.min_power))
            mel = jnp.maximum(mel, mel.max((-2, -1), keepdims=True) - self.top_db)
        return mel.astype(self.compute_dtype)

    def _bands(self) -> np.ndarray[Any, Any]:
        """Triangles on the mel scale: (frequencies, bands)."""

        def mel(hertz: Any) -> Any:
            return 1127.0 * np.log(1.0 + np.asarray(hertz, np.float64) / 700.0)

        top = self.max_freq or int(self.sampling_rate / 2)
        edges = np.linspace(mel(self.min_freq), mel(top), self.num_mel_bins + 2)[None, :]
        at = mel(np.linspace(0.0, self.sampling_rate / 2.0, self.fft_length // 2 + 1))[1:, None]
        up = (at - edges[:, :-2]) / (edges[:, 1:-1] - edges[:, :-2])
        down = (edges[:, 2:] - at) / (edges[:, 2:] - edges[:, 1:-1])
        triangles = np.maximum(0.0, np.minimum(up, down))
        return np.pad(triangles, ((1, 0), (0, 0))).astype("float32")  # the mean is in no band


@layer_registry.add
class STFTSpectrogram(Layer):
    """The spectrum of sound over time, with kernels that begin as a windowed Fourier transform and can be trained.

    A kernel for the real part ``w(t) cos(2 pi f t / n)`` and one for the imaginary part, over ``sqrt(sum w²)``
    (``scaling="density"``) or ``sum |w|`` (``"spectrum"``), are correlated with each channel.

    Input: (batch, samples, channels), or channels first. Output: (batch, frames, channels * frequencies);
    (batch, channels * frequencies, frames) with channels first; with ``expand_dims`` (batch, frames, frequencies,
    channels) or (batch, channels, frames, frequencies).

    Args:
        mode: ``"log"`` (of the magnitude), ``"magnitude"``, ``"psd"`` (the square, inner frequencies doubled),
            ``"real"``, ``"imag"``, ``"angle"``, or ``"stft"`` (real and imaginary parts one after the other).
        frame_length: The samples of a frame.
        frame_step: From a frame to the next; half of a frame when None.
        fft_length: n; the next power of two when None.
        window: Its name in ``scipy.signal``, its values, or None.
        periodic: Whether a named window is periodic, not symmetric.
        scaling: ``"density"``, ``"spectrum"`` or None.
        padding: ``"valid"`` or ``"same"``.
        expand_dims: See above.
        data_format: ``"channels_last"`` (default) or ``"channels_first"``.
    """

    def __init__(
        self,
        mode: str = "log",
        frame_length: int = 256,
        frame_step: int | None = None,
        fft_length: int | None = None,
        window: Any = "hann",
        periodic: bool = False,
        scaling: str | None = "density",
        padding: str = "valid",
        expand_dims: bool = False,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ):
        super().__init__(**kwargs)
        if frame_step is not None and not 1 <= frame_step <= frame_length:
            because = f"it is a number from 1 to frame_length={frame_length}"
            raise InputError("frame_step was given.", received=repr(frame_step), because=because)
        if fft_length is not None and fft_length < frame_length:
            because = f"it is at least frame_length={frame_length}"
            raise InputError("fft_length was given.", received=repr(fft_length), because=because)
        self.mode = check_choice("mode of STFTSpectrogram", mode, MODES)
        self.frame_length, self.frame_step, self.fft_length = frame_length, frame_step, fft_length
        self.window, self.periodic = window, periodic
        self.scaling = None if scaling is None else check_choice("scaling", scaling, ("density", "spectrum"))
        self.padding = check_choice("padding", padding, ("valid", "same"))
        self.expand_dims, self.data_format = expand_dims, image_format(data_format)
        self.input_spec = InputSpec(ndim=3)
        self._step = frame_step or frame_length // 2
        self._size = fft_length or 2 ** math.ceil(math.log2(frame_length))
        self._taper = _window(window, frame_length, periodic)

    def build(self, input_shape: Any) -> None:
        """Make the kernels (frame_length, 1, frequencies) that the mode needs."""
        shape = (self.frame_length, 1, self._size // 2 + 1)
        for part, wave in (("real", np.cos), ("imag", np.sin)):
            if self.mode != {"real": "imag", "imag": "real"}[part]:
                kernel = self._kernel(wave)
                weight = self.add_weight(shape, lambda s, d, k=kernel: jnp.asarray(k, d), name=f"{part}_kernel")
                setattr(self, f"{part}_kernel", weight)

    def _kernel(self, wave: Any) -> np.ndarray[Any, Any]:
        time, frequency = np.arange(self.frame_length)[:, None, None], np.arange(self._size // 2 + 1)[None, None, :]
        taper = self._taper.astype(np.float64)
        scale = {"density": np.sqrt(np.sum(taper**2)), "spectrum": np.sum(np.abs(taper))}.get(self.scaling or "", 1.0)
        scale = 1.0 if self.window is None else scale
        size = (self._size // 2) * 2
        return wave(-2 * np.pi * time * frequency / size) * taper[:, None, None] / scale

    def call(self, inputs: jax.Array) -> jax.Array:
        """The spectrum of ``inputs``."""
        x = as_float(self, inputs)
        x = jnp.moveaxis(x, -1, 1) if self.data_format == "channels_last" else x
        if self.padding == "same":
            samples = x.shape[-1]
            missing = max((-(-samples // self._step) - 1) * self._step + self.frame_length - samples, 0)
            x = jnp.pad(x, ((0, 0), (0, 0), (missing // 2, missing - missing // 2)))
        frames = _frames(x, self.frame_length, self._step)
        return self._arranged(self._spectrum(frames))

    def _spectrum(self, frames: jax.Array) -> jax.Array:
        """(batch, channels, frames, frequencies)."""
        real, imag = (
            jnp.matmul(frames, getattr(self, name)[:, 0].astype(frames.dtype), precision="highest")
            if hasattr(self, name)
            else frames
            for name in ("real_kernel", "imag_kernel")
        )
        if self.mode in ("real", "imag"):
            return real if self.mode == "real" else imag
        if self.mode == "angle":
            return jnp.arctan2(imag, real)
        if self.mode == "stft":
            return jnp.concatenate([real, imag], -1)
        power = jnp.square(real) + jnp.square(imag)
        if self.mode == "psd":
            return power + jnp.pad(power[..., 1:-1], ((0, 0), (0, 0), (0, 0), (1, 1)))
        magnitude = jnp.sqrt(jnp.maximum(power, 1e-7))
        return magnitude if self.mode == "magnitude" else jnp.log(magnitude)

    def _arranged(self, x: jax.Array) -> jax.Array:
        if self.data_format == "channels_last":
            x = x.transpose(0, 2, 3, 1) if self.expand_dims else x.transpose(0, 2, 1, 3)
            return x if self.expand_dims else x.reshape(*x.shape[:2], -1)
        return x if self.expand_dims else x.transpose(0, 1, 3, 2).reshape(x.shape[0], -1, x.shape[2])

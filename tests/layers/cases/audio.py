"""Spectrograms."""

from __future__ import annotations

from tests.layers.cases.base import Case

__all__ = ["CASES"]

SOUND, WAVE, FINE = (1, 200), (2, 60, 2), 2e-4


def soft(shape):
    """Signals whose power is about 1: the sine of a large number, which rows are compared by, turns too fast."""
    return lambda rng: 0.2 * rng.normal(size=shape).astype("float32")


def _rows() -> list[Case]:
    mel = {"fft_length": 32, "sequence_stride": 10, "num_mel_bins": 6}
    rows = [
        Case("MelSpectrogram", lambda m: m.MelSpectrogram(**mel), SOUND, tolerance=1e-3),
        Case("MelSpectrogram short", lambda m: m.MelSpectrogram(**mel, sequence_length=25), SOUND, tolerance=1e-3),
        Case("MelSpectrogram hamming", lambda m: m.MelSpectrogram(**mel, window="hamming"), SOUND, tolerance=1e-3),
        Case(
            "MelSpectrogram power",
            lambda m: m.MelSpectrogram(**mel, power_to_db=False, mag_exp=1.0, sampling_rate=8000, max_freq=3000),
            (3, 200),
            tolerance=1e-3,
        ),
        Case("MelSpectrogram cut", lambda m: m.MelSpectrogram(**mel, top_db=5.0, ref_power=2.0), SOUND, tolerance=1e-3),
    ]
    rows += [
        Case(
            f"STFTSpectrogram {mode}", lambda m, k=mode: m.STFTSpectrogram(k, 16), WAVE, data=soft(WAVE), tolerance=2e-4
        )
        for mode in ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
    ]
    rows += [
        Case(f"STFTSpectrogram {name}", make, shape, data=soft(shape), tolerance=FINE)
        for name, make, shape in [
            ("same", lambda m: m.STFTSpectrogram("stft", 16, 5, 20 + 12, padding="same"), WAVE),
            ("expanded", lambda m: m.STFTSpectrogram("stft", 16, expand_dims=True), WAVE),
            ("first", lambda m: m.STFTSpectrogram("psd", 16, data_format="channels_first"), (2, 2, 60)),
            (
                "first, expanded",
                lambda m: m.STFTSpectrogram("stft", 16, expand_dims=True, data_format="channels_first"),
                (2, 2, 60),
            ),
            ("bare", lambda m: m.STFTSpectrogram("real", 16, window=None, scaling=None), WAVE),
        ]
    ]
    return rows


CASES = _rows()

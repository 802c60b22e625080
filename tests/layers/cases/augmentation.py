"""Layers that change images: in inference as Keras', and what is done in both modes in both."""

from __future__ import annotations

import numpy as np

from tests.layers.cases.base import Case

__all__ = ["CASES"]

COLOR, FIRST = (2, 7, 9, 3), (2, 3, 7, 9)


def unit(shape):
    """Images from 0 to 1."""
    return lambda rng: rng.uniform(size=shape).astype("float32")


def of_bytes(shape):
    """Images of whole numbers from 0 to 255, as floats."""
    return lambda rng: rng.integers(0, 256, size=shape).astype("float32")


def _drawn() -> list[Case]:
    rows = [
        ("RandomFlip", lambda m, **k: m.RandomFlip(**k)),
        ("RandomFlip horizontal", lambda m, **k: m.RandomFlip("horizontal", seed=3, **k)),
        ("RandomRotation", lambda m, **k: m.RandomRotation(0.1, **k)),
        ("RandomRotation wrap", lambda m, **k: m.RandomRotation((-0.1, 0.3), "wrap", "nearest", 5, **k)),
        ("RandomZoom", lambda m, **k: m.RandomZoom(0.2, **k)),
        ("RandomZoom both", lambda m, **k: m.RandomZoom((-0.3, 0.1), 0.2, "constant", fill_value=0.5, **k)),
        ("RandomTranslation", lambda m, **k: m.RandomTranslation(0.2, (-0.1, 0.3), **k)),
        ("RandomTranslation nearest", lambda m, **k: m.RandomTranslation(0.2, 0.1, "nearest", "nearest", **k)),
        ("RandomShear", lambda m, **k: m.RandomShear((0.1, 0.2), (0.0, 0.3), **k)),
        ("RandomShear constant", lambda m, **k: m.RandomShear((0.1, 0.2), (0, 0), "nearest", "constant", 1.0, **k)),
        ("RandomCrop", lambda m, **k: m.RandomCrop(7, 9, seed=2, **k)),
        ("RandomPerspective", lambda m, **k: m.RandomPerspective(**k)),
        ("RandomPerspective rare", lambda m, **k: m.RandomPerspective(0.3, 0.5, "nearest", 0.1, **k)),
        ("RandomElasticTransform", lambda m, **k: m.RandomElasticTransform(0.5, (0.3, 0.8), **k)),
        ("RandomErasing", lambda m, **k: m.RandomErasing(0.5, **k)),
        ("RandomErasing filled", lambda m, **k: m.RandomErasing((0.2, 0.4), (0.1, 0.2), 0.5, (0, 1), **k)),
        ("RandomBrightness", lambda m, **k: m.RandomBrightness(0.3, **k)),
        ("RandomBrightness units", lambda m, **k: m.RandomBrightness((-0.2, 0.1), (0, 1), 4, **k)),
        ("RandomContrast", lambda m, **k: m.RandomContrast((0.2, 0.3), **k)),
        ("RandomContrast units", lambda m, **k: m.RandomContrast((0.2, 0.3), (0, 1), **k)),
        ("RandomHue", lambda m, **k: m.RandomHue(0.3, **k)),
        ("RandomHue units", lambda m, **k: m.RandomHue((0.1, 0.2), (0, 1), seed=1, **k)),
        ("RandomSaturation", lambda m, **k: m.RandomSaturation((0.2, 0.6), **k)),
        ("RandomColorDegeneration", lambda m, **k: m.RandomColorDegeneration((0.0, 0.6), **k)),
        ("RandomGrayscale", lambda m, **k: m.RandomGrayscale(0.3, **k)),
        ("RandomSharpness", lambda m, **k: m.RandomSharpness(0.4, **k)),
        ("RandomSharpness units", lambda m, **k: m.RandomSharpness((0.4, 0.6), (0, 1), **k)),
        ("RandomPosterization", lambda m, **k: m.RandomPosterization((2, 5), **k)),
        ("RandomGaussianBlur", lambda m, **k: m.RandomGaussianBlur(**k)),
        ("RandomGaussianBlur wide", lambda m, **k: m.RandomGaussianBlur(0.5, (3, 5), (0.3, 0.9), (0, 1), **k)),
        ("RandomInvert", lambda m, **k: m.RandomInvert(0.5, (0, 1), **k)),
        ("Solarization", lambda m, **k: m.Solarization(0.2, (0.3, 0.5), **k)),
        ("MixUp", lambda m, **k: m.MixUp(0.4, **k)),
        ("CutMix", lambda m, **k: m.CutMix((0.5, 0.9), **k)),
        ("RandAugment", lambda m, **k: m.RandAugment(**k)),
        ("RandAugment once", lambda m, **k: m.RandAugment((0, 1), 1, 0.2, "nearest", **k)),
        ("AugMix", lambda m, **k: m.AugMix(num_chains=2, **k)),
        ("AugMix few", lambda m, **k: m.AugMix((0, 1), 1, 2, 0.2, 0.7, False, **k)),
    ]
    found = [Case(name, make, COLOR, draws=True) for name, make in rows]
    # What does not turn whole numbers into floats in Keras is compared on floats alone.
    found += [
        Case(f"{name} on uint8", make, COLOR, "uint8", draws=True)
        for name, make in rows
        if name in ("RandomFlip", "RandomRotation", "RandomErasing", "RandomSharpness", "RandAugment", "AugMix")
    ]
    found += [
        Case(f"{name}, channels first", lambda m, f=make: f(m, data_format="channels_first"), FIRST, draws=True)
        for name, make in rows
        if " " not in name
    ]
    jitter = {"brightness_factor": 0.1, "contrast_factor": (0.1, 0.2), "hue_factor": 0.1}
    found += [
        Case("RandomColorJitter", lambda m: m.RandomColorJitter((0, 255), **jitter), COLOR, draws=True),
        Case("RandomColorJitter one", lambda m: m.RandomColorJitter(saturation_factor=(0.3, 0.6)), COLOR, draws=True),
    ]
    return found


def _always() -> list[Case]:
    rows = [
        ("Resizing", lambda m, **k: m.Resizing(4, 5, **k)),
        ("Resizing up", lambda m, **k: m.Resizing(10, 12, "bicubic", **k)),
        ("Resizing nearest", lambda m, **k: m.Resizing(4, 12, "nearest", **k)),
        ("Resizing antialias", lambda m, **k: m.Resizing(3, 4, "lanczos3", antialias=True, **k)),
        ("Resizing cropped", lambda m, **k: m.Resizing(4, 4, crop_to_aspect_ratio=True, **k)),
        ("Resizing padded", lambda m, **k: m.Resizing(4, 4, pad_to_aspect_ratio=True, fill_value=0.5, **k)),
        ("CenterCrop", lambda m, **k: m.CenterCrop(4, 6, **k)),
        ("CenterCrop of smaller images", lambda m, **k: m.CenterCrop(10, 4, **k)),
        ("CenterCrop of much smaller images", lambda m, **k: m.CenterCrop(14, 20, **k)),
    ]
    found = [Case(name, make, COLOR) for name, make in rows]
    found += [
        Case(f"{name}, channels first", lambda m, f=make: f(m, data_format="channels_first"), FIRST)
        for name, make in rows
    ]
    clahe = "ContrastLimitedAdaptiveHistogramEqualization"
    found += [
        Case("AutoContrast", lambda m: m.AutoContrast(), COLOR, data=of_bytes(COLOR), tolerance=1e-4),
        Case("AutoContrast units", lambda m: m.AutoContrast((0, 1)), COLOR, data=unit(COLOR), tolerance=1e-4),
        Case(clahe, lambda m: getattr(m, clahe)(tile_grid_size=(2, 3)), COLOR, data=of_bytes(COLOR), tolerance=1e-3),
        Case(
            f"{clahe} limited",
            lambda m: getattr(m, clahe)((0, 1), 1.5, (3, 2)),
            COLOR,
            data=lambda rng: of_bytes(COLOR)(rng) / np.float32(255) * np.float32(0.999) + np.float32(1e-3),
            tolerance=1e-4,
        ),
        Case(
            f"{clahe} unlimited, channels first",
            lambda m: getattr(m, clahe)(clip_limit=0, tile_grid_size=(2, 2), data_format="channels_first"),
            FIRST,
            data=of_bytes(FIRST),
            tolerance=1e-3,
        ),
    ]
    return found


CASES = [*_drawn(), *_always()]

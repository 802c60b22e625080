"""Handwritten digits, 8 x 8: the one dataset that is shipped, so that a first model trains without a download."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from verax.errors import InputError

__all__ = ["load_data"]

Arrays = tuple[np.ndarray, np.ndarray]


def load_data(test_fraction: float = 0.2, seed: int | None = 0) -> tuple[Arrays, Arrays]:
    """1,797 images of handwritten digits with their labels, as ``(x_train, y_train), (x_test, y_test)``.

    Args:
        test_fraction: The part of the images for testing: ``round(1797 * test_fraction)`` of them.
        seed: The images are put into the order of ``np.random.RandomState(seed).permutation(1797)`` (a generator whose
            numbers NumPy has frozen), and the last are for testing. ``None`` keeps the order of the file.

    Returns:
        ``x``: uint8 ``(images, 8, 8)``, 0 (no ink) to 16. ``y``: uint8 ``(images,)``, the digit.

    Raises:
        InputError: a fraction that leaves no image for one of the parts.

    Who wrote which image is not recorded. A random split has every hand in both parts, so its test score speaks about
    new images, not new writers; ``seed=None`` is the harder test. Licence (CC BY 4.0) and scale: ``DIGITS.md`` beside
    this file.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    doi 10.24432/C50P49 (its test part).

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, y_train.shape, x_test.shape, y_test.shape
    ((1438, 8, 8), (1438,), (359, 8, 8), (359,))
    >>> str(x_train.dtype), int(x_train.max()), sorted(set(y_test.tolist()))
    ('uint8', 16, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    with files("verax.datasets").joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
        images, labels = stored["images"], stored["labels"]
    test = round(len(images) * test_fraction)
    if not 0 < test < len(images):
        raise InputError(
            "digits.load_data splits the images into a training and a test part.",
            received=f"test_fraction={test_fraction!r}",
            because=f"that leaves {test} of {len(images)} images for testing",
            do="Pass a fraction between 0 and 1, such as 0.2.",
        )
    if seed is not None:
        order = np.random.RandomState(seed).permutation(len(images))  # frozen, so the split never changes
        images, labels = images[order], labels[order]
    return (images[:-test], labels[:-test]), (images[-test:], labels[-test:])
